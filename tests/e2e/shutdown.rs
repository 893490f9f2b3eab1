//! The process as a whole: readiness falls first, what is in flight finishes, it ends as soon as it is idle.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::harness::{Client, Fail, Request, Response, Tidegate, Upstream, config, eventually};

const SOON: Duration = Duration::from_secs(5);

async fn start(server: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let config = config::one_pool(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::server(server, &config)).await;
    (upstream, tidegate)
}

fn send(tidegate: &Tidegate, target: &str) -> JoinHandle<Result<Response, Fail>> {
    let (mut client, request) = (Client::new(tidegate.web()), Request::get(target));
    tokio::spawn(async move { client.send(&request).await })
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let (_upstream, mut tidegate) = start("shutdown_timeout = \"60s\"").await;
        let mut client = Client::new(tidegate.web());
        client.ask(&Request::get("/")).await;
        tidegate.signal(signal);
        assert_eq!(tidegate.ended(SOON).await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_is_told_to_close() {
    let (upstream, mut tidegate) = start("shutdown_timeout = \"60s\"").await;
    assert_eq!(tidegate.api().get("/readyz").await.status, 200);
    let pending = [send(&tidegate, "/?do=delay:2000"), send(&tidegate, "/?do=stream:10:200")];
    eventually("both are in flight", async || (upstream.active() == 2).then_some(())).await;
    let start = Instant::now();
    tidegate.signal("TERM");
    let api = tidegate.api();
    eventually("it is not ready any more", async || (api.get("/readyz").await.status == 503).then_some(()))
        .await;
    let [delayed, streamed] = pending;
    let delayed = delayed.await.unwrap().unwrap();
    assert_eq!(delayed.status, 200);
    assert!(delayed.head.connection_has("close"), "{:?}", delayed.head);
    assert_eq!(streamed.await.unwrap().unwrap().text().lines().count(), 10, "a stream is not cut");
    assert_eq!(tidegate.ended(SOON).await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(15), "not the whole shutdown_timeout");
}

#[tokio::test]
async fn it_still_accepts_during_shutdown_delay() {
    let (_upstream, mut tidegate) = start("shutdown_delay = \"2s\"").await;
    let start = Instant::now();
    tidegate.signal("TERM");
    let api = tidegate.api();
    eventually("it is not ready any more", async || (api.get("/readyz").await.status == 503).then_some(()))
        .await;
    assert_eq!(api.get("/livez").await.status, 200);
    if start.elapsed() < Duration::from_millis(1500) {
        let answer = Client::new(tidegate.web()).ask(&Request::get("/")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(tidegate.ended(Duration::from_secs(10)).await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(1800), "ended after {:?}", start.elapsed());
}

#[tokio::test]
async fn shutdown_timeout_cuts_what_is_left() {
    let (upstream, mut tidegate) = start("shutdown_timeout = \"1s\"").await;
    let pending = send(&tidegate, "/?do=hang");
    eventually("it is in flight", async || (upstream.active() == 1).then_some(())).await;
    let start = Instant::now();
    tidegate.signal("TERM");
    assert_eq!(tidegate.ended(Duration::from_secs(10)).await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(900), "it had a second");
    let answer = pending.await.unwrap();
    assert!(answer.as_ref().map_or(true, |answer| answer.status >= 500), "{answer:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (upstream, mut tidegate) = start("shutdown_timeout = \"60s\"").await;
    let _pending = send(&tidegate, "/?do=hang");
    eventually("it is in flight", async || (upstream.active() == 1).then_some(())).await;
    tidegate.signal("TERM");
    let api = tidegate.api();
    eventually("it is not ready any more", async || (api.get("/readyz").await.status == 503).then_some(()))
        .await;
    assert!(tidegate.is_running(), "the first one waits");
    tidegate.signal("TERM");
    tidegate.ended(SOON).await;
}
