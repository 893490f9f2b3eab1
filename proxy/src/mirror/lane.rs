//! A pool's lane: how copies get to it, over connections of their own.
//!
//! Bounded in everything, so that a pool which hangs costs a fixed amount: so many copies at once, so
//! many that wait, so long for each, so much of an answer. A copy is sent once; only where a kept
//! connection was closed before anything had been sent does it go over another one.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidegate_admin::Control;
use tidegate_core::address::Address;
use tidegate_core::cell::PoolCell;
use tidegate_core::mirror::Outcome;
use tidegate_core::pick::{Entropy, pick_aside};
use tidegate_core::pool::Pool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::budget::Reserved;
use crate::entropy;

/// Copies on their way to one pool.
const AT_ONCE: usize = 64;
/// Copies that wait to be.
const WAITING: usize = 256;
/// From the hand-over to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer so much is read; then its connection is closed.
const MOST_ANSWER_BYTES: usize = 1 << 20;
/// An answer's head is read up to this.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// An unused connection is kept for so long.
const IDLE: Duration = Duration::from_secs(30);

/// What copies to one pool share, kept in the pool's cell.
#[derive(Debug)]
pub(super) struct Lane {
    places: Arc<Semaphore>,
    turns: Semaphore,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A copy that was handed over.
pub(super) struct Order {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// Given back when the last copy of the request is gone.
    pub(super) reserved: Arc<Reserved>,
    /// Given back with the order.
    pub(super) place: OwnedSemaphorePermit,
}

impl Lane {
    /// The lane of a pool.
    pub(super) fn of(cell: &PoolCell) -> Option<&Self> {
        cell.attachment(|| Box::new(Self::new()) as Box<dyn Any + Send + Sync>).downcast_ref()
    }

    fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(AT_ONCE)
            .http1_max_buf_size(MOST_HEAD_BYTES)
            .build(connector);
        Self { places: Arc::new(Semaphore::new(AT_ONCE + WAITING)), turns: Semaphore::new(AT_ONCE), client }
    }

    /// A place for a copy; `None` when all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

/// Sends a copy, reads what is answered and forgets it.
pub(super) async fn carry_out(order: Order, pool: Arc<Pool>, control: Arc<Control>) {
    let Order { head, body, reserved, place } = order;
    let Some(lane) = Lane::of(&pool.cell) else { return };
    let end = Instant::now() + PATIENCE;
    let outcome = match timeout_at(end, lane.turns.acquire()).await {
        Ok(_turn) => {
            let sent = timeout_at(end, send(lane, head, body, &pool.name, &control)).await;
            sent.unwrap_or(Outcome::Timeout)
        }
        Err(_) => Outcome::Dropped,
    };
    pool.cell.copies.add(outcome);
    drop((reserved, place));
}

async fn send(lane: &Lane, mut head: Parts, body: Bytes, pool: &str, control: &Control) -> Outcome {
    // By the table in force: it knows what drains since the copy was made.
    let table = control.live().snapshot();
    let now_ms = control.clock().mono_ms();
    let picked = table.pool_named(pool).and_then(|pool| {
        let at = pick_aside(pool, now_ms, &mut Entropy::new(entropy::seed()))?;
        Some(pool.endpoints[at].address().clone())
    });
    drop(table);
    let Some(address) = picked else { return Outcome::NoEndpoint };
    // A file with such a mirror is refused; the API may put one there nevertheless.
    let Address::Tcp(address) = address else { return Outcome::Failed };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build();
    let Ok(uri) = uri else { return Outcome::Failed };
    head.uri = uri;
    match lane.client.request(Request::from_parts(head, Full::new(body))).await {
        Ok(answer) => {
            let is_5xx = answer.status().is_server_error();
            match discard(answer.into_body()).await {
                Ok(()) if is_5xx => Outcome::Status5xx,
                Ok(()) => Outcome::Ok,
                Err(_) => Outcome::Failed,
            }
        }
        Err(_) => Outcome::Failed,
    }
}

/// Reads an answer's body up to a bound; when it is longer, its connection is not used again.
async fn discard(mut body: Incoming) -> hyper::Result<()> {
    let mut read_bytes = 0;
    while let Some(frame) = body.frame().await {
        read_bytes += frame?.data_ref().map_or(0, Bytes::len);
        if read_bytes > MOST_ANSWER_BYTES {
            break;
        }
    }
    Ok(())
}
