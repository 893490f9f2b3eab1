//! Clients that take their time are closed at the listener's deadlines, while others are served.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::client::status;
use crate::harness::wire::Wire;
use crate::harness::{Client, Request, Tidegate, Upstream, config, within};

const LONGEST: Duration = Duration::from_secs(8);

async fn start(listener: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::with_listener(listener, "", &rest)).await;
    (upstream, tidegate)
}

async fn connect(tidegate: &Tidegate) -> Wire {
    Wire::new(TcpStream::connect(tidegate.web()).await.unwrap())
}

/// Read until the peer closes; how long that took.
async fn until_closed(wire: &mut Wire) -> Duration {
    let start = Instant::now();
    within(LONGEST, "the connection is closed", async {
        while let Ok(piece) = wire.some(usize::MAX).await {
            if piece.is_empty() {
                break;
            }
        }
    })
    .await;
    start.elapsed()
}

/// Write a byte, wait a second, and so on, until that fails or the peer has closed.
async fn drip(mut wire: Wire, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    for byte in bytes {
        if wire.write(&[*byte]).await.is_err() {
            break;
        }
        match tokio::time::timeout(Duration::from_secs(1), wire.some(usize::MAX)).await {
            Ok(Ok(piece)) if !piece.is_empty() => {}
            Ok(_) => break,
            Err(_) => {}
        }
        assert!(start.elapsed() < LONGEST, "still open");
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_a_second_is_closed_while_others_are_served() {
    let (upstream, tidegate) = start("header_timeout = \"1s\"").await;
    let mut drips = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let wire = connect(&tidegate).await;
        drips.spawn(drip(wire, b"GET / HTTP/1.1\r\nHost: a\r\nx: aaaaaaaaaaaaaaaaaaaaaa"));
    }
    let mut client = Client::new(tidegate.web());
    let mut slowest = Duration::ZERO;
    while !drips.is_empty() {
        let asked = Instant::now();
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
        slowest = slowest.max(asked.elapsed());
        if let Some(took) = drips.try_join_next() {
            let took = took.unwrap();
            assert!(took >= Duration::from_millis(800), "closed after {took:?}");
        }
    }
    assert_eq!(client.connects, 1, "a busy connection is not slow");
    assert!(slowest < Duration::from_secs(2), "a control request took {slowest:?}");
    assert!(upstream.requests() > 0);
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let (_upstream, tidegate) = start("header_timeout = \"1s\"").await;
    let took = until_closed(&mut connect(&tidegate).await).await;
    assert!(took >= Duration::from_millis(800), "closed after {took:?}");
}

#[tokio::test]
async fn the_deadline_is_for_the_second_head_too() {
    let (_upstream, tidegate) = start("header_timeout = \"1s\"\nidle_timeout = \"30s\"").await;
    let mut wire = connect(&tidegate).await;
    wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = wire.head().await.unwrap().unwrap();
    assert_eq!(status(&head), 200);
    wire.body(head.framing().unwrap(), |_| {}).await.unwrap();
    let rest = b"GET / HTTP/1.1\r\nHost: a\r\nx: aaaaaaaaaaaaaaaa";
    let took = drip(wire, rest).await;
    assert!(took >= Duration::from_millis(800), "closed after {took:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_idle_timeout_and_not_before() {
    let (_upstream, tidegate) = start("idle_timeout = \"1s\"").await;
    let mut wire = connect(&tidegate).await;
    for _ in 0..2 {
        wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let head = wire.head().await.unwrap().unwrap();
        wire.body(head.framing().unwrap(), |_| {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let took = until_closed(&mut wire).await;
    assert!(took >= Duration::from_millis(400), "closed after {took:?}");
}

#[tokio::test]
async fn more_connections_than_the_cap_do_not_get_in() {
    let (_upstream, tidegate) = start("max_connections = 2").await;
    let (mut one, mut two) = (Client::new(tidegate.web()), Client::new(tidegate.web()));
    one.ask(&Request::get("/")).await;
    two.ask(&Request::get("/")).await;
    let third = Client::new(tidegate.web()).send_within(&Request::get("/"), Duration::from_secs(2)).await;
    assert!(third.as_ref().map_or(true, |answer| answer.status == 503), "{third:?}");
    assert_eq!(one.ask(&Request::get("/")).await.status, 200);
    assert_eq!(tidegate.api().get("/readyz").await.status, 200, "the admin API has its own sockets");
}
