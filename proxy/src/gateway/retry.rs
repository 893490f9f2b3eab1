//! Another try, or not; and how long each may take.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, RetryType};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tidegate_core::cell::EndpointCell;
use tidegate_core::config::Protocol;
use tidegate_core::record::{Failure, Outcome};

use super::{Gateway, cause, rescue};
use crate::context::Context;
use crate::failure::Cause;
use crate::peer::{self, Limits, Terms};

/// How long the current try may take until it is answered.
pub(crate) fn try_limit(context: &Context) -> Option<Duration> {
    let limit = context.route().and_then(|route| route.try_timeout);
    // What may become a tunnel has no time of its own with the upstream.
    let read = context.pool().filter(|_| context.upgrade.is_some()).map(|pool| pool.timeouts.read);
    limit.into_iter().chain(read).min()
}

/// Waits until the try may connect, where many share a connection.
pub(super) async fn await_turn(context: &mut Context, cell: &Arc<EndpointCell>) {
    let Some(pool) = context.pool() else { return };
    context.first_turn = peer::first_turn(pool, cell, pool.timeouts.connect).await;
}

/// What is left of the exchange's time as the current try begins: the client's side keeps the deadlines, but
/// pingora does not look there while it connects, or while the upstream takes no more of a body.
fn left(context: &Context) -> Duration {
    let left_ms = context.deadline_ms.map(|at| at.saturating_sub(context.tries.began_ms));
    left_ms.map_or(Duration::MAX, Duration::from_millis)
}

/// How long the current try may take to connect.
pub(crate) fn connect_limit(context: &Context) -> Duration {
    let of_route = context.route().and_then(|route| route.try_timeout);
    let of_pool = context.pool().map(|pool| pool.timeouts.connect);
    of_route.into_iter().chain(of_pool).min().unwrap_or(Duration::MAX).min(left(context))
}

/// The endpoint for the current try, with what is left of the time.
pub(super) fn peer(gateway: &Gateway, context: &mut Context, cell: &Arc<EndpointCell>) -> Box<HttpPeer> {
    let needs_new = std::mem::take(&mut context.tries.stay);
    let (Some(pool), Some(decision)) = (context.pool(), context.decision) else {
        unreachable!("a try begins only after a decision")
    };
    let left = left(context);
    // HTTP/2 has no upgrades: there the request goes without, and is answered as any other.
    let upgrade = context.upgrade.is_some() && pool.protocol != Protocol::H2;
    let limits = Limits {
        connect: connect_limit(context),
        // Until it is answered, the client's side keeps the time of an upgrade.
        read: (!upgrade).then(|| pool.timeouts.read.min(left)),
        write: pool.timeouts.write.min(left),
    };
    let group = decision.serving(&context.snapshot).hash;
    let material = pool.tls.as_ref().map(|_| gateway.control.material());
    let trust = material.as_ref().and_then(|material| material.pool(&pool.name));
    let place = gateway.control.locate(&cell.address);
    let terms = Terms { place, trust: trust.map(|trust| &**trust), group, limits, upgrade };
    let mut peer = peer::peer(pool, cell, terms);
    if needs_new {
        // No kept connection has this key, and none will be kept under it.
        peer.group_key = !peer.group_key;
        peer.options.idle_timeout = Some(Duration::ZERO);
    }
    peer
}

/// Ends a try whose answer is not for the client: there is another instead of a 5xx.
#[expect(clippy::unnecessary_box_returns, reason = "pingora's errors are boxed wherever they go")]
pub(crate) fn instead_of(status: u16) -> Box<Error> {
    let mut error = Error::explain(ErrorType::HTTPStatus(status), "retrying").into_up();
    error.set_retry(true);
    error
}

/// A request as those see it who ask whether it may be sent once more.
pub(super) struct Ask<'a> {
    pub(super) head: &'a RequestHeader,
    /// The client has not been answered.
    pub(super) is_unanswered: bool,
    /// All that came of the body is still there.
    pub(super) is_whole: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn of(session: &'a Session) -> Self {
        Self {
            head: session.req_header(),
            is_unanswered: session.response_written().is_none_or(|head| head.status.is_informational()),
            is_whole: !session.as_ref().retry_buffer_truncated(),
        }
    }

    /// Whether the request can be sent once more without harm and in full.
    pub(super) fn can_be_repeated(&self, nothing_sent: bool) -> bool {
        let is_safe = nothing_sent || self.head.method.is_idempotent();
        self.is_unanswered && is_safe && self.is_whole
    }
}

/// Whether a failure is followed by another try, in its pool or, failing that, in another.
pub(super) fn is_tried_again(
    gateway: &Gateway,
    ask: &Ask<'_>,
    context: &mut Context,
    failure: Failure,
) -> bool {
    may_retry(gateway, ask, context, failure)
        || rescue::prepare(gateway, ask, context, failure, failure == Failure::Connect)
}

/// Whether a failure may be followed by another try in its pool; takes it out of the budget if so.
fn may_retry(gateway: &Gateway, ask: &Ask<'_>, context: &mut Context, failure: Failure) -> bool {
    let (Some(route), Some(pool)) = (context.route(), context.pool()) else { return false };
    let nothing_sent = failure == Failure::Connect;
    let again = !context.is_rescued()
        && context.tries.retries < route.retry.attempts
        && context.deadline_ms.is_none_or(|at| gateway.now_ms() < at)
        && route.retry.names(failure, context.tries.upstream_status)
        && ask.can_be_repeated(nothing_sent)
        && !context.exchange.timed_out()
        && pool.cell.budget.try_retry(gateway.now_ms(), route.retry.budget_percent);
    if again {
        context.tries.retries += 1;
    }
    again
}

/// Ends a try that was not connected, and says whether there is another.
pub(super) fn after_no_connection(
    gateway: &Gateway,
    ask: &Ask<'_>,
    context: &mut Context,
    error: &mut Error,
) {
    context.first_turn = None;
    if matches!(error.etype(), ErrorType::InternalError | ErrorType::HTTPStatus(_)) {
        // No descriptor or port was left on this side, or no connection that the pool may have.
        gateway.end_try(context, Outcome::Client);
        return error.set_retry(false);
    }
    gateway.complaints.tell(context, Failure::Connect, error, gateway.now_ms());
    gateway.end_try(context, Outcome::Failed(Failure::Connect));
    let again = is_tried_again(gateway, ask, context, Failure::Connect);
    error.set_retry(again);
}

/// Ends a try that failed after it was connected, and says whether there is another.
pub(super) fn after_failure(
    gateway: &Gateway,
    ask: &Ask<'_>,
    context: &mut Context,
    error: &mut Error,
    reused: bool,
) {
    if context.tries.upstream_status.is_some_and(|s| s >= 500) && error.retry() {
        // The answer's head asked for this try; see `upstream_response_filter`.
        return gateway.end_try(context, Outcome::Failed(Failure::Status5xx));
    }
    // HTTP/2 says when a request was not looked at: refused, or behind the last of a connection that ends
    // (RFC 9113, 6.8 and 8.7).
    let untouched = *error.etype() == ErrorType::H2Error && matches!(error.retry, RetryType::Decided(true));
    error.set_retry(false);
    if std::mem::take(&mut context.tries.gave_way) {
        // Nothing has been sent.
        context.tries.stay = true;
        gateway.end_try(context, Outcome::Client);
        return error.set_retry(true);
    }
    let Cause::Upstream(failure, _) = cause(error, context) else { return };
    let broke = failure == Failure::Reset && *error.etype() != ErrorType::H2Error;
    let is_stale = (untouched || (reused && broke)) && !context.tries.repeated_stale;
    if is_stale && ask.can_be_repeated(untouched) {
        // The upstream had closed a kept connection: not a failure, and no retry of the route's.
        context.tries.repeated_stale = true;
        context.tries.stay = true;
        gateway.end_try(context, Outcome::Client);
        return error.set_retry(true);
    }
    gateway.complaints.tell(context, failure, error, gateway.now_ms());
    gateway.end_try(context, Outcome::Failed(failure));
    error.set_retry(is_tried_again(gateway, ask, context, failure));
}

/// What to tell the client of a failure: enough to ask about it, nothing of the inside.
pub(super) fn detail(context: &Context, status: u16, code: &'static str) -> String {
    let id = context.facts.as_ref().map_or("unknown", |facts| facts.ids.request());
    let what = match code {
        "connect_failed" => "the upstream could not be reached",
        "upstream_reset" => "the upstream closed the connection before its answer was complete",
        "upstream_timeout" => "the upstream did not answer in time",
        "upstream_protocol" => "the upstream's answer was not valid HTTP",
        "overloaded" => "too much is asked for at the moment",
        "no_endpoint" => "no endpoint can take this request at the moment",
        "body_too_large" => "the request body is too large",
        "request_timeout" => "the request did not arrive in time",
        _ if status < 500 => "the request was not valid",
        _ => "the request could not be served",
    };
    format!("{what} (request {id})")
}
