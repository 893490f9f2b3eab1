//! Clients of every kind at once, for what no client may notice.
//!
//! Each kind is a [`Load`] of its own, so that a failure says whose it is: one that makes a connection for
//! each request, one that keeps its connection busy, one whose connection mostly idles, and one that has
//! HTTP/2 streams side by side; where there are services for them, calls of gRPC and WebSockets as well
//! ([`super::long_lived`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use tokio::sync::watch;

use super::h2_client::{H2, download};
use super::load::{Load, Tally};
use super::{PATIENCE, Request, long_lived, within};

/// Longer than the proxy waits for an idle connection when it is to end at once.
const PAUSE: Duration = Duration::from_millis(700);

/// One running load a kind.
pub(crate) struct Clients {
    kinds: Vec<(&'static str, Load)>,
}

impl Clients {
    /// A few of each kind.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let get = Request::get("/");
        let once = get.clone().header("connection", "close");
        let kinds = vec![
            ("a connection for each request", Load::start(address, 2, &once)),
            ("a busy connection", Load::start(address, 2, &get)),
            ("an idle connection", Load::start_paced(address, 4, &get, PAUSE)),
            ("streams on a connection", Load::of(address, 2, streams)),
        ];
        Self { kinds }
    }

    /// As [`Self::start`], and those of gRPC and WebSockets, for a proxy that has such services behind it.
    pub(crate) fn start_all(address: SocketAddr) -> Self {
        let mut this = Self::start(address);
        this.kinds.push(("calls that stream", Load::of(address, 2, long_lived::calls)));
        this.kinds.push(("WebSockets", Load::of(address, 2, long_lived::sockets)));
        this
    }

    /// Wait until each kind has been answered again.
    pub(crate) async fn flow(&self) {
        for (_, load) in &self.kinds {
            load.flows(8).await;
        }
    }

    /// Let each finish, and be sure that none has seen anything but whole 200s; by kind, what they saw.
    pub(crate) async fn stop_clean(self) -> Vec<(&'static str, Tally)> {
        let mut tallies = Vec::new();
        for (kind, load) in self.kinds {
            let tally = load.stop().await;
            println!("{kind}: {} answers, {} connections", tally.total(), tally.connects);
            assert!(tally.failures.is_empty(), "{kind}: {:#?}", tally.failures);
            tallies.push((kind, tally));
        }
        tallies
    }
}

/// Streams side by side on one connection, which is made again when it has been told to go away. Only a
/// stream that was refused without having been looked at may be sent again.
async fn streams(stop: watch::Receiver<bool>, address: SocketAddr, answered: Arc<AtomicUsize>) -> Tally {
    let (mut tally, request) = (Tally::default(), Request::get("/"));
    while !*stop.borrow() {
        let mut client = H2::plain(address).await;
        tally.connects += 1;
        let mut is_told = false;
        while !is_told && !*stop.borrow() {
            let mut begun = Vec::new();
            for _ in 0..4 {
                begun.push(client.begin(&request, true).await);
            }
            for one in begun {
                match within(PATIENCE, "a stream ends", status(one)).await {
                    Ok(200) => {
                        *tally.answers.entry("app".to_owned()).or_default() += 1;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) if is_untouched(&error) => is_told = true,
                    other => {
                        tally.failures.push(format!("{other:?}"));
                        is_told = true;
                    }
                }
            }
        }
    }
    tally
}

/// The status of a whole response.
async fn status(begun: Result<(ResponseFuture, SendStream<Bytes>), h2::Error>) -> Result<u16, h2::Error> {
    let (answer, _) = begun?;
    let (parts, body) = answer.await?.into_parts();
    download(body).await?;
    Ok(parts.status.as_u16())
}

/// Whether a stream was refused without having been looked at, so that it may be sent again.
pub(super) fn is_untouched(error: &h2::Error) -> bool {
    error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)
}
