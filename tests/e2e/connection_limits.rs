//! A pool has no more connections than it may, and nobody waits for one that is not used.

use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::load::Load;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// Two endpoints, asked in turn.
async fn two(limits: &str, route: &str) -> ([Upstream; 2], Tidegate) {
    let upstreams = [Upstream::start("one").await, Upstream::start("two").await];
    let pool = format!("balance = \"round_robin\"\nlimits = {{ {limits} }}");
    let tidegate = Tidegate::start(&config::one_pool(&[&upstreams[0], &upstreams[1]], &pool, route)).await;
    (upstreams, tidegate)
}

fn open(upstreams: &[Upstream]) -> usize {
    upstreams.iter().map(Upstream::open).sum()
}

#[tokio::test]
async fn a_kept_connection_gives_way_to_the_one_that_is_needed() {
    let (upstreams, tidegate) = two("max_connections = 1", "retry = { attempts = 0 }").await;
    let mut client = Client::new(tidegate.web());
    for number in 0..30 {
        // Each needs a connection to the endpoint that the one before did not go to.
        let request = if number % 2 == 0 { Request::get("/") } else { Request::post("/?do=echo", b"a body") };
        assert_eq!(client.ask(&request).await.status, 200, "request {number}");
        eventually("only one is open", async || (open(&upstreams) == 1).then_some(())).await;
    }
    assert_eq!([upstreams[0].requests(), upstreams[1].requests()], [15, 15]);
}

#[tokio::test]
async fn all_in_use_is_overloaded() {
    let (upstreams, tidegate) = two("max_connections = 2", "").await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::new(tidegate.web());
            tokio::spawn(async move { client.send(&Request::get("/?do=hang")).await })
        })
        .collect();
    eventually("both are in use", async || (open(&upstreams) == 2).then_some(())).await;
    let refused = ask(tidegate.web(), &Request::get("/")).await;
    assert_eq!((refused.status, refused.header("x-tidegate-error")), (503, Some("overloaded")));
    held.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("one is free", async || {
        (ask(tidegate.web(), &Request::get("/")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nobody_is_lost_and_the_limit_holds() {
    let (upstreams, tidegate) =
        two("max_connections = 3, queue = 100, queue_timeout = \"20s\"", "retry = { attempts = 0 }").await;
    let gets = Load::start(tidegate.web(), 6, &Request::get("/"));
    let posts = Load::start(tidegate.web(), 6, &Request::post("/?do=name", b"a body"));
    gets.flows(500).await;
    posts.flows(500).await;
    let api = tidegate.api();
    for tally in [gets.stop().await, posts.stop().await] {
        tally.assert_clean(500);
        assert!(tally.of("one") > 0 && tally.of("two") > 0, "{tally:?}");
    }
    eventually("no more are kept than may be", async || (open(&upstreams) <= 3).then_some(())).await;
    let pool: Value = api.get("/v1/pools/app").await.ok();
    assert_eq!(pool["in_flight"], 0, "{pool}");
}
