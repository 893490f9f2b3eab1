//! An endpoint as pingora connects to it, and every connection to it in view.
//!
//! Connections are made by our own connector, for two reasons: they are counted on the endpoint
//! exactly, and they can be closed when a drain's time is over. pingora's pool has no way to do
//! either. For the latter a duplicate of each socket is kept beside it, so that shutting one down
//! can never hit a descriptor that has meanwhile become another's.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer, Tracer, Tracing};
use pingora_core::{Error, ErrorType, Result};
use socket2::{SockRef, Socket};
use tidegate_core::cell::EndpointCell;
use tidegate_core::pool::Pool;
use tokio::net::TcpStream;

/// The open connections to an endpoint, kept in its cell.
#[derive(Debug, Default)]
struct Connections {
    next: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sockets: HashMap<u64, Socket>,
    /// All were closed at the end of a drain: one that is only then connected is late.
    closed: bool,
}

fn connections(cell: &EndpointCell) -> Option<&Connections> {
    cell.attachment(|| Box::new(Connections::default())).downcast_ref()
}

/// Closes every connection to an endpoint, in use or kept; how many there were.
pub(crate) fn close_connections(cell: &EndpointCell) -> usize {
    let Some(connections) = connections(cell) else { return 0 };
    let mut open = connections.open.lock();
    open.closed = true;
    for socket in open.sockets.values() {
        // It may have been closed by the other side in the meantime.
        let _ = socket.shutdown(Shutdown::Both);
    }
    open.sockets.len()
}

/// How long things may take with one try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// The endpoint, for one try.
pub(crate) fn peer(pool: &Pool, group: u64, cell: &Arc<EndpointCell>, limits: Limits) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(cell.address, false, String::new());
    // Connections are never shared between pools, whatever the address.
    peer.group_key = group;
    let options = &mut peer.options;
    options.connection_timeout = Some(limits.connect);
    options.read_timeout = Some(limits.read);
    options.write_timeout = Some(limits.write);
    options.idle_timeout = Some(pool.timeouts.idle);
    options.custom_l4 = Some(Arc::new(Connect { cell: Arc::clone(cell), timeout: limits.connect }));
    options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
    Box::new(peer)
}

#[derive(Debug)]
struct Connect {
    cell: Arc<EndpointCell>,
    timeout: Duration,
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let address = self.cell.address;
        let socket = match tokio::time::timeout(self.timeout, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                return Err(Error::because(kind_of(&error), format!("connecting to {address}"), error));
            }
            Err(error) => {
                let context = format!("connecting to {address} took longer than {:?}", self.timeout);
                return Err(Error::because(ErrorType::ConnectTimedout, context, error));
            }
        };
        let connection = Connection::register(&self.cell, &socket);
        let mut stream = Stream::from(socket);
        stream.tracer = Some(Tracer(Box::new(connection)));
        Ok(stream)
    }
}

fn kind_of(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        _ if crate::listen::is_exhausted(error) => ErrorType::InternalError,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

/// A connection that is open; pingora says when it no longer is.
#[derive(Clone, Debug)]
struct Connection {
    cell: Arc<EndpointCell>,
    id: u64,
}

impl Connection {
    fn register(cell: &Arc<EndpointCell>, socket: &TcpStream) -> Self {
        cell.connected();
        let mut id = 0;
        // Without descriptors to spare the connection serves all the same; only a drain's deadline
        // cannot cut it.
        if let (Some(connections), Ok(twin)) = (connections(cell), SockRef::from(socket).try_clone()) {
            id = connections.next.fetch_add(1, Relaxed) + 1;
            let mut open = connections.open.lock();
            open.closed &= cell.is_retired();
            if open.closed {
                // It is closed as the others were; the request meets that as a reset.
                let _ = twin.shutdown(Shutdown::Both);
            }
            open.sockets.insert(id, twin);
        }
        Self { cell: Arc::clone(cell), id }
    }
}

impl Tracing for Connection {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.cell.disconnected();
        if let Some(connections) = connections(&self.cell) {
            connections.open.lock().sockets.remove(&self.id);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}
