//! Every wait for an upstream has an end, and the end is a 504 that says why.

use std::time::{Duration, Instant};

use crate::harness::client::ask;
use crate::harness::upstream::black_hole;
use crate::harness::{Client, Fail, Request, Response, Tidegate, Upstream, config};

async fn start(pool: &str, route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], pool, route)).await;
    (upstream, tidegate)
}

/// Answered with 504, between the timeout and a few times of it.
async fn late(tidegate: &Tidegate, target: &str, timeout: Duration) -> Response {
    let start = Instant::now();
    let answer = ask(tidegate.web(), &Request::get(target)).await;
    let took = start.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.header("x-tidegate-error").is_some_and(|error| error.contains("timeout")), "{answer:?}");
    assert!(took >= timeout.mul_f64(0.9) && took < timeout * 4 + Duration::from_secs(3), "after {took:?}");
    answer
}

#[tokio::test]
async fn connecting() {
    let (address, _held, _listener) = black_hole().await;
    let pool = format!("[pools.app]\nendpoints = [\"{address}\"]\nconnect_timeout = \"500ms\"\n\n");
    let route = "[[routes]]\nname = \"all\"\npool = \"app\"\nretry = { attempts = 0 }\n";
    let tidegate = Tidegate::start(&config::with(&format!("{pool}{route}"))).await;
    late(&tidegate, "/", Duration::from_millis(500)).await;
}

#[tokio::test]
async fn reading() {
    let (upstream, tidegate) = start("read_timeout = \"500ms\"", "").await;
    let answer = late(&tidegate, "/?do=hang", Duration::from_millis(500)).await;
    assert_eq!(answer.header("x-tidegate-error"), Some("upstream_timeout"));
    assert_eq!(upstream.requests(), 1, "a timeout is not retried unless the route says so");
    // Between two reads, not for the whole: a slow stream passes.
    let slow = ask(tidegate.web(), &Request::get("/?do=stream:6:200")).await;
    assert_eq!((slow.status, slow.text().lines().count()), (200, 6));
}

#[tokio::test]
async fn the_whole_exchange() {
    let (_upstream, tidegate) = start("", "timeout = \"700ms\"").await;
    late(&tidegate, "/?do=hang", Duration::from_millis(700)).await;
    late(&tidegate, "/?do=delay:5000", Duration::from_millis(700)).await;
    let mut client = Client::new(tidegate.web());
    assert_eq!(client.ask(&Request::get("/?do=delay:100")).await.status, 200);
    let start = Instant::now();
    let stream = client.send(&Request::get("/?do=stream:100:100")).await;
    assert!(
        matches!(stream, Err(Fail::Cut(_))),
        "a stream is ended, and not as if it were whole: {stream:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn one_try() {
    let route = "retry = { attempts = 2, on = [\"timeout\"], try_timeout = \"300ms\", budget_percent = 100 }";
    let (upstream, tidegate) = start("", route).await;
    late(&tidegate, "/?do=hang", Duration::from_millis(900)).await;
    assert_eq!(upstream.requests(), 3);
    let (upstream, tidegate) = start("", "retry = { attempts = 0, try_timeout = \"300ms\" }").await;
    late(&tidegate, "/?do=hang", Duration::from_millis(300)).await;
    assert_eq!(upstream.requests(), 1, "a try timeout without retry");
}
