//! Waiting for a pool: while what runs behind it is replaced, or while it has as much to do as it may.
//!
//! The core says that a request waits ([`tidegate_core::decide`], [`tidegate_core::gate`]) and bounds how
//! many may ([`tidegate_core::waiting`]). Here it sleeps until it is given a seat or the next table is in
//! force, and decides again. It ends with an endpoint, at the queue's time or the route's, or when the
//! client goes. What waits holds the table in force and no older one, and is no evidence for a rollout
//! until it has an endpoint.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_core::gate::{InLine, Seat};
use tidegate_core::pool::Pool;
use tidegate_core::waiting::Place;
use tokio::sync::{oneshot, watch};

use super::Gateway;
use super::admit::{Refusal, admit_again, refuse};
use crate::context::{Context, OVERLOADED};
use crate::listen::ClientStream;

/// Whether a further try must wait: its pool went away after the request had come.
pub(super) fn is_away(gateway: &Gateway, context: &Context) -> bool {
    let is_retry = context.tries.count > 0 && context.endpoint().is_none();
    let away = |pool: &Pool| {
        let table = gateway.control.live().peek();
        table.pool_named(&pool.name).is_some_and(|pool| pool.waiting.is_some())
    };
    is_retry && context.pool().is_some_and(|pool| away(pool))
}

/// A place in one of a pool's queues.
enum Queued {
    /// Among those that are let go when the pool is back.
    Away(Place),
    /// In the line for its seats. The place is left before nobody would take what is given.
    Full(InLine, oneshot::Receiver<Seat>),
}

impl Queued {
    fn join(pool: &Pool) -> Option<Self> {
        if let Some(waiting) = pool.waiting {
            return Place::take(&pool.cell, waiting.queue).map(Self::Away);
        }
        let (give, given) = oneshot::channel();
        // A seat that comes back goes to the next.
        let in_line = InLine::join(&pool.cell, move |seat| drop(give.send(seat)))?;
        Some(Self::Full(in_line, given))
    }

    /// Whether it is a place in the queue that a request would join at this pool now.
    fn is_for(&self, pool: &Pool) -> bool {
        match self {
            Self::Away(place) => pool.waiting.is_some() && place.is_of(&pool.cell),
            Self::Full(in_line, _) => pool.waiting.is_none() && in_line.is_of(&pool.cell),
        }
    }

    /// A seat, once there is one; none is given to those who wait for the pool itself.
    async fn seat(&mut self) -> Seat {
        match self {
            Self::Full(_, given) => match given.await {
                Ok(seat) => seat,
                // The line goes only with this place in it.
                Err(_) => std::future::pending().await,
            },
            Self::Away(_) => std::future::pending().await,
        }
    }
}

/// How long a request may wait for this pool, and what to say when that is over.
fn patience(pool: &Pool) -> (Duration, &'static str) {
    match pool.waiting {
        Some(waiting) => (waiting.timeout, "what serves this request is being replaced"),
        None => (pool.limits.queue_timeout, "what serves this request has as much to do as it may"),
    }
}

/// Waits until the pool is back and has a seat; an error is the client's going.
pub(super) async fn hold(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
) -> Result<Result<(), Refusal>> {
    // A try may have been made under the table at hand; what it says is no evidence any more.
    context.unwatch();
    let mut tables = gateway.control.tables();
    let mut queued: Option<(Queued, u64)> = None;
    loop {
        // Seen before the table in force is read: what is put in force after that wakes this up.
        tables.mark_unchanged();
        if let Err(refusal) = admit_again(gateway, session.req_header(), context) {
            return Ok(Err(refusal));
        }
        if context.enter(gateway.now_ms()) {
            return Ok(Ok(()));
        }
        context.step_back();
        let Some(pool) = context.pool().map(Arc::clone) else { unreachable!("it was admitted") };
        let (now_ms, (time, why)) = (gateway.now_ms(), patience(&pool));
        let kept = queued.take().filter(|(queued, _)| queued.is_for(&pool));
        queued = kept.or_else(|| Some((Queued::join(&pool)?, now_ms)));
        let Some((place, since_ms)) = &mut queued else {
            return Ok(Err(overloaded(context, time, why, "too many requests wait already")));
        };
        let queue_end_ms = since_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let end_ms = queue_end_ms.min(context.deadline_ms.unwrap_or(u64::MAX));
        if now_ms < end_ms {
            let time = Duration::from_millis(end_ms - now_ms);
            if let Some(seat) = sleep(session, &mut tables, place, time).await? {
                context.take_seat(seat);
            }
        } else if end_ms < queue_end_ms {
            context.exchange.clear_deadlines();
            return Ok(Err(refuse(504, "upstream_timeout", format!("{why}, and was so for too long"))));
        } else {
            return Ok(Err(overloaded(context, time, why, "it waited for as long as it may")));
        }
    }
}

/// Until there is a seat, which is what is returned, or the next table, or for so long.
async fn sleep<T>(
    session: &mut Session,
    tables: &mut watch::Receiver<T>,
    place: &mut Queued,
    time: Duration,
) -> Result<Option<Seat>> {
    tokio::select! {
        seat = place.seat() => Ok(Some(seat)),
        // An error means that the sender is gone, and with it the process.
        _ = tables.changed() => Ok(None),
        () = tokio::time::sleep(time) => Ok(None),
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
fn overloaded(context: &mut Context, patience: Duration, why: &str, what: &str) -> Refusal {
    context.exclude();
    // Another one who comes after as long as a place is kept finds the queue moved on.
    context.retry_after_s = Some(patience.as_secs().clamp(1, 60));
    refuse(503, OVERLOADED, format!("{why}: {what}"))
}
