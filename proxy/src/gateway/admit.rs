//! From a request's head to a decision, or to the reason why there is none.

use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tidegate_core::decide::{KeyOrigin, decide};
use tidegate_core::record::Failure;
use tidegate_core::request::{RequestView, client_address, normalise_host, normalise_path};

use super::{Gateway, exchange};
use crate::context::{Context, Facts};
use crate::headers::{self, Ids};

/// An answer in place of forwarding.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

fn refuse(status: u16, code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { status, code, detail: detail.into() }
}

/// Looks at the head and decides.
pub(super) fn admit(gateway: &Gateway, session: &mut Session, context: &mut Context) -> Result<(), Refusal> {
    let Some(exchange) = exchange(session).cloned() else {
        return Err(refuse(500, "internal", "the connection is of an unknown kind"));
    };
    let settings = &context.snapshot.settings;
    let max_body = settings.listener(&exchange.listener.name).map_or(0, |l| l.max_body_size.0);
    let head = session.req_header();
    let (client, trusted) = client_address(exchange.peer.ip(), &head.headers, &settings.trusted_proxies);
    let ids = Ids::of(head, &mut context.entropy);
    let peer = exchange.peer.ip().to_canonical();
    let facts = Facts { client, peer, trusted, clean_path: None, max_body, ids };
    let facts = context.facts.insert(facts);
    let path = head.uri.path();
    let clean = normalise_path(path).map_err(|bad| refuse(400, "bad_request", bad.to_string()))?;
    facts.clean_path = (clean != path).then(|| clean.to_string());
    if max_body > 0 && content_length(head).is_some_and(|length| length > max_body) {
        return Err(refuse(
            413,
            "body_too_large",
            format!("the request body is larger than {max_body} bytes"),
        ));
    }
    let host = head.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let host = normalise_host(host);
    let view = RequestView {
        method: &head.method,
        host: &host,
        path: &clean,
        query: head.uri.query(),
        headers: &head.headers,
        client,
        trusted,
    };
    let now_ms = gateway.now_ms();
    gateway.control.live().recent().offer(&view, now_ms);
    let decision = loop {
        let decision = decide(&context.snapshot, &view, now_ms, &mut context.entropy);
        let Some(decision) = decision else {
            return Err(refuse(404, "no_route", "no route takes this request"));
        };
        if context.take(decision) {
            break decision;
        }
        // A change retired the endpoint this very moment; the table that did so knows another.
        context.snapshot = gateway.control.live().snapshot();
    };
    if decision.endpoint.is_none() {
        context.failure = Some(Failure::NoEndpoint);
        return Err(refuse(503, "no_endpoint", "no endpoint can take this request at the moment"));
    }
    if decision.member != decision.chosen {
        context.failure = Some(Failure::NoEndpoint);
    }
    if let Some(timeout) = context.route().and_then(|r| r.timeout) {
        let deadline_ms = now_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        context.deadline_ms = Some(deadline_ms);
        exchange.set_deadline_ms(deadline_ms);
    }
    if let Some(pool) = context.pool() {
        pool.cell.budget.request(now_ms);
    }
    Ok(())
}

fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Sends on the path that was matched, in origin form.
pub(super) fn set_target(request: &mut RequestHeader, clean_path: Option<&str>) -> Result<()> {
    // What is neither a path nor `*` is a whole URL, in whatever case its scheme is written.
    let is_absolute = !matches!(request.raw_path(), [b'/', ..] | b"*");
    if !is_absolute && clean_path.is_none() {
        return Ok(());
    }
    let path = clean_path.unwrap_or(request.uri.path());
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = target
        .parse()
        .map_err(|e| Error::because(ErrorType::InternalError, "a cleaned path is no longer a target", e))?;
    request.set_uri(uri);
    Ok(())
}

/// Gives the visitor the id that the decision was made by.
pub(super) fn assign_id(context: &Context, answer: &mut ResponseHeader) -> Result<()> {
    let Some(KeyOrigin::Assigned(id)) = context.decision.and_then(|d| d.key) else { return Ok(()) };
    match context.split().and_then(|s| s.assign.as_ref()) {
        Some(assign) => headers::assign(answer, assign, id),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_sent_on_in_origin_form() {
        for (target, clean, sent) in [
            ("/a?b=c", None, "/a?b=c"),
            ("/x/../a?b=c", Some("/a"), "/a?b=c"),
            ("*", None, "*"),
            ("http://shop.test/a?b=c", None, "/a?b=c"),
            ("HTTP://shop.test/a", None, "/a"),
            ("https://shop.test", None, "/"),
            ("http://shop.test?b=c", None, "/?b=c"),
            ("http://shop.test/x/../a", Some("/a"), "/a"),
        ] {
            let mut request = RequestHeader::build("GET", target.as_bytes(), None).expect("a request");
            set_target(&mut request, clean).expect("a target");
            assert_eq!(String::from_utf8_lossy(request.raw_path()), sent, "{target}");
        }
    }
}
