//! Waiting while what runs behind a request's pool is replaced.
//!
//! The core says that a request waits ([`tidegate_core::decide`]) and bounds how many may
//! ([`tidegate_core::waiting`]); here it sleeps until the next table, and decides again. It ends with
//! an endpoint, at the queue's time or the route's, or when the client goes. What waits holds the
//! table in force and no older one, and is no evidence for a rollout until it has an endpoint.

use std::time::Duration;

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_core::pool::Pool;
use tidegate_core::waiting::{Place, Waiting};
use tokio::sync::watch;

use super::Gateway;
use super::admit::{Refusal, admit_again, refuse};
use crate::context::Context;
use crate::listen::ClientStream;

/// Whether the request was told to wait.
pub(super) fn waits(context: &Context) -> bool {
    context.decision.is_some_and(|decision| decision.waits)
}

/// Whether a further try must wait: its pool went away after the request had come.
pub(super) fn is_away(gateway: &Gateway, context: &Context) -> bool {
    let is_retry = context.tries.count > 0 && context.endpoint().is_none();
    let away = |pool: &Pool| {
        let table = gateway.control.live().peek();
        table.pool_named(&pool.name).is_some_and(|pool| pool.waiting.is_some())
    };
    is_retry && context.pool().is_some_and(|pool| away(pool))
}

/// Waits until the pool is back; an error is the client's going.
pub(super) async fn hold(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
) -> Result<Result<(), Refusal>> {
    let began_ms = gateway.now_ms();
    // A try may have been made under the table at hand; what it says is no evidence any more.
    context.unwatch();
    let mut tables = gateway.control.tables();
    let mut place: Option<Place> = None;
    loop {
        // Seen before the table in force is read: what is put in force after that wakes this up.
        tables.mark_unchanged();
        if let Err(refusal) = admit_again(gateway, session, context) {
            return Ok(Err(refusal));
        }
        let Some((pool, waiting)) = context.pool().and_then(|pool| Some((pool, pool.waiting?))) else {
            return Ok(Ok(()));
        };
        if !place.as_ref().is_some_and(|place| place.is_of(&pool.cell)) {
            place = Place::take(&pool.cell, waiting.queue);
        }
        if place.is_none() {
            return Ok(Err(overloaded(context, waiting, "too many requests wait already")));
        }
        let now_ms = gateway.now_ms();
        let patience_ms = u64::try_from(waiting.timeout.as_millis()).unwrap_or(u64::MAX);
        let queue_end_ms = began_ms.saturating_add(patience_ms);
        let end_ms = queue_end_ms.min(context.deadline_ms.unwrap_or(u64::MAX));
        if now_ms < end_ms {
            sleep(session, &mut tables, Duration::from_millis(end_ms - now_ms)).await?;
        } else if end_ms < queue_end_ms {
            context.exchange.clear_deadlines();
            return Ok(Err(refuse(504, "upstream_timeout", "the pool did not come back in time")));
        } else {
            return Ok(Err(overloaded(context, waiting, "the pool did not come back in time")));
        }
    }
}

/// Until the next table, or for so long.
async fn sleep<T>(session: &mut Session, tables: &mut watch::Receiver<T>, time: Duration) -> Result<()> {
    tokio::select! {
        // An error means that the sender is gone, and with it the process.
        _ = tables.changed() => Ok(()),
        () = tokio::time::sleep(time) => Ok(()),
        () = client_gone(session) => Err(Error::explain(ErrorType::ConnectionClosed, "the client went away").into_down()),
    }
}

/// Resolves when the client has gone.
async fn client_gone(session: &mut Session) {
    match session.as_downstream().stream().and_then(|stream| stream.as_any().downcast_ref::<ClientStream>()) {
        Some(client) => client.closed().await,
        // A stream of a connection that goes on: its reset is all there is to wait for.
        None => drop(session.as_downstream_mut().read_body_or_idle(true).await),
    }
}

/// A limit of ours, for which no pool is charged.
fn overloaded(context: &mut Context, waiting: Waiting, why: &str) -> Refusal {
    // Another one who comes after as long as a place is kept finds the queue moved on.
    context.retry_after_s = Some(waiting.timeout.as_secs().clamp(1, 60));
    refuse(503, "overloaded", format!("what serves this request is being replaced: {why}"))
}
