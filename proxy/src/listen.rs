//! Listeners: bind, accept, and keep within bounds what clients may hold.
//!
//! The accept loop is ours, not pingora's, so that a drain can announce itself before anything is
//! closed, heads have deadlines, and connections are capped and counted. Next: [`greet`], one task each.

mod bind;
mod client;
mod connection;
mod deadlines;
mod exchange;
mod greet;
mod h2;
mod identity;
mod proxy_protocol;
mod transport;
mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_proxy::HttpProxy;
use tidegate_admin::Control;
use tidegate_core::config::Listener;
use tidegate_core::edge::{ListenerCell, Refusal};
use tidegate_core::http1::{framing, head};
use tokio::sync::Semaphore;

pub(crate) use bind::{Bound, bind};
pub(crate) use client::ClientStream;
pub(crate) use exchange::Exchange;
pub(crate) use tunnel::{Opened, Tunnels};

use crate::failure::raw_answer;
use crate::gateway::Gateway;
use crate::shutdown::Drain;
use crate::telemetry::AccessLog;
use bind::Listening;
use transport::Socket;

/// The gateway inside pingora's machinery.
pub(crate) type Proxy = HttpProxy<Gateway>;

/// How long handshakes under way may take once the listener closes.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Trouble with accepting is told at most so often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// Everything that the connections of one listener share.
pub(crate) struct Door {
    cell: Arc<ListenerCell>,
    control: Arc<Control>,
    proxy: Arc<Proxy>,
    gateway: Gateway,
    drain: Arc<Drain>,
    access: Arc<AccessLog>,
    /// Places for TLS handshakes.
    handshakes: Semaphore,
}

impl Door {
    /// The listener's settings as they are now.
    fn settings(&self) -> Arc<Listener> {
        let table = self.control.live().peek();
        let settings = table.settings.listener(&self.cell.name);
        Arc::clone(settings.expect("a reload that removes a listener is rejected"))
    }
}

/// Accepts until the drain closes the listener.
pub(crate) async fn accept(
    bound: Bound,
    control: Arc<Control>,
    proxy: Arc<Proxy>,
    gateway: Gateway,
    drain: Arc<Drain>,
    access: Arc<AccessLog>,
) {
    let name = bound.cell.name.clone();
    let (listener, cell) = match bound.listen() {
        Ok(listening) => listening,
        Err(error) => return tracing::error!(listener = name, "cannot accept connections: {error}"),
    };
    let handshakes = Semaphore::new(greet::MAX_HANDSHAKES);
    let door = Arc::new(Door { cell, control, proxy, gateway, drain, access, handshakes });
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.drain.listeners_close() => return admit_last(listener, &door).await,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(socket, peer, &door),
            Err(error) if is_exhausted(&error) => {
                // Others must close before more can come.
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::warn!(listener = door.cell.name, "cannot accept connections: {error}");
                    complained = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // The client was gone before it was accepted.
            Err(_) => {}
        }
    }
}

/// Whether the system has no more descriptors or memory to give.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS on Linux.
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 99 | 105))
}

/// Takes in the connections that have begun, and no more: closing resets those that wait.
///
/// Not where another process accepts on the same socket: it takes in those that wait, and a filter
/// would keep clients from it.
async fn admit_last(listener: Listening, door: &Arc<Door>) {
    if door.drain.is_handed_over(&door.cell.name) {
        return;
    }
    if listener.refuse_new().is_ok() {
        let handshakes = async {
            loop {
                match listener.accept().await {
                    Ok((socket, peer)) => admit(socket, peer, door),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        // It never ends by itself.
        let _ = tokio::time::timeout(HANDSHAKE, handshakes).await;
    }
    for (socket, peer) in listener.into_waiting() {
        admit(socket, peer, door);
    }
}

/// Gives a connection a task of its own, unless there are too many.
fn admit(socket: Socket, peer: SocketAddr, door: &Arc<Door>) {
    let (held, count) = Held::new(Arc::clone(&door.cell), Arc::clone(&door.drain));
    let cap = u64::from(door.settings().max_connections);
    if cap > 0 && count > cap {
        door.cell.refuse(Refusal::MaxConnections);
        if door.settings().tls.is_none() {
            // One attempt, never a wait: the listener has no place to keep this connection.
            let why = "this listener has as many connections as it may";
            socket.write_now(&raw_answer(503, "overloaded", why));
        }
        return;
    }
    door.drain.spawn(greet::serve(socket, peer, held, Arc::clone(door)));
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
struct Held {
    cell: Arc<ListenerCell>,
    drain: Arc<Drain>,
}

impl Held {
    /// Counts one more; how many there are now.
    fn new(cell: Arc<ListenerCell>, drain: Arc<Drain>) -> (Self, u64) {
        let count = cell.connected();
        (Self { cell, drain }, count)
    }

    /// Whose end waits for the connection's.
    fn drain(&self) -> Arc<Drain> {
        Arc::clone(&self.drain)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cell.disconnected();
    }
}
