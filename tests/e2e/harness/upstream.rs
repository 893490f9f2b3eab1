//! An upstream on a real socket that answers, or misbehaves, as it is told.
//!
//! What to do comes from the request (`?do=hang`) or, where the request says nothing, from
//! [`Upstream::behave`]; the words are those of [`super::upstream::act::Act`]. It counts requests, health
//! checks and connections, and can be killed and come back on its port.

pub(crate) mod act;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use act::Act;

/// One upstream. Dropping it closes everything.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// What the connections know in common.
pub(crate) struct Shared {
    name: String,
    act: Mutex<Act>,
    healthy: AtomicBool,
    requests: AtomicUsize,
    /// When the first and the last of them arrived.
    span: Mutex<Option<(Instant, Instant)>>,
    /// What has been drawn so far.
    draws: AtomicU64,
    active: AtomicUsize,
    health_checks: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// Raised: connections that wait for a request close.
    close_idle: watch::Sender<u64>,
    /// Raised: every connection is reset.
    kill: watch::Sender<u64>,
}

impl Shared {
    fn arrived(&self) {
        let now = Instant::now();
        let mut span = self.span.lock();
        *span = Some((span.map_or(now, |(first, _)| first), now));
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// A number from 0 to 1: the same ones in the same order each time, whoever draws.
    fn draw(&self) -> f64 {
        let number = super::Dice::new(self.draws.fetch_add(1, Ordering::Relaxed)).next();
        (number >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

impl Upstream {
    /// Listening on a port of the system's choosing.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_on(name, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Listening on the port of another, at another address of this host: `127.0.0.2` for 2.
    pub(crate) async fn start_beside(name: &str, other: &Self, host: u8) -> Self {
        Self::start_on(name, ([127, 0, 0, host], other.address.port()).into()).await
    }

    async fn start_on(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            act: Mutex::new(Act::Name),
            healthy: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            span: Mutex::new(None),
            draws: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            health_checks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            close_idle: watch::channel(0).0,
            kill: watch::channel(0).0,
        });
        let accepting = tokio::spawn(serve::accept(listener, Arc::clone(&shared)));
        Self { shared, address, accepting: Mutex::new(Some(accepting)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to do with requests that do not say it themselves.
    pub(crate) fn behave(&self, act: &str) {
        *self.shared.act.lock() = Act::parse(act);
    }

    /// Whether `/healthz` answers 200 or 503.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::SeqCst);
    }

    /// Requests whose head arrived, health checks apart.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// When the first and the last of these requests arrived.
    pub(crate) fn span(&self) -> Option<(Instant, Instant)> {
        *self.shared.span.lock()
    }

    /// Begin to count requests anew.
    pub(crate) fn forget(&self) {
        self.shared.requests.store(0, Ordering::SeqCst);
        *self.shared.span.lock() = None;
    }

    /// Requests that are being answered.
    pub(crate) fn active(&self) -> usize {
        self.shared.active.load(Ordering::SeqCst)
    }

    pub(crate) fn health_checks(&self) -> usize {
        self.shared.health_checks.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Close the connections that wait for a request, as a server's keep-alive timeout does.
    pub(crate) fn close_idle(&self) {
        self.shared.close_idle.send_modify(|times| *times += 1);
    }

    /// As a kill -9 of the process: connections are reset, the port refuses.
    pub(crate) async fn kill(&self) {
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _ = accepting.await;
        }
        self.shared.kill.send_modify(|times| *times += 1);
    }

    /// Back on the same port.
    pub(crate) async fn revive(&self) {
        let end = Instant::now() + super::PATIENCE;
        let listener = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            match socket.bind(self.address).and_then(|()| socket.listen(1024)) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < end, "cannot bind {} again: {error}", self.address),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        *self.accepting.lock() = Some(tokio::spawn(serve::accept(listener, Arc::clone(&self.shared))));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
        self.shared.kill.send_modify(|times| *times += 1);
    }
}

/// An address on which nobody listens: connecting is refused.
pub(crate) async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An address whose backlog is full, so that connecting neither succeeds nor fails; keep what is returned.
pub(crate) async fn black_hole() -> (SocketAddr, Vec<tokio::net::TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    loop {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(Ok(stream)) => held.push(stream),
            Ok(Err(error)) => panic!("filling the backlog: {error}"),
            Err(_) => return (address, held, listener),
        }
        assert!(held.len() < 64, "the backlog does not fill");
    }
}
