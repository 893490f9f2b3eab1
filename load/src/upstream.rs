//! The upstreams behind the proxies: HTTP/1.1 and HTTP/2 in plain text, with answers made beforehand.
//!
//! They run in the load's own thread, so that a request passes between three parties on two cores with no switch of
//! threads on ours. What they served is counted: a proxy that answered from a cache of its own would show.

mod h1;
mod h2;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Result;
use tokio::net::{TcpListener, TcpSocket};

/// Bodies of answers, in bytes.
pub(crate) const SMALL: u64 = 100;
pub(crate) const LARGE: u64 = 64 * 1024;
pub(crate) const POSTED: u64 = 2;

/// One upstream, which serves as long as the runtime runs.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicU64>,
}

impl Upstream {
    /// How many requests it has answered.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
}

/// All that a proxy may have behind it.
pub(crate) struct Upstreams {
    pub(crate) stable: Upstream,
    pub(crate) canary: Upstream,
    pub(crate) grpc: Upstream,
}

impl Upstreams {
    /// Starts them on ports of the system's choosing.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { stable: http1()?, canary: http1()?, grpc: grpc()? })
    }

    pub(crate) fn served(&self) -> u64 {
        self.stable.served() + self.canary.served() + self.grpc.served()
    }
}

fn listener() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.listen(4_096)?)
}

fn http1() -> Result<Upstream> {
    let listener = listener()?;
    let address = listener.local_addr()?;
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    let answers = Arc::new(h1::Answers::new());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, served) = (Arc::clone(&answers), Arc::clone(&counter));
            // A connection that breaks is the load's to notice: its request gets no right answer.
            tokio::spawn(async move { h1::serve(stream, &answers, &served).await });
        }
    });
    Ok(Upstream { address, served })
}

fn grpc() -> Result<Upstream> {
    let listener = listener()?;
    let address = listener.local_addr()?;
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = Arc::clone(&counter);
            tokio::spawn(async move { h2::serve(stream, served).await });
        }
    });
    Ok(Upstream { address, served })
}
