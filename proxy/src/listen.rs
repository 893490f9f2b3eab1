//! Listeners: bind, accept, and keep within bounds what clients may hold.
//!
//! The accept loop is ours, not pingora's, so that a drain can announce itself before anything is
//! closed, heads have deadlines, and connections are capped and counted. Next: [`greet`], one task each.

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
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_proxy::HttpProxy;
use socket2::{Domain, Protocol, Socket, Type};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::{SockFilter, SockRef};
use tidegate_admin::Control;
use tidegate_core::config::Listener;
use tidegate_core::edge::{ListenerCell, Refusal};
use tidegate_core::http1::{framing, head};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(crate) use client::ClientStream;
pub(crate) use exchange::Exchange;
pub(crate) use tunnel::{Opened, Tunnels};

use crate::failure::raw_answer;
use crate::gateway::Gateway;
use crate::shutdown::Drain;
use crate::telemetry::AccessLog;
use transport::Socket as ClientSocket;

/// The gateway inside pingora's machinery.
pub(crate) type Proxy = HttpProxy<Gateway>;

const BACKLOG: i32 = 4096;
/// How long handshakes under way may take once the listener closes.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Trouble with accepting is told at most so often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// Everything that the connections of one listener share.
pub(crate) struct Door {
    cell: Arc<ListenerCell>,
    control: Arc<Control>,
    proxy: Arc<Proxy>,
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

/// A bound listener.
pub(crate) struct Bound {
    socket: std::net::TcpListener,
    /// Its counters.
    pub(crate) cell: Arc<ListenerCell>,
}

impl Bound {
    /// Another handle on the socket, to be given to a process that takes over.
    pub(crate) fn handle(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }
}

/// Binds a listener of the configuration, or takes the socket on which an earlier process listens.
pub(crate) fn bind(settings: &Listener, inherited: Option<OwnedFd>) -> io::Result<Bound> {
    let socket = match inherited {
        Some(socket) => Socket::from(socket),
        None => bind_new(resolve(&settings.address)?)?,
    };
    socket.set_nonblocking(true)?;
    let socket: std::net::TcpListener = socket.into();
    let cell = Arc::new(ListenerCell::new(settings.name.clone(), socket.local_addr()?.into()));
    Ok(Bound { socket, cell })
}

fn bind_new(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let local = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(address).parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{address}` is not an address such as 127.0.0.1:8080"),
        )
    })
}

/// Accepts until the drain closes the listener.
pub(crate) async fn accept(
    bound: Bound,
    control: Arc<Control>,
    proxy: Arc<Proxy>,
    drain: Arc<Drain>,
    access: Arc<AccessLog>,
) {
    let listener = match TcpListener::from_std(bound.socket) {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::error!(listener = bound.cell.name, "cannot accept connections: {error}");
        }
    };
    let handshakes = Semaphore::new(greet::MAX_HANDSHAKES);
    let door = Arc::new(Door { cell: bound.cell, control, proxy, drain, access, handshakes });
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
async fn admit_last(listener: TcpListener, door: &Arc<Door>) {
    if door.drain.is_handed_over(&door.cell.name) {
        return;
    }
    if refuse_new(&listener).is_ok() {
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
    // The kernel itself is asked: what tokio knows of may be older than the last of them.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((socket, peer)) = listener.accept() {
        if socket.set_nonblocking(true).is_ok()
            && let Ok(socket) = TcpStream::from_std(socket)
        {
            admit(socket, peer, door);
        }
    }
}

/// From now on no handshake begins, and those that have begun go on: without this, a connection that
/// is made between the last look and the close would be reset.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    // A classic BPF program over the TCP header: SYN without ACK is dropped, all else passes.
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),       // load byte 13, the flags
        SockFilter::new(0x54, 0, 0, 0x12),     // keep SYN and ACK
        SockFilter::new(0x15, 0, 1, 0x02),     // only SYN? else skip one
        SockFilter::new(0x06, 0, 0, 0),        // drop
        SockFilter::new(0x06, 0, 0, u32::MAX), // pass
    ])
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn refuse_new(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives a connection a task of its own, unless there are too many.
fn admit(socket: TcpStream, peer: SocketAddr, door: &Arc<Door>) {
    let (held, count) = Held::new(Arc::clone(&door.cell), Arc::clone(&door.drain));
    let cap = u64::from(door.settings().max_connections);
    if cap > 0 && count > cap {
        door.cell.refuse(Refusal::MaxConnections);
        if door.settings().tls.is_none() {
            // One attempt, never a wait: the listener has no place to keep this connection.
            let why = "this listener has as many connections as it may";
            let _ = socket.try_write(&raw_answer(503, "overloaded", why));
        }
        return;
    }
    // Without it small answers wait for the client's acknowledgement; a failure costs only speed.
    let _ = socket.set_nodelay(true);
    door.drain.spawn(greet::serve(ClientSocket::Tcp(socket), peer, held, Arc::clone(door)));
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
