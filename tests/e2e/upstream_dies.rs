//! An endpoint of three dies under load, in each way that there is: no idempotent request is lost, and those
//! that are left are not overrun.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::api::metric;
use crate::harness::load::{Load, Tally};
use crate::harness::server::Server;
use crate::harness::upstream::{black_hole, refusing};
use crate::harness::{Request, Tidegate, Upstream, config, eventually};

const EJECT: &str = "eject = { consecutive_failures = 3, base = \"60s\" }";
/// Asked again each second.
const BRIEFLY: &str = "eject = { consecutive_failures = 3, base = \"1s\", max = \"1s\" }";

/// Two that live, and what is at this address.
async fn beside(address: SocketAddr, pool: &str, route: &str) -> ([Upstream; 2], Tidegate) {
    let upstreams = [Upstream::start("one").await, Upstream::start("two").await];
    let addresses = [upstreams[0].address(), upstreams[1].address(), address];
    let rest = config::one_pool_at(&addresses, pool, route);
    (upstreams, Tidegate::start(&config::with(&rest)).await)
}

fn load(tidegate: &Tidegate) -> Load {
    Load::start(tidegate.web(), 8, &Request::get("/"))
}

async fn until_state(tidegate: &Tidegate, address: SocketAddr, states: &[&str]) {
    let api = tidegate.api();
    eventually(&format!("{address} is one of {states:?}"), async || {
        let state = api.endpoint("app", address).await["state"].as_str().unwrap_or_default().to_owned();
        states.contains(&&*state).then_some(())
    })
    .await;
}

/// Nobody noticed, and the pool was not asked for much more than the clients wanted.
async fn assert_unnoticed(tidegate: &Tidegate, tally: &Tally) {
    tally.assert_clean(1_000);
    let text = tidegate.api().metrics().await;
    let tries = metric(&text, "tidegate_attempts_total", &[("pool", "app")]).unwrap();
    let wanted = tally.total() as f64;
    assert!(tries >= wanted && tries <= 1.2 * wanted, "{tries} tries for {wanted} requests");
    println!("{wanted} requests, {tries} tries, no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_and_started_again() {
    for pool in [BRIEFLY.to_owned(), format!("{BRIEFLY}\n{}", config::QUICK_HEALTH)] {
        let mut server = Server::start("three").await;
        let (_upstreams, tidegate) = beside(server.address(), &pool, "").await;
        until_state(&tidegate, server.address(), &["up"]).await;
        let load = load(&tidegate);
        eventually("it is in use", async || (server.requests() > 100).then_some(())).await;
        server.kill();
        until_state(&tidegate, server.address(), &["ejected", "down"]).await;
        load.flows(1_000).await;
        server.start_again().await;
        let before = server.requests();
        eventually("it is in use again", async || (server.requests() > before + 100).then_some(())).await;
        assert_unnoticed(&tidegate, &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_neither_accepts_nor_refuses() {
    let (hole, _held, _listener) = black_hole().await;
    let pool = format!("connect_timeout = \"300ms\"\n{EJECT}");
    let (_upstreams, tidegate) = beside(hole, &pool, "").await;
    let load = load(&tidegate);
    until_state(&tidegate, hole, &["ejected"]).await;
    load.flows(1_000).await;
    assert_unnoticed(&tidegate, &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_refuses() {
    let gone = refusing().await;
    let (_upstreams, tidegate) = beside(gone, EJECT, "").await;
    let load = load(&tidegate);
    until_state(&tidegate, gone, &["ejected"]).await;
    load.flows(1_000).await;
    assert_unnoticed(&tidegate, &load.stop().await).await;
}

/// Connections stay open, new ones are made, and nothing is answered: only time tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_freezes_and_goes_on() {
    let server = Server::start("three").await;
    let route = "retry = { attempts = 2, on = [\"connect\", \"reset\", \"timeout\"], try_timeout = \"1s\" }";
    let (_upstreams, tidegate) = beside(server.address(), BRIEFLY, route).await;
    let load = load(&tidegate);
    eventually("it is in use", async || (server.requests() > 100).then_some(())).await;
    server.freeze();
    until_state(&tidegate, server.address(), &["ejected"]).await;
    load.flows(1_000).await;
    server.thaw();
    let before = server.requests();
    eventually("it is in use again", async || (server.requests() > before + 100).then_some(())).await;
    assert_unnoticed(&tidegate, &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_and_goes_is_not_left_out_for_good() {
    let third = Upstream::start("three").await;
    let pool = "eject = { consecutive_failures = 2, base = \"50ms\", max = \"200ms\" }";
    let route = "retry = { attempts = 2, budget_percent = 100 }";
    let (_upstreams, tidegate) = beside(third.address(), pool, route).await;
    let load = load(&tidegate);
    for _ in 0..20 {
        load.flows(40).await;
        third.kill().await;
        load.flows(40).await;
        third.revive().await;
    }
    let (begun, before) = (Instant::now(), third.requests());
    eventually("it is in use again", async || (third.requests() > before + 100).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
    load.stop().await.assert_clean(1_000);
}

/// Everything fails: the upstreams get little more than what the clients sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_pool_that_fails_is_not_made_worse() {
    for (act, on) in [("status:500", "5xx"), ("reset", "reset")] {
        let upstreams = [Upstream::start("one").await, Upstream::start("two").await];
        for upstream in &upstreams {
            upstream.behave(act);
        }
        let route = format!("retry = {{ attempts = 5, on = [\"{on}\"], budget_percent = 20 }}");
        let tidegate = Tidegate::start(&config::one_pool(&[&upstreams[0], &upstreams[1]], "", &route)).await;
        let begun = Instant::now();
        let load = load(&tidegate);
        let got = || upstreams.iter().map(Upstream::requests).sum::<usize>();
        eventually("many requests have come", async || (got() >= 3_000).then_some(())).await;
        let tally = load.stop().await;
        let (sent, got) = (tally.failures.len() as f64, got() as f64);
        assert_eq!(tally.total(), 0, "all failed");
        // A fifth of the requests, and ten a second, counted over windows of ten seconds.
        let most = 1.2 * sent + 100.0 * (1.0 + begun.elapsed().as_secs_f64() / 5.0);
        println!("{act}: {sent} requests, the upstreams got {got}, of at most {most:.0}");
        assert!(got > sent && got <= most, "{act}: {got} for {sent}, of at most {most}");
    }
}
