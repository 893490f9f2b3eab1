//! Upstreams that speak HTTP/2 and turn streams away: no request is lost that they did not look at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::join_all;
use h2::client::Builder;
use tokio::net::TcpStream;

use crate::harness::client::ask;
use crate::harness::frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS};
use crate::harness::h2_client::download;
use crate::harness::wire::Wire;
use crate::harness::{PATIENCE, Request, Scripted, Tidegate, Upstream, config, within};

const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;

/// The server's side of a connection, frame by frame.
struct Server {
    wire: Wire,
    unread: BytesMut,
}

impl Server {
    async fn begin(mut wire: Wire, settings: &[u8]) -> Self {
        wire.write(&frames::frame(SETTINGS, 0, 0, settings)).await.unwrap();
        let mut server = Self { wire, unread: BytesMut::new() };
        while server.unread.len() < frames::PREFACE.len() {
            assert!(server.fill().await, "a preface");
        }
        server.unread.advance(frames::PREFACE.len());
        server
    }

    async fn fill(&mut self) -> bool {
        let piece = self.wire.some(usize::MAX).await.unwrap_or_default();
        self.unread.extend_from_slice(&piece);
        !piece.is_empty()
    }

    /// The stream of the next request that is complete; none at the connection's end.
    async fn request(&mut self) -> Option<u32> {
        loop {
            while let Some((kind, flags, stream, payload)) = frames::parse(&self.unread).into_iter().next() {
                self.unread.advance(9 + payload.len());
                if kind == SETTINGS && flags == 0 {
                    self.send(SETTINGS, 1, 0, &[]).await;
                }
                if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                    return Some(stream);
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // Whoever has gone needs nothing more.
        let _ = self.wire.write(&frames::frame(kind, flags, stream, payload)).await;
    }

    /// Answers 200, and nothing with it.
    async fn answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88").await;
    }

    async fn answer_all(&mut self) {
        while let Some(stream) = self.request().await {
            self.answer(stream).await;
        }
    }
}

async fn before(upstream: SocketAddr, pool: &str, route: &str) -> Tidegate {
    let rest = config::one_pool_at(&[upstream], &format!("protocol = \"h2\"\n{pool}"), route);
    Tidegate::start(&config::with(&rest)).await
}

/// Of three requests on a connection the upstream takes one and says that it has not looked at the others.
#[tokio::test]
async fn what_comes_behind_the_last_stream_of_a_goaway_is_sent_again_whatever_it_is() {
    let connections = Arc::new(AtomicUsize::new(0));
    let upstream = Scripted::start(move |wire| {
        let is_first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut server = Server::begin(wire, &[]).await;
            if is_first {
                for _ in 0..3 {
                    server.request().await;
                }
                server.send(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
                server.answer(1).await;
            }
            server.answer_all().await;
        }
    })
    .await;
    let tidegate = before(upstream.address(), "", "").await;
    let posts = (0..3).map(|_| async { ask(tidegate.web(), &Request::post("/", b"x")).await.status });
    assert_eq!(within(PATIENCE, "three answers", join_all(posts)).await, [200; 3]);
}

#[tokio::test]
async fn a_refused_stream_is_opened_once_more_whatever_it_is_and_not_a_third_time() {
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = Scripted::start(move |wire| {
        let asked = Arc::clone(&asked);
        async move {
            let mut server = Server::begin(wire, &[]).await;
            while let Some(stream) = server.request().await {
                // Nothing but the first request's second try is taken.
                if asked.fetch_add(1, Ordering::SeqCst) == 1 {
                    server.answer(stream).await;
                } else {
                    server.send(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()).await;
                }
            }
        }
    })
    .await;
    let tidegate = before(upstream.address(), "", "").await;
    assert_eq!(ask(tidegate.web(), &Request::post("/", b"x")).await.status, 200);
    let refused = ask(tidegate.web(), &Request::post("/", b"x")).await;
    assert_eq!((refused.status, refused.header("x-tidegate-error")), (502, Some("upstream_reset")));
}

#[tokio::test]
async fn one_stream_at_a_time_is_waited_for_or_another_connection_is_opened() {
    let upstream = Scripted::start(|wire| async {
        let one = frames::setting(MAX_CONCURRENT_STREAMS, 1);
        Server::begin(wire, &one).await.answer_all().await;
    })
    .await;
    let tidegate = before(upstream.address(), "", "").await;
    let gets = (0..100).map(|_| async { ask(tidegate.web(), &Request::get("/")).await.status });
    assert_eq!(within(PATIENCE, "a hundred answers", join_all(gets)).await, [200; 100]);
}

#[tokio::test]
async fn a_client_that_opens_its_window_by_a_byte_gets_all_of_its_answer() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let stream = TcpStream::connect(tidegate.web()).await.unwrap();
    let (send, connection) =
        Builder::new().initial_window_size(1).handshake::<_, Bytes>(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = http::Request::get("http://shop.test/?do=bytes:3000").body(()).unwrap();
    let (answer, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
    let reading = async { download(answer.await.unwrap().into_body()).await.unwrap().0.len() };
    assert_eq!(within(PATIENCE, "the whole answer", reading).await, 3_000);
    driving.abort();
}
