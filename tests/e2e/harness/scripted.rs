//! An upstream that does on each connection exactly what a test writes down.
//!
//! For what [`super::upstream::act::Act`] has no word for, because only one test needs it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::wire::Wire;

/// A running script. Dropping it closes everything.
pub(crate) struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    /// Listening on a port of the system's choosing.
    pub(crate) async fn start<F>(script: impl Fn(Wire) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// On a socket that listens already.
    pub(crate) fn on<F>(listener: TcpListener, script: impl Fn(Wire) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (all, now) = (Arc::clone(&connections), Arc::clone(&open));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                all.fetch_add(1, Ordering::SeqCst);
                now.fetch_add(1, Ordering::SeqCst);
                let (counted, played) = (Open(Arc::clone(&now)), script(Wire::new(stream)));
                scripts.spawn(async move {
                    let _counted = counted;
                    played.await;
                });
            }
        });
        Self { address, connections, open, _accepting: accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections whose script is not over.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Read a request's head, whatever it is; false when there is none.
pub(crate) async fn head(wire: &mut Wire) -> bool {
    wire.head().await.is_ok_and(|head| head.is_some())
}

/// Stay until the other side closes, reading and dropping what it sends.
pub(crate) async fn until_closed(wire: &mut Wire) {
    while wire.some(usize::MAX).await.is_ok_and(|piece| !piece.is_empty()) {}
}
