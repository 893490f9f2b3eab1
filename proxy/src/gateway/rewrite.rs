//! A request's head as the upstream is to see it: its target, its Host, and the route's edits.
//!
//! Each try begins with the head that the client sent, so what is done here is done anew for each, and
//! comes to the same. [`set_target`] is before Tidegate's own headers ([`forward`]), [`finish`] after them:
//! they tell the Host that came, and the route has the last word.

use http::header::HOST;
use http::{Method, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::context::{Context, Facts};
use crate::headers::{self, Origin};

/// Sends on the path that was matched, or what the route makes of it.
pub(super) fn set_target(request: &mut RequestHeader, context: &Context) -> Result<()> {
    let clean = context.facts.as_ref().and_then(|facts| facts.clean_path.as_deref());
    let (Some(route), Some(taken)) = (context.route(), context.taken) else {
        return put_path(request, clean);
    };
    let Some(new) = &route.rewrite.path else { return put_path(request, clean) };
    let path = new.of(clean.unwrap_or(request.uri.path()), taken.prefix_bytes).into_owned();
    put_path(request, Some(&path))
}

/// Puts Tidegate's own headers: where the request comes from, and the ids that follow it.
pub(super) fn forward(request: &mut RequestHeader, context: &Context, came_as: Version) -> Result<()> {
    let Some(facts) = &context.facts else { return Ok(()) };
    headers::forward(request, origin(facts, context, came_as), &facts.ids)
}

/// Where a request comes from.
pub(super) fn origin<'a>(facts: &Facts, context: &'a Context, came_as: Version) -> Origin<'a> {
    Origin {
        peer: facts.peer,
        trusted: facts.trusted,
        version: came_as,
        scheme: context.exchange.scheme(),
        certificate: context.exchange.tls.as_ref().and_then(|tls| tls.client.as_deref()),
    }
}

/// Names the pool where the split wants it, puts the route's Host, and carries out its edits.
pub(super) fn finish(request: &mut RequestHeader, context: &Context) -> Result<()> {
    if let Some(decision) = context.decision
        && let Some(header) = &context.snapshot.split(decision.split).pool_header
    {
        request.insert_header(header.clone(), &*decision.serving(&context.snapshot).name)?;
    }
    let Some(route) = context.route() else { return Ok(()) };
    if let Some(host) = &route.rewrite.host {
        request.insert_header(HOST, host.clone())?;
    }
    headers::edit_request(request, &route.request_headers)
}

/// Puts a path in place of the one that came, if it is another, in origin form.
fn put_path(request: &mut RequestHeader, new_path: Option<&str>) -> Result<()> {
    // What is neither a path nor `*` is a whole URL, in whatever case its scheme is written.
    let is_absolute = !matches!(request.raw_path(), [b'/', ..] | b"*");
    if !is_absolute && new_path.is_none() {
        return Ok(());
    }
    if new_path.is_none() && request.method == Method::OPTIONS && names_a_server(request.raw_path()) {
        return request.set_raw_path(b"*");
    }
    let path = new_path.unwrap_or(request.uri.path());
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = target
        .parse()
        .map_err(|e| Error::because(ErrorType::InternalError, "a path to send on is no target", e))?;
    request.set_uri(uri);
    Ok(())
}

/// Whether a whole URL has neither path nor query: OPTIONS then asks of the server (RFC 9112, 3.2.4).
fn names_a_server(url: &[u8]) -> bool {
    let behind_scheme = url.splitn(3, |b| *b == b'/').nth(2).unwrap_or_default();
    !behind_scheme.iter().any(|b| matches!(b, b'/' | b'?'))
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
            put_path(&mut request, clean).expect("a target");
            assert_eq!(String::from_utf8_lossy(request.raw_path()), sent, "{target}");
        }
    }

    #[test]
    fn options_for_a_server_is_sent_on_as_such() {
        for (target, sent) in
            [("http://shop.test", "*"), ("http://shop.test/", "/"), ("http://shop.test?a", "/?a"), ("/", "/")]
        {
            let mut request = RequestHeader::build("OPTIONS", target.as_bytes(), None).expect("a request");
            put_path(&mut request, None).expect("a target");
            assert_eq!(String::from_utf8_lossy(request.raw_path()), sent, "{target}");
        }
    }
}
