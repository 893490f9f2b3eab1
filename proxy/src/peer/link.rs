//! Connections to endpoints for the express lane: made, used, kept beside their endpoint and used again.
//!
//! They are counted, kept in view and closed as pingora's are, but the lane gets the bare socket, and nothing
//! watches a connection while it is kept: whoever takes it looks whether the upstream has closed it, and
//! [`sweep`] looks after those that nobody takes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use pingora_core::upstreams::peer::Tracing as _;
use pingora_core::{Error, ErrorType, Result};
use tidegate_admin::Control;
use tidegate_core::address::Address;
use tidegate_core::cell::EndpointCell;
use tidegate_core::pool::Pool;
use tokio::net::TcpStream;

use super::uses::{GaveWay, InUse};
use super::{Connection, Room, connections, kind_of};

/// Kept connections are looked at so often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Lists of kept connections to one endpoint, so that workers seldom meet.
const SHELVES: usize = 8;
/// Kept at most, on each.
const MAX_KEPT: usize = 512;

static WORKERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Where this thread keeps connections, and looks for one first.
    static SHELF: usize = WORKERS.fetch_add(1, Relaxed) % SHELVES;
}

fn own_shelf() -> usize {
    SHELF.with(|shelf| *shelf)
}

/// A connection, counted for as long as it lives.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    connection: Connection,
    /// On the monotonic clock.
    kept_since_ms: u64,
}

impl Link {
    /// Its first use, for which it was made.
    pub(crate) fn first_use(&self) -> InUse {
        InUse::of(&self.connection.uses)
    }

    fn begin_use(&self) -> Result<InUse, GaveWay> {
        self.connection.uses.begin()?;
        Ok(InUse::of(&self.connection.uses))
    }

    /// Whether it may be used again: neither too old nor closed, and nothing has come that nobody asked for.
    fn is_fresh(&self, idle: Duration, now_ms: u64) -> bool {
        let nothing = || self.socket.try_read(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        let kept = Duration::from_millis(now_ms.saturating_sub(self.kept_since_ms));
        kept < idle && nothing()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.on_disconnected();
    }
}

/// The connections to one endpoint that are kept; those used last are taken first.
#[derive(Debug, Default)]
pub(super) struct Kept([Mutex<Vec<Link>>; SHELVES]);

impl Kept {
    fn pop(&self) -> Option<Link> {
        let own = own_shelf();
        (own..own + SHELVES).find_map(|shelf| self.0[shelf % SHELVES].lock().pop())
    }

    fn push(&self, link: Link) {
        let mut kept = self.0[own_shelf()].lock();
        if kept.len() < MAX_KEPT {
            kept.push(link);
        }
    }

    /// Takes out what may not be used again.
    fn sweep(&self, idle: Duration, now_ms: u64) {
        for shelf in &self.0 {
            let stale: Vec<Link> = shelf.lock().extract_if(.., |link| !link.is_fresh(idle, now_ms)).collect();
            drop(stale);
        }
    }

    /// Takes out all.
    pub(super) fn clear(&self) {
        self.sweep(Duration::ZERO, 0);
    }
}

/// Connects to an endpoint.
pub(crate) async fn open(pool: &Arc<Pool>, cell: &Arc<EndpointCell>, limit: Duration) -> Result<Link> {
    let Address::Tcp(address) = cell.address else {
        return Error::e_explain(ErrorType::InternalError, "the express lane leads to TCP alone");
    };
    let Some(room) = Room::make(pool).await else {
        let why = "all connections that the pool may have are in use";
        return Error::e_explain(ErrorType::HTTPStatus(503), why);
    };
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => {
            // A refusal costs some latency and nothing else.
            let _ = socket.set_nodelay(true);
            let connection = Connection::register(room, cell, &socket);
            Ok(Link { socket, connection, kept_since_ms: 0 })
        }
        Ok(Err(error)) => {
            Err(Error::because(kind_of(&error), format!("connecting to {address}"), error).into_up())
        }
        Err(_) => {
            let why = format!("connecting to {address} took longer than {limit:?}");
            Error::e_explain(ErrorType::ConnectTimedout, why).map_err(Error::into_up)
        }
    }
}

/// A connection to the endpoint that was kept, in use from now on.
pub(crate) fn take_kept(cell: &EndpointCell, idle: Duration, now_ms: u64) -> Option<(Link, InUse)> {
    let kept = &connections(cell)?.kept;
    loop {
        let link = kept.pop()?;
        if link.is_fresh(idle, now_ms)
            && let Ok(in_use) = link.begin_use()
        {
            return Some((link, in_use));
        }
    }
}

/// Keeps a connection that nobody uses any more.
pub(crate) fn keep(mut link: Link, now_ms: u64) {
    let cell = Arc::clone(&link.connection.cell);
    link.kept_since_ms = now_ms;
    // One that drains takes no more requests.
    if let Some(connections) = connections(&cell).filter(|_| !cell.is_retired()) {
        connections.kept.push(link);
    }
}

/// Closes kept connections that their upstreams have closed, or that nobody has used for too long.
pub(crate) async fn sweep(control: Arc<Control>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let (table, now_ms) = (control.live().snapshot(), control.clock().mono_ms());
        for pool in &table.pools {
            let staying = pool.endpoints.iter().map(|endpoint| &endpoint.cell);
            for cell in staying.chain(&pool.leaving) {
                let Some(connections) = connections(cell) else { continue };
                let idle = if cell.is_retired() { Duration::ZERO } else { pool.timeouts.idle };
                connections.kept.sweep(idle, now_ms);
            }
        }
    }
}
