//! What a client does to itself is not charged to the pool, and what an upstream does is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::api::metric;
use crate::harness::client::{ask, raw, status};
use crate::harness::scripted::{head, until_closed};
use crate::harness::wire::Wire;
use crate::harness::{Request, Scripted, Tidegate, Upstream, config, eventually, within};

const EJECT: &str = "eject = { consecutive_failures = 2, base = \"60s\", max_percent = 100 }";
const LIMIT: Duration = Duration::from_secs(4);

/// Two endpoints, so that one may be ejected.
async fn start(listener: &str, pool: &str, route: &str) -> ([Upstream; 2], Tidegate) {
    let upstreams = [Upstream::start("one").await, Upstream::start("two").await];
    let rest = config::one_pool_rest(&[&upstreams[0], &upstreams[1]], &format!("{EJECT}\n{pool}"), route);
    (upstreams, Tidegate::start(&config::with_listener(listener, "", &rest)).await)
}

/// Failures of the pool, over all reasons or of one.
async fn failures(tidegate: &Tidegate, reason: Option<&str>) -> u64 {
    let mut labels = vec![("pool", "app")];
    labels.extend(reason.map(|reason| ("reason", reason)));
    let text = tidegate.api().metrics().await;
    let count = metric(&text, "tidegate_failures_total", &labels).unwrap_or(0.0);
    format!("{count}").parse().unwrap()
}

async fn state(tidegate: &Tidegate, address: SocketAddr) -> String {
    let endpoint = tidegate.api().endpoint("app", address).await;
    endpoint["state"].as_str().unwrap_or_default().to_owned()
}

/// Everything has ended, and nobody but the clients was to blame.
async fn assert_blameless(tidegate: &Tidegate, upstreams: &[Upstream; 2]) {
    let api = tidegate.api();
    let idle = eventually("nothing is in flight", async || (api.in_flight("app").await == 0).then_some(()));
    within(LIMIT, "nothing is in flight", idle).await;
    assert_eq!(failures(tidegate, None).await, 0);
    for upstream in upstreams {
        assert_eq!(state(tidegate, upstream.address()).await, "up");
    }
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
}

/// Uploads that stop after their first byte.
async fn stalled_uploads(pool: &str, route: &str) {
    let (upstreams, tidegate) = start("", pool, route).await;
    let begun = Instant::now();
    for method in ["POST", "PUT"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na");
        let uploads: Vec<_> = (0..6)
            .map(|_| (tidegate.web(), request.clone()))
            .map(|(web, request)| tokio::spawn(async move { raw(web, request.as_bytes(), LIMIT).await }))
            .collect();
        for upload in uploads {
            let answer = upload.await.unwrap();
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            assert_eq!((answer.status(), answer.closed), (408, true), "{text}");
            assert!(text.contains("x-tidegate-error: request_timeout"), "{text}");
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(700), "after {:?}", begun.elapsed());
    assert_blameless(&tidegate, &upstreams).await;
}

#[tokio::test]
async fn an_upload_that_stalls_until_the_pools_read_timeout() {
    stalled_uploads("read_timeout = \"400ms\"", "").await;
}

#[tokio::test]
async fn an_upload_that_stalls_until_the_routes_timeout() {
    stalled_uploads("", "timeout = \"400ms\"").await;
}

#[tokio::test]
async fn an_upload_in_chunks_that_stalls() {
    let (upstreams, tidegate) = start("", "read_timeout = \"400ms\"", "").await;
    for _ in 0..4 {
        let request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel";
        let answer = raw(tidegate.web(), request, LIMIT).await;
        assert_eq!((answer.status(), answer.closed), (408, true));
    }
    assert_blameless(&tidegate, &upstreams).await;
}

/// Clients that read the head of a large answer, and then no more.
async fn slow_readers(listener: &str, pool: &str, route: &str) {
    let (upstreams, tidegate) = start(listener, pool, route).await;
    let mut wires = Vec::new();
    for number in 0..6 {
        let act = if number % 2 == 0 { "bytes" } else { "chunked" };
        let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
        let request = format!("GET /?do={act}:50000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.write(request.as_bytes()).await.unwrap();
        assert_eq!(status(&wire.head().await.unwrap().unwrap()), 200);
        wires.push(wire);
    }
    assert_blameless(&tidegate, &upstreams).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_until_the_routes_timeout() {
    slow_readers("", "", "timeout = \"700ms\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_until_the_listeners_idle_timeout() {
    // Long enough for the upstream to make its large answers on a busy machine.
    slow_readers("idle_timeout = \"1500ms\"", "read_timeout = \"1s\"\nwrite_timeout = \"1s\"", "").await;
}

#[tokio::test]
async fn an_upstream_that_hangs_is_to_blame_all_the_same() {
    let (upstreams, tidegate) = start("", "read_timeout = \"300ms\"", "").await;
    let whole = b"POST /?do=hang HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..4 {
        assert_eq!(raw(tidegate.web(), whole, LIMIT).await.status(), 504);
    }
    // A request is counted once its answer has gone out.
    let counted = async || (failures(&tidegate, Some("timeout")).await == 4).then_some(());
    within(LIMIT, "each is charged", eventually("each is charged", counted)).await;
    let mut states = Vec::new();
    for upstream in &upstreams {
        states.push(state(&tidegate, upstream.address()).await);
    }
    assert!(states.contains(&"ejected".to_owned()), "{states:?}");
}

#[tokio::test]
async fn an_early_500_to_a_client_that_then_closes() {
    let upstream = Scripted::start(|mut wire| async move {
        if head(&mut wire).await {
            let _ = wire.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno").await;
            until_closed(&mut wire).await;
        }
    })
    .await;
    let rest = config::one_pool_at(&[upstream.address()], "", "");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        for _ in 0..2 {
            let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 10\r\n\r\n");
            wire.write(request.as_bytes()).await.unwrap();
            let head = within(LIMIT, "the answer", wire.head()).await.unwrap().unwrap();
            assert_eq!(status(&head), 500);
        }
    }
    let charged =
        eventually("each is charged", async || (failures(&tidegate, Some("5xx")).await == 4).then_some(()));
    within(LIMIT, "each is charged", charged).await;
    assert_eq!(failures(&tidegate, None).await, 4, "and nothing else");
}
