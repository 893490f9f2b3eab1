//! An endpoint as pingora connects to it, and every connection to it in view.
//!
//! Connections are made by our own connector, for two reasons: they are counted on the endpoint
//! exactly, and they can be closed when a drain's time is over. pingora's pool has no way to do
//! either. For the latter a duplicate of each socket is kept beside it, so that shutting one down
//! can never hit a descriptor that has meanwhile become another's.
//!
//! A pool's limit of connections counts kept ones, too, so that it is what the upstream sees. Where a
//! connection is needed and there is no room, one that is kept and not used ([`uses`]) is closed for it,
//! whichever endpoint it leads to: no request is refused for what nobody uses.

mod link;
mod unhurried;
mod uses;

use std::collections::HashMap;
use std::io;
use std::net::{self, Shutdown};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::VirtualSocketStream;
use pingora_core::protocols::tls::{ALPN, CaType};
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer, Tracer, Tracing};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType, Result};
use socket2::{SockRef, Socket};
use tidegate_admin::tls::PoolTrust;
use tidegate_core::address::Address;
use tidegate_core::cell::{EndpointCell, PoolCell};
use tidegate_core::config::Protocol;
use tidegate_core::pool::Pool;
use tidegate_core::split::pool_hash;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use link::Kept;
use unhurried::Unhurried;
use uses::Uses;

pub(crate) use link::{Link, keep, open, sweep, take_kept};
pub(crate) use uses::{GaveWay, InUse, begin_use};

/// Streams on one connection to an endpoint, where it allows as many.
const MAX_STREAMS: usize = 100;
/// What an endpoint may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Until a full backlog is tried again.
const BACKLOG_FULL: Duration = Duration::from_millis(10);

/// The open connections to an endpoint, kept in its cell.
#[derive(Debug, Default)]
struct Connections {
    next: AtomicU64,
    open: Mutex<Open>,
    /// Those of the express lane that nobody uses.
    kept: Kept,
    /// Ends the tunnels to the endpoint.
    cut: Mutex<CancellationToken>,
    first: First,
}

/// Who makes the first connection that many requests will share.
#[derive(Debug)]
struct First(Arc<Semaphore>);

impl Default for First {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

#[derive(Debug, Default)]
struct Open {
    sockets: HashMap<u64, (Socket, Arc<Uses>)>,
    /// All were closed at the end of a drain: one that is only then connected is late.
    closed: bool,
}

fn connections(cell: &EndpointCell) -> Option<&Connections> {
    cell.attachment(|| Box::new(Connections::default())).downcast_ref()
}

/// Waits while another request makes the first HTTP/2 connection to an endpoint: a crowd that comes to one
/// without connections would make one each. Whoever is to make it gets the turn, and holds it until then.
pub(crate) async fn first_turn(
    pool: &Pool,
    cell: &Arc<EndpointCell>,
    patience: Duration,
) -> Option<OwnedSemaphorePermit> {
    if pool.protocol == Protocol::Http1 {
        return None;
    }
    let First(first) = &connections(cell)?.first;
    let is_busy = first.available_permits() == 0;
    if !is_busy && cell.connections() > 0 {
        return None;
    }
    // Who has waited for too long makes one of its own.
    let turn = tokio::time::timeout(patience, Arc::clone(first).acquire_owned()).await.ok()?.ok()?;
    (cell.connections() == 0).then_some(turn)
}

/// Ends the tunnels to an endpoint, when it is cancelled.
pub(crate) fn cut(cell: &Arc<EndpointCell>) -> CancellationToken {
    let Some(connections) = connections(cell) else { return CancellationToken::new() };
    let mut cut = connections.cut.lock();
    if cut.is_cancelled() && !cell.is_retired() {
        // It drained, and has been taken back since.
        *cut = CancellationToken::new();
    }
    cut.clone()
}

/// Closes every connection to an endpoint, in use or kept; how many there were.
pub(crate) fn close_connections(cell: &EndpointCell) -> usize {
    let Some(connections) = connections(cell) else { return 0 };
    connections.kept.clear();
    let mut open = connections.open.lock();
    open.closed = true;
    for (socket, _) in open.sockets.values() {
        // It may have been closed by the other side in the meantime.
        let _ = socket.shutdown(Shutdown::Both);
    }
    open.sockets.len()
}

/// Closes a connection to an endpoint that is kept and not used, if there is one.
fn close_unused(cell: &EndpointCell) -> bool {
    let Some(connections) = connections(cell) else { return false };
    let open = connections.open.lock();
    let Some((socket, _)) = open.sockets.values().find(|(_, uses)| uses.close_unused()) else { return false };
    // Whoever keeps it sees that as the upstream's closing; it may have been closed by now.
    let _ = socket.shutdown(Shutdown::Both);
    true
}

/// So long a connection of an exchange that has ended may take to be given back.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Counts a connection that is being made among the pool's, until it counts itself.
struct Room(Option<Arc<PoolCell>>);

impl Room {
    /// Takes one, if need be that of a connection that is not used; `None` when all are, and none is given
    /// back in a moment: an exchange that has ended frees its place a little before its connection.
    async fn make(pool: &Pool) -> Option<Self> {
        let end = Instant::now() + A_MOMENT;
        loop {
            if let Some(room) = Self::make_now(pool) {
                return Some(room);
            }
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn make_now(pool: &Pool) -> Option<Self> {
        let cells = || pool.endpoints.iter().map(|endpoint| &endpoint.cell).chain(&pool.leaving);
        while !pool.cell.connect(pool.limits.max_connections) {
            if !cells().any(|cell| close_unused(cell)) {
                return None;
            }
            pool.cell.disconnected();
        }
        Some(Self(Some(Arc::clone(&pool.cell))))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.disconnected();
        }
    }
}

/// How long things may take with one try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    /// `None` = as long as it takes, for what is no longer HTTP.
    pub(crate) read: Option<Duration>,
    pub(crate) write: Duration,
}

/// What a try is to be connected by.
#[derive(Clone, Debug)]
pub(crate) struct Terms<'a> {
    /// Where the endpoint is reached.
    pub(crate) place: Address,
    /// Whom to trust, where the pool speaks TLS.
    pub(crate) trust: Option<&'a PoolTrust>,
    /// Connections are shared within a group only.
    pub(crate) group: u64,
    pub(crate) limits: Limits,
    /// The request asks for an upgrade, which HTTP/2 does not have.
    pub(crate) upgrade: bool,
}

/// The endpoint, for one try.
pub(crate) fn peer(pool: &Arc<Pool>, cell: &Arc<EndpointCell>, terms: Terms<'_>) -> Box<HttpPeer> {
    let Terms { place, trust, group, limits, upgrade } = terms;
    let (address, group) = identity(&place, group);
    let name = pool.tls.as_ref().map(|tls| tls.sni.clone());
    let mut peer = HttpPeer::new(address, name.is_some(), name.unwrap_or_default());
    // Connections are never shared between pools, whatever the address; nor beyond a change of whom to trust.
    peer.group_key = group ^ trust.map_or(0, |trust| trust.identity);
    if let Some(files) = trust.and_then(Files::of) {
        peer.options.ca.clone_from(&files.authorities);
        peer.client_cert_key.clone_from(&files.shown);
    }
    let options = &mut peer.options;
    if let Some(tls) = &pool.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
    }
    options.alpn = match (pool.protocol, pool.tls.is_some()) {
        (Protocol::H2, _) => ALPN::H2,
        (Protocol::Auto, true) if !upgrade => ALPN::H2H1,
        _ => ALPN::H1,
    };
    options.max_h2_streams = MAX_STREAMS;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.connection_timeout = Some(limits.connect);
    options.total_connection_timeout = Some(limits.connect);
    options.read_timeout = limits.read;
    options.write_timeout = Some(limits.write);
    options.idle_timeout = Some(pool.timeouts.idle);
    if upgrade {
        // Neither was kept for this, nor will be: see `unhurried`.
        peer.group_key = !peer.group_key;
        options.idle_timeout = Some(Duration::ZERO);
    }
    let (pool, cell, timeout) = (Arc::clone(pool), Arc::clone(cell), limits.connect);
    options.custom_l4 = Some(Arc::new(Connect { pool, cell, place, timeout, unhurried: upgrade }));
    // What an upgrade needs is put together by `headers`, for any protocol.
    options.http_upstream_request_policy.h1_upgrade =
        if upgrade { H1UpgradePolicy::Preserve } else { H1UpgradePolicy::Deny };
    Box::new(peer)
}

/// What an endpoint's kept connections are found by: an address and a group.
///
/// Before pingora uses one again, it looks whether the socket's other end has the peer's address. Of a
/// Unix socket that is the path by which the server bound it, which need not be ours: it may be a
/// relative one, or lead through a link. So the path is in the group, and the address is the one that
/// pingora compares with nothing. (`unix_endpoints` counts connections.)
fn identity(place: &Address, group: u64) -> (net::SocketAddr, u64) {
    match place {
        Address::Tcp(address) => (*address, group),
        Address::Unix(_) => (([0, 0, 0, 0], 0).into(), group ^ pool_hash(&place.to_string())),
    }
}

/// A pool's certificates, in pingora's form.
struct Files {
    authorities: Option<Arc<CaType>>,
    shown: Option<Arc<CertKey>>,
}

impl Files {
    /// Made once for each reading of the files.
    fn of(trust: &PoolTrust) -> Option<&Self> {
        trust.attachment(|| Box::new(Self::new(trust))).downcast_ref()
    }

    fn new(trust: &PoolTrust) -> Self {
        let der = |chain: &[CertificateDer<'_>]| chain.iter().map(|one| one.to_vec()).collect::<Vec<_>>();
        let authorities = trust
            .authorities
            .as_ref()
            .map(|all| der(all).into_iter().map(|one| WrappedX509::new(one, parse_x509)).collect());
        let shown = trust.shown.as_ref().map(|(chain, key)| Arc::new(CertKey::new(der(chain), key.clone())));
        Self { authorities, shown }
    }
}

#[derive(Debug)]
struct Connect {
    pool: Arc<Pool>,
    cell: Arc<EndpointCell>,
    place: Address,
    timeout: Duration,
    unhurried: bool,
}

impl Connect {
    async fn open(&self, room: Room) -> io::Result<Stream> {
        Ok(match &self.place {
            Address::Tcp(address) => self.in_view(room, TcpStream::connect(address).await?),
            Address::Unix(path) => self.in_view(room, connect_unix(path).await?),
        })
    }

    fn in_view<S>(&self, room: Room, socket: S) -> Stream
    where
        S: AsFd + Into<Stream> + AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static,
    {
        let connection = Connection::register(room, &self.cell, &socket);
        let mut stream = if self.unhurried {
            VirtualSocketStream::new(Box::new(Unhurried::new(socket))).into()
        } else {
            socket.into()
        };
        uses::attach(&mut stream, &connection.uses);
        stream.tracer = Some(Tracer(Box::new(connection)));
        stream
    }
}

/// A full backlog refuses at once, where TCP would try again by itself; there is no event to wait for.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(BACKLOG_FULL).await;
            }
            connected => return connected,
        }
    }
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let Some(room) = Room::make(&self.pool).await else {
            let why = "all connections that the pool may have are in use";
            return Error::e_explain(ErrorType::HTTPStatus(503), why);
        };
        let address = &self.cell.address;
        match tokio::time::timeout(self.timeout, self.open(room)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Error::because(kind_of(&error), format!("connecting to {address}"), error)),
            Err(error) => {
                let context = format!("connecting to {address} took longer than {:?}", self.timeout);
                Err(Error::because(ErrorType::ConnectTimedout, context, error))
            }
        }
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
    pool: Arc<PoolCell>,
    cell: Arc<EndpointCell>,
    uses: Arc<Uses>,
    id: u64,
}

impl Connection {
    fn register(mut room: Room, cell: &Arc<EndpointCell>, socket: &impl AsFd) -> Self {
        cell.connected();
        let pool = room.0.take().expect("nothing else takes it");
        let mut connection = Self { pool, cell: Arc::clone(cell), uses: Uses::first(), id: 0 };
        // Without descriptors to spare the connection serves all the same; only a drain's deadline
        // cannot cut it, nor another's need.
        if let (Some(connections), Ok(twin)) = (connections(cell), SockRef::from(socket).try_clone()) {
            connection.id = connections.next.fetch_add(1, Relaxed) + 1;
            let mut open = connections.open.lock();
            open.closed &= cell.is_retired();
            if open.closed {
                // It is closed as the others were; the request meets that as a reset.
                let _ = twin.shutdown(Shutdown::Both);
            }
            open.sockets.insert(connection.id, (twin, Arc::clone(&connection.uses)));
        }
        connection
    }
}

impl Tracing for Connection {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.cell.disconnected();
        // One that gave way has left its place to another.
        if self.uses.close() {
            self.pool.disconnected();
        }
        if let Some(connections) = connections(&self.cell) {
            connections.open.lock().sockets.remove(&self.id);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}
