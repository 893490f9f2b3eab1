//! The visitors: a steady load over a bounded number of kept connections, each answer counted.
//!
//! The ids are seeded, so that every run of the demo has the same visitors in the same pools. An
//! answer counts when its last byte is there; one that breaks off, or does not come, is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tidegate_core::pick::Entropy;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::setup::VISITOR_HEADER;
use super::shop::VERSION_HEADER;
use super::tally::{Outcome, Tally};

/// Requests a second, over all connections.
pub(super) const REQUESTS_PER_SECOND: u32 = 300;
/// Connections kept open.
const CONNECTIONS: u32 = 16;
/// Visitors that there are.
pub(super) const VISITORS: u32 = 2_000;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

type Sender = SendRequest<Empty<Bytes>>;

/// Visitors on their way.
pub(super) struct Visitors {
    leave: CancellationToken,
    connections: Vec<JoinHandle<()>>,
}

impl Visitors {
    /// Sends them to the proxy.
    pub(super) fn send(runtime: &Runtime, proxy: SocketAddr, tally: &Arc<Mutex<Tally>>) -> Self {
        let leave = CancellationToken::new();
        let connections = (0..CONNECTIONS)
            .map(|number| {
                let lane = Lane {
                    proxy,
                    tally: Arc::clone(tally),
                    who: Entropy::new(u64::from(number)),
                    sender: None,
                };
                runtime.spawn(lane.run(number, leave.clone()))
            })
            .collect();
        Self { leave, connections }
    }

    /// Lets each have its last answer, and no more.
    pub(super) async fn leave(self) {
        self.leave.cancel();
        for connection in self.connections {
            // An error is a panic, which has been told.
            let _ = connection.await;
        }
    }
}

/// One connection, opened again when it closes.
struct Lane {
    proxy: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    who: Entropy,
    sender: Option<Sender>,
}

impl Lane {
    async fn run(mut self, number: u32, leave: CancellationToken) {
        let every = Duration::from_secs(1) * CONNECTIONS / REQUESTS_PER_SECOND;
        let first = Instant::now() + every * number / CONNECTIONS;
        let mut turns = interval_at(first, every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = leave.cancelled() => return,
                _ = turns.tick() => {}
            }
            let visitor = u32::try_from(self.who.next_u64() % u64::from(VISITORS)).unwrap_or(0);
            let began = Instant::now();
            let outcome = timeout(PATIENCE, self.visit(visitor)).await.ok().flatten();
            if outcome.is_none() {
                self.sender = None;
            }
            let took_us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.tally.lock().add(visitor, took_us, outcome, began.into_std());
        }
    }

    /// One visit; `None` if its answer was lost.
    async fn visit(&mut self, visitor: u32) -> Option<Outcome> {
        let mut sender = match self.sender.take() {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => sender,
                // Closed between two requests, as either side may: nothing was under way.
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let request = Request::get("/")
            .header(HOST, HeaderValue::from_str(&self.proxy.to_string()).ok()?)
            .header(VISITOR_HEADER, name(visitor))
            .body(Empty::new())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let version = response.headers().get(VERSION_HEADER).and_then(|v| Some(v.to_str().ok()?.to_owned()));
        response.into_body().collect().await.ok()?;
        self.sender = Some(sender);
        Some(Outcome { status, version })
    }

    async fn connect(&self) -> Option<Sender> {
        let stream = TcpStream::connect(self.proxy).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }
}

/// A visitor's id; the first ones have names that are easy to type.
fn name(visitor: u32) -> String {
    match visitor {
        0 => "alice".into(),
        1 => "bob".into(),
        _ => format!("visitor-{visitor:04}"),
    }
}
