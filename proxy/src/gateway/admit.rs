//! From a request's head to a decision, or to the reason why there is none.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::decide::{Decided, Decision, KeyOrigin, decide, rescue};
use tidegate_core::http1;
use tidegate_core::record::Failure;
use tidegate_core::request::fields::{Fields, text};
use tidegate_core::request::{RequestView, client_address, normalise_host, normalise_path};
use tidegate_core::snapshot::Settings;

use super::{Gateway, grpc};
use crate::context::{Context, Facts};
use crate::headers::{self, Ids};
use crate::listen::Exchange;

/// An answer in place of forwarding.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

pub(super) fn refuse(status: u16, code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { status, code, detail: detail.into() }
}

/// What is asked for. The gateway has it in a map, the express lane in the bytes that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Whom it is for, as it was written.
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) fields: Fields<'a>,
    pub(crate) is_grpc: bool,
}

impl<'a> From<&'a RequestHeader> for Asked<'a> {
    fn from(head: &'a RequestHeader) -> Self {
        Self {
            method: &head.method,
            authority: authority(head),
            path: head.uri.path(),
            query: head.uri.query(),
            fields: (&head.headers).into(),
            is_grpc: grpc::is_call(head),
        }
    }
}

/// Looks at the head and decides.
pub(super) fn admit(gateway: &Gateway, asked: &Asked<'_>, context: &mut Context) -> Result<(), Refusal> {
    let exchange = Arc::clone(&context.exchange);
    let settings = &context.snapshot.settings;
    let max_body = settings.listener(&exchange.listener.name).map_or(0, |l| l.max_body_size.0);
    context.is_grpc = asked.is_grpc;
    let (client, trusted) = client_address(exchange.peer.ip(), asked.fields, &settings.trusted_proxies);
    let ids = Ids::of(asked.fields, &mut context.entropy);
    let peer = exchange.peer.ip().to_canonical();
    let facts = Facts { client, peer, trusted, clean_path: None, max_body, ids };
    let facts = context.facts.insert(facts);
    let clean = normalise_path(asked.path).map_err(|bad| refuse(400, "bad_request", bad.to_string()))?;
    facts.clean_path = (clean != asked.path).then(|| clean.to_string());
    if max_body > 0 && headers::content_length(asked.fields).is_some_and(|length| length > max_body) {
        return Err(refuse(
            413,
            "body_too_large",
            format!("the request body is larger than {max_body} bytes"),
        ));
    }
    let host = normalise_host(asked.authority);
    if is_misdirected(&exchange, &host, settings) {
        return Err(refuse(421, "misdirected", "the Host is not the name that the TLS connection is for"));
    }
    let view = RequestView {
        method: asked.method,
        host: &host,
        path: &clean,
        query: asked.query,
        headers: asked.fields,
        client,
        trusted,
    };
    context.arrived_ms = gateway.now_ms();
    context.undecided = context.entropy;
    gateway.control.live().recent().offer(&view, context.arrived_ms);
    settle(gateway, &view, context)
}

/// Whether a listener that minds was asked for another name in the TLS handshake (RFC 9110, 7.4).
fn is_misdirected(exchange: &Exchange, host: &str, settings: &Settings) -> bool {
    let Some(named) = exchange.tls.as_ref().and_then(|tls| tls.server_name.as_deref()) else { return false };
    let minds = settings.listener(&exchange.listener.name).and_then(|l| l.tls.as_ref());
    minds.is_some_and(|tls| tls.strict_sni) && named != host
}

/// Decides again by the table in force, as the first decision would have been by it.
pub(super) fn admit_again(
    gateway: &Gateway,
    head: &RequestHeader,
    context: &mut Context,
) -> Result<(), Refusal> {
    let Some(facts) = context.facts.take() else {
        return Err(refuse(500, "internal", "a request was forgotten while it waited"));
    };
    context.snapshot = gateway.control.live().snapshot();
    let host = host(head);
    let settled = settle(gateway, &seen_again(head, &host, &facts), context);
    context.facts = Some(facts);
    settled
}

/// Where else a request may go that has failed, by the table that it began with.
pub(super) fn elsewhere(gateway: &Gateway, head: &RequestHeader, context: &mut Context) -> Option<Decision> {
    let (failed, facts) = (context.decision?, context.facts.as_ref()?);
    let host = host(head);
    let view = seen_again(head, &host, facts);
    rescue(&context.snapshot, &failed, &view, gateway.now_ms(), &mut context.entropy)
}

/// A request that was admitted before, as decisions see it.
fn seen_again<'a>(head: &'a RequestHeader, host: &'a str, facts: &'a Facts) -> RequestView<'a> {
    RequestView {
        method: &head.method,
        host,
        path: facts.clean_path.as_deref().unwrap_or(head.uri.path()),
        query: head.uri.query(),
        headers: (&head.headers).into(),
        client: facts.client,
        trusted: facts.trusted,
    }
}

/// Takes a decision: with an endpoint, in which the request is counted, or with a pool to wait for; or
/// none, where the route answers by itself.
fn settle(gateway: &Gateway, view: &RequestView<'_>, context: &mut Context) -> Result<(), Refusal> {
    let now_ms = gateway.now_ms();
    let decision = loop {
        context.entropy = context.undecided;
        match decide(&context.snapshot, view, now_ms, &mut context.entropy) {
            None => return Err(refuse(404, "no_route", "no route takes this request")),
            Some(Decided::Answered(taken)) => {
                context.answer_by(taken);
                return Ok(());
            }
            Some(Decided::Forwarded(decision)) if context.take(decision) => break decision,
            Some(Decided::Forwarded(_)) => {}
        }
        // A change retired the endpoint this very moment; the table that did so knows another.
        context.snapshot = gateway.control.live().snapshot();
    };
    if let Some(timeout) = context.route().and_then(|r| r.timeout) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = context.arrived_ms.saturating_add(timeout_ms);
        context.deadline_ms = Some(deadline_ms);
        context.exchange.set_deadline_ms(deadline_ms);
    }
    let none = decision.endpoint.is_none() && !decision.waits;
    if context.tries.count == 0 {
        let failed = none || decision.member != decision.chosen;
        context.failure = failed.then_some(Failure::NoEndpoint);
    }
    if none {
        if context.tries.count == 0 {
            context.watch(now_ms);
        }
        return Err(refuse(503, "no_endpoint", "no endpoint can take this request at the moment"));
    }
    Ok(())
}

/// The host that the request names.
pub(super) fn host(head: &RequestHeader) -> Cow<'_, str> {
    normalise_host(authority(head))
}

/// What the request is for: of HTTP/1.0, which needs no Host, a whole URL may say it (RFC 9112, 3.2.2).
pub(super) fn authority(head: &RequestHeader) -> &str {
    let target = || std::str::from_utf8(head.raw_path()).ok().and_then(http1::head::authority);
    let host = head.headers.get(http::header::HOST).and_then(|host| text(host.as_bytes()));
    host.or_else(target).unwrap_or_default()
}

/// Gives the visitor the id that the decision was made by.
pub(super) fn assign_id(context: &Context, answer: &mut ResponseHeader) -> Result<()> {
    let Some(KeyOrigin::Assigned(id)) = context.decision.and_then(|d| d.key) else { return Ok(()) };
    match context.split().and_then(|s| s.assign.as_ref()) {
        Some(assign) => headers::assign(answer, assign, id),
        None => Ok(()),
    }
}
