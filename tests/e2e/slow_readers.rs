//! A client that does not read its answers is closed at the listener's `idle_timeout`.

use std::time::Duration;

use tokio::net::TcpSocket;

use crate::harness::api::metric;
use crate::harness::scripted::{head, until_closed};
use crate::harness::wire::{Wire, chunk};
use crate::harness::{Scripted, Tidegate, Upstream, config, eventually, within};

/// `idle_timeout`, the moment that a close lingers, and some for a busy machine.
const LONGEST: Duration = Duration::from_millis(4500);

async fn start(address: std::net::SocketAddr) -> Tidegate {
    let rest = config::one_pool_at(&[address], "", "");
    Tidegate::start(&config::with_listener("idle_timeout = \"500ms\"", "", &rest)).await
}

/// A client that takes next to nothing unread, and writes as much of this as is taken.
async fn unreading(tidegate: &Tidegate, bytes: &[u8]) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut wire = Wire::new(socket.connect(tidegate.web()).await.unwrap());
    // What is not taken any more is the proxy's way of holding the client back.
    let _ = tokio::time::timeout(Duration::from_millis(300), wire.write(bytes)).await;
    wire
}

/// Nothing is left of the clients, which still hold their side open.
async fn all_gone(tidegate: &Tidegate) {
    let api = tidegate.api();
    let gone = eventually("the connections are closed and nothing is in flight", async || {
        let open = metric(&api.metrics().await, "tidegate_client_connections", &[("listener", "web")]);
        (open == Some(0.0) && api.in_flight("app").await == 0).then_some(())
    });
    within(LONGEST, "the connections are closed and nothing is in flight", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_large_body() {
    let upstream = Upstream::start("app").await;
    let tidegate = start(upstream.address()).await;
    let mut clients = Vec::new();
    for act in ["bytes:3000000", "bytes:30000000", "chunked:3000000", "chunked:30000000"] {
        let request = format!("GET /?do={act} HTTP/1.1\r\nHost: a\r\n\r\n");
        clients.push(unreading(&tidegate, request.as_bytes()).await);
    }
    eventually("all have arrived", async || (upstream.requests() == 4).then_some(())).await;
    all_gone(&tidegate).await;
    eventually("the upstream is let go", async || (upstream.active() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_small_bodies_to_pipelined_requests() {
    let upstream = Upstream::start("app").await;
    let tidegate = start(upstream.address()).await;
    let requests = b"GET /?do=bytes:4000 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    let _one = unreading(&tidegate, &requests).await;
    eventually("some have arrived", async || (upstream.requests() > 0).then_some(())).await;
    all_gone(&tidegate).await;
    assert!(upstream.requests() < 2000, "nobody read the answers, so not all requests were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_large_heads_to_pipelined_requests() {
    let upstream = Scripted::start(|mut wire| async move {
        let lines = format!("x-long: {}\r\n", "y".repeat(3000)).repeat(10);
        let mut answer = format!("HTTP/1.1 200 OK\r\n{lines}transfer-encoding: chunked\r\n\r\n").into_bytes();
        answer.extend(chunk(b"ok"));
        answer.extend(b"0\r\n\r\n");
        while head(&mut wire).await && wire.write(&answer).await.is_ok() {}
    })
    .await;
    let tidegate = start(upstream.address()).await;
    let mut clients = Vec::new();
    for number in 0..4 {
        // Of many lengths, so that the buffers fill at another place of an answer each time.
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1500 + number * 7);
        clients.push(unreading(&tidegate, &requests).await);
    }
    eventually("all have arrived", async || (upstream.connections() >= 4).then_some(())).await;
    all_gone(&tidegate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_answer_to_an_upload_that_goes_on() {
    let upstream = Scripted::start(|mut wire| async move {
        if head(&mut wire).await {
            let _ = wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n").await;
            let _ = wire.write(&vec![b'x'; 30_000_000]).await;
            until_closed(&mut wire).await;
        }
    })
    .await;
    let tidegate = start(upstream.address()).await;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n".to_vec();
    request.extend(vec![b'x'; 100_000]);
    let _one = unreading(&tidegate, &request).await;
    eventually("it has arrived", async || (upstream.connections() > 0).then_some(())).await;
    all_gone(&tidegate).await;
    eventually("the upstream is let go", async || (upstream.open() == 0).then_some(())).await;
}
