//! What is in flight is counted on every path, and every path ends at 0.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::harness::wire::Wire;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

async fn start(pool: &str, route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], pool, route)).await;
    (upstream, tidegate)
}

async fn becomes(tidegate: &Tidegate, number: u64) {
    let api = tidegate.api();
    let what = format!("{number} in flight");
    eventually(&what, async || (api.in_flight("app").await == number).then_some(())).await;
}

#[tokio::test]
async fn after_clients_that_went_away() {
    let (upstream, tidegate) = start("", "").await;
    for text in [
        "GET /?do=hang HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?do=stream:1000:50 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?do=bytes:50000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nonly a part",
    ] {
        for reset in [false, true] {
            let mut wires = Vec::new();
            for _ in 0..5 {
                let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
                wire.write(text.as_bytes()).await.unwrap();
                wires.push(wire);
            }
            becomes(&tidegate, 5).await;
            for wire in wires {
                if reset {
                    wire.reset();
                }
            }
            becomes(&tidegate, 0).await;
        }
    }
    upstream.forget();
    assert_eq!(Client::new(tidegate.web()).ask(&Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn after_upstreams_that_failed() {
    let (upstream, tidegate) = start("read_timeout = \"300ms\"", "timeout = \"1s\"").await;
    let mut client = Client::new(tidegate.web());
    for act in [
        "reset",
        "reset-mid",
        "truncate",
        "truncate-chunked",
        "hang",
        "status:500",
        "vanish",
        "stream:100:100",
    ] {
        for _ in 0..3 {
            // However it ends.
            let _ = client.send(&Request::get(&format!("/?do={act}"))).await;
        }
        becomes(&tidegate, 0).await;
    }
    upstream.kill().await;
    assert_eq!(client.ask(&Request::get("/")).await.status, 502);
    becomes(&tidegate, 0).await;
    upstream.revive().await;
    assert_eq!(client.ask(&Request::get("/")).await.status, 200);
    becomes(&tidegate, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_mixture_of_everything() {
    let (_upstream, tidegate) = start("read_timeout = \"500ms\"", "timeout = \"1s\"").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_usize {
        let mut client = Client::new(tidegate.web());
        tasks.spawn(async move {
            let acts = ["name", "hang", "reset", "truncate", "delay:300", "stream:50:20", "bytes:300000"];
            let target = format!("/?do={}", acts[number % acts.len()]);
            let patience = Duration::from_millis(50 + (number as u64 * 37) % 900);
            let _ = client.send_within(&Request::get(&target), patience).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    becomes(&tidegate, 0).await;
    let status = Client::new(tidegate.web()).ask(&Request::get("/")).await.status;
    assert_eq!(status, 200);
}
