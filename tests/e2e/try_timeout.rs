//! `try_timeout` bounds the wait for an answer's head, once the upstream has the request, and nothing else.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::api::metric;
use crate::harness::client::{ask, status};
use crate::harness::scripted::{head, until_closed};
use crate::harness::wire::Wire;
use crate::harness::{Request, Scripted, Tidegate, Upstream, config, within};

const ROUTE: &str =
    "retry = { attempts = 1, on = [\"timeout\"], try_timeout = \"300ms\", budget_percent = 100 }";
const LIMIT: Duration = Duration::from_secs(4);

async fn start() -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", ROUTE)).await;
    (upstream, tidegate)
}

async fn assert_no_failures(tidegate: &Tidegate) {
    let failures = metric(&tidegate.api().metrics().await, "tidegate_failures_total", &[("pool", "app")]);
    assert!(failures.unwrap_or(0.0) == 0.0, "{failures:?}");
}

#[tokio::test]
async fn a_stream_may_pause_for_longer() {
    let (upstream, tidegate) = start().await;
    let answer = ask(tidegate.web(), &Request::get("/?do=stream:3:700")).await;
    assert_eq!((answer.status, answer.text().lines().count()), (200, 3));
    assert_eq!(upstream.requests(), 1);
    assert_no_failures(&tidegate).await;
}

#[tokio::test]
async fn an_upload_may_pause_for_longer_and_is_sent_once() {
    let (upstream, tidegate) = start().await;
    for framing in ["Content-Length: 10\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"] {
        upstream.forget();
        let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
        let request = format!("PUT /?do=echo HTTP/1.1\r\nHost: a\r\n{framing}");
        wire.write(request.as_bytes()).await.unwrap();
        // The pause is what is tested.
        tokio::time::sleep(Duration::from_millis(900)).await;
        let rest: &[u8] = if framing.starts_with('C') { b"fghij" } else { b"5\r\nfghij\r\n0\r\n\r\n" };
        wire.write(rest).await.unwrap();
        let head = within(LIMIT, "the answer", wire.head()).await.unwrap().unwrap();
        let mut body = Vec::new();
        wire.body(head.framing().unwrap(), |piece| body.extend_from_slice(piece)).await.unwrap();
        let echo: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status(&head), echo["body_bytes"].as_u64()), (200, Some(10)), "{framing}");
        assert_eq!(upstream.requests(), 1, "{framing}");
    }
    assert_no_failures(&tidegate).await;
}

#[tokio::test]
async fn an_upload_that_has_been_sent_is_waited_for_no_longer() {
    let (upstream, tidegate) = start().await;
    let request = Request { body: b"whole".to_vec(), ..Request::new("PUT", "/?do=hang") };
    let begun = Instant::now();
    assert_eq!(ask(tidegate.web(), &request).await.status, 504);
    assert_eq!(upstream.requests(), 2, "one try and one retry");
    assert!(begun.elapsed() < LIMIT, "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_too_late() {
    let upstream = Scripted::start(|mut wire| async move {
        if head(&mut wire).await {
            for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" {
                if wire.write(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            until_closed(&mut wire).await;
        }
    })
    .await;
    let rest = config::one_pool_at(&[upstream.address()], "", ROUTE);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let begun = Instant::now();
    let answer = ask(tidegate.web(), &Request::get("/")).await;
    let took = begun.elapsed();
    assert_eq!((answer.status, answer.header("x-tidegate-error")), (504, Some("upstream_timeout")));
    assert_eq!(upstream.connections(), 2, "one try and one retry");
    assert!(took >= Duration::from_millis(550) && took < Duration::from_millis(2500), "after {took:?}");
}
