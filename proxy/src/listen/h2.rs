//! One HTTP/2 connection, from preface to close: each stream is an exchange of its own.
//!
//! The `h2` crate speaks the protocol; who may open how much, how long each may take and when to end are
//! decided here. Every connection ends by GOAWAY: at a drain (streams finish), when it idles, and when a
//! client does what only an attack does, or what the crate lets pass and the protocol does not ([`scan`]).
//! Stage before: [`super::greet`] or [`super::connection`]; next: [`stream`], one task each, hands the
//! request to the gateway.

mod fields;
mod head;
mod io;
mod malformed;
mod scan;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use tidegate_core::config::Listener;
use tidegate_core::edge::Refusal;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::ClientStream;
use super::exchange::Exchange;
use super::{Door, Held};
use crate::failure::code_of;
use io::Io;
use scan::{Fault, Watch};
use stream::Stream;

/// Streams that a client may have open at once.
const MAX_STREAMS: u32 = 100;
/// What a client may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is kept of an answer that a client does not take, on one stream.
const MAX_UNSENT: usize = 64 << 10;
/// A client that has said goodbye, or was told to go, gets this long for its last frames.
const LAST_FRAMES: Duration = Duration::from_secs(2);
/// Malformed requests after which a connection is closed.
const MAX_MALFORMED: u32 = 32;
/// How often a connection is looked at that does nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What starts a connection when HTTP/2 was not agreed on before (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection until either side closes it.
pub(super) async fn serve(client: ClientStream, door: Arc<Door>) {
    let exchange = Arc::clone(client.exchange());
    let Some((transport, early, held)) = client.into_parts() else { return };
    let settings = door.settings();
    let watch = Arc::new(Watch::new(door.control.clock()));
    let io = Io::new(transport, early, Arc::clone(&watch), settings.idle_timeout.0);
    let handshake = builder(&settings).handshake(io);
    // A client that says nothing, or something else, is gone by then.
    let Ok(Ok(connection)) = timeout(settings.header_timeout.0, handshake).await else {
        return door.cell.refuse(Refusal::HeaderTimeout);
    };
    Serving { connection, watch, settings, door, exchange, malformed: 0, held }.run().await;
}

fn builder(settings: &Listener) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(settings.max_header_size.0).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(MAX_UNSENT);
    builder
}

/// How a connection goes on.
enum Next {
    /// As before.
    On,
    /// To its end: no more streams are taken, those that are open finish.
    Closing,
    /// It is over.
    Over,
}

/// A connection that is served.
struct Serving {
    connection: Connection<Io, Bytes>,
    watch: Arc<Watch>,
    settings: Arc<Listener>,
    door: Arc<Door>,
    /// Facts of the connection; each stream's exchange is made beside it.
    exchange: Arc<Exchange>,
    malformed: u32,
    /// What the connection occupies.
    #[expect(dead_code, reason = "held, and given back when the connection is over")]
    held: Held,
}

impl Serving {
    async fn run(mut self) {
        let mut idle_since = Instant::now();
        let drain = Arc::clone(&self.door.drain);
        let mut told = false;
        loop {
            let next = tokio::select! {
                biased;
                () = drain.announced(), if !told => {
                    told = true;
                    self.connection.graceful_shutdown();
                    Next::On
                }
                fault = self.watch.tripped() => self.end(fault).await,
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.take(request, respond),
                    // It is over, or broken: nothing can be told any more.
                    Some(Err(_)) | None => Next::Over,
                },
                () = sleep(LOOK_EVERY) => self.look(&mut idle_since),
            };
            match next {
                Next::On => {}
                Next::Closing => return self.close().await,
                Next::Over => return,
            }
        }
    }

    /// Looks at a connection on which nothing new has come.
    fn look(&mut self, idle_since: &mut Instant) -> Next {
        if self.watch.awaits_head_since(self.settings.header_timeout.0) {
            self.door.cell.refuse(Refusal::HeaderTimeout);
            return Next::Closing;
        }
        if self.connection.has_streams() {
            *idle_since = Instant::now();
        }
        if idle_since.elapsed() >= self.settings.idle_timeout.0 { Next::Closing } else { Next::On }
    }

    /// Gives a request a task of its own, or refuses it.
    fn take(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Next {
        let (parts, body) = request.into_parts();
        let exchange = Arc::new(self.exchange.beside());
        let has_fragment = self.watch.has_fragment(respond.stream_id().as_u32());
        match head::check(parts, has_fragment, &exchange) {
            Ok(head) => {
                exchange.begin();
                let stream = Stream::new(head, body, respond, Arc::clone(&exchange), &self.settings)
                    .told_to(Arc::clone(&self.watch));
                let (door, active) = (Arc::clone(&self.door), self.door.drain.begin_exchange());
                self.door.drain.spawn(async move {
                    let session = ServerSession::new_custom(Box::new(stream));
                    exchange.serve(door.proxy.process_new_http(session, door.drain.told())).await;
                    drop(active);
                });
                Next::On
            }
            Err(refused) => {
                let code = code_of(refused.status);
                self.door.cell.refuse(Refusal::BadRequest);
                let table = self.door.control.live().peek();
                self.door.access.refused(&table, self.exchange.peer, refused.status, code);
                let answer = Response::builder().status(refused.status).header("x-tidegate-error", code);
                if let Ok(answer) = answer.body(()) {
                    // A client that has reset the stream meanwhile needs no answer.
                    let _ = respond.send_response(answer, true);
                }
                self.malformed += 1;
                if self.malformed >= MAX_MALFORMED { Next::Closing } else { Next::On }
            }
        }
    }

    /// Tells a client to go that asks too much of a connection, or breaks its rules.
    async fn end(&mut self, fault: Fault) -> Next {
        let (refusal, did) = match fault {
            Fault::Flood => (Refusal::Http2Flood, "only made work"),
            Fault::NoSettings => (Refusal::BadRequest, "did not begin with SETTINGS"),
            Fault::Malformed => (Refusal::BadRequest, "sent malformed requests"),
        };
        self.door.cell.refuse(refusal);
        tracing::debug!(
            listener = self.door.cell.name,
            client = %self.exchange.peer,
            "closed an HTTP/2 connection that {did}"
        );
        self.connection.abrupt_shutdown(fault.reason());
        let last = async { while self.connection.accept().await.is_some() {} };
        let _ = timeout(LAST_FRAMES, last).await;
        Next::Over
    }

    /// Says goodbye; streams that are open finish.
    async fn close(mut self) {
        self.connection.graceful_shutdown();
        let mut deadline = Instant::now() + LAST_FRAMES;
        loop {
            tokio::select! {
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        self.take(request, respond);
                    }
                    Some(Err(_)) | None => return,
                },
                fault = self.watch.tripped() => {
                    self.end(fault).await;
                    return;
                }
                () = sleep_until(deadline) => {
                    if !self.connection.has_streams() {
                        return;
                    }
                    deadline = Instant::now() + LAST_FRAMES;
                }
            }
        }
    }
}
