//! Shutting down under clients that make a connection for each request: all that got in are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

const ROUNDS: usize = 4;

/// Ask on a new connection each time, until none can be made; whatever was not a whole 200.
async fn visit(web: SocketAddr, answered: Arc<AtomicUsize>) -> Vec<String> {
    let request = Request::get("/").header("connection", "close");
    let mut failures = Vec::new();
    // Whoever does not get in at once tries again in a second: by then there is nobody.
    let connect = || tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(web));
    while let Ok(Ok(stream)) = connect().await {
        match Client::on(stream).send(&request).await {
            Ok(answer) if answer.status == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            other => failures.push(format!("{other:?}")),
        }
    }
    failures
}

async fn round(upstream: &Upstream, in_flight: bool) -> (usize, Vec<String>) {
    let mut tidegate = Tidegate::start(&config::one_pool(&[upstream], "", "")).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut visitors = JoinSet::new();
    for _ in 0..4 {
        visitors.spawn(visit(tidegate.web(), Arc::clone(&answered)));
    }
    eventually("they are answered", async || (answered.load(Ordering::Relaxed) >= 50).then_some(())).await;
    let slow = in_flight.then(|| {
        let mut client = Client::new(tidegate.web());
        tokio::spawn(async move { client.send(&Request::get("/?do=delay:300")).await })
    });
    if slow.is_some() {
        let active = async || (upstream.active() > 0).then_some(());
        eventually("something is in flight", active).await;
    }
    tidegate.signal("TERM");
    let mut failures = Vec::new();
    while let Some(visitor) = visitors.join_next().await {
        failures.extend(visitor.unwrap());
    }
    if let Some(slow) = slow {
        let answer = slow.await.unwrap();
        if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            failures.push(format!("the slow one: {answer:?}"));
        }
    }
    assert_eq!(tidegate.ended(Duration::from_secs(5)).await.code(), Some(0));
    (answered.load(Ordering::Relaxed), failures)
}

async fn rounds(in_flight: bool) {
    let upstream = Upstream::start("app").await;
    for number in 0..ROUNDS {
        let (answered, failures) = round(&upstream, in_flight).await;
        assert!(failures.is_empty(), "round {number}, beside {answered} answers: {failures:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_else_to_wait_for() {
    rounds(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_slow_request_in_flight() {
    rounds(true).await;
}
