//! Draining an endpoint or a pool: nothing new, what is in flight finishes, the deadline closes the rest.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::client::ask;
use crate::harness::{Client, Fail, Request, Response, Tidegate, Upstream, config, eventually};

fn send(tidegate: &Tidegate, target: &str) -> JoinHandle<Result<Response, Fail>> {
    let (mut client, request) = (Client::new(tidegate.web()), Request::get(target));
    tokio::spawn(async move { client.send(&request).await })
}

async fn until_state(tidegate: &Tidegate, upstream: &Upstream, state: &str) {
    let api = tidegate.api();
    eventually(&format!("the endpoint is {state}"), async || {
        (api.endpoint("app", upstream.address()).await["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_finishes_what_it_has_and_gets_nothing_new() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let tidegate = Tidegate::start(&config::one_pool(&[&one, &two], "balance = \"round_robin\"", "")).await;
    let mut pending = Vec::new();
    while one.active() < 2 {
        pending.push(send(&tidegate, "/?do=delay:2000"));
        let count = pending.len();
        eventually("it has arrived", async || (one.active() + two.active() == count).then_some(())).await;
    }
    let endpoint = format!("/v1/pools/app/endpoints/{}", one.address());
    let api = tidegate.api();
    api.post(&format!("{endpoint}/drain"), &json!({ "timeout": "30s" })).await.ok();
    let (before, in_flight) = (one.requests(), one.active());
    assert!(in_flight > 0, "the answer to a drain does not wait");
    assert_eq!(api.endpoint("app", one.address()).await["state"], "draining");
    for _ in 0..20 {
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "two");
    }
    for answer in pending {
        assert_eq!(answer.await.unwrap().unwrap().status, 200, "what was in flight finishes");
    }
    until_state(&tidegate, &one, "drained").await;
    assert_eq!(one.requests(), before);
    eventually("its connections are closed", async || (one.open() == 0).then_some(())).await;
    api.post(&format!("{endpoint}/undrain"), &Value::Null).await.ok();
    until_state(&tidegate, &one, "up").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..10 {
        client.ask(&Request::get("/")).await;
    }
    assert!(one.requests() > before);
}

#[tokio::test]
async fn the_deadline_closes_what_is_left() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let route = "retry = { attempts = 0 }";
    let tidegate = Tidegate::start(&config::one_pool(&[&one, &two], "", route)).await;
    one.behave("hang");
    two.behave("hang");
    let pending = [send(&tidegate, "/"), send(&tidegate, "/")];
    eventually("both are in flight", async || (one.active() + two.active() == 2).then_some(())).await;
    let start = Instant::now();
    tidegate.api().post("/v1/pools/app/drain", &json!({ "timeout": "1s" })).await.ok();
    for answer in pending {
        let answer = answer.await.unwrap();
        assert!(answer.as_ref().map_or(true, |answer| answer.status >= 500), "{answer:?}");
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "closed after {took:?}");
    until_state(&tidegate, &one, "drained").await;
    until_state(&tidegate, &two, "drained").await;
    assert_eq!(tidegate.api().get("/v1/pools/app").await.ok()["state"], "drained");
}

#[tokio::test]
async fn a_drained_pool_leaves_its_users_to_the_fallback() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [1, 9], "", "fallback = [\"stable\"]");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let api = tidegate.api();
    let user = Request::get("/").header("x-user-id", "user-3");
    let of_canary = ask(tidegate.web(), &user).await.upstream() == "canary";
    api.post("/v1/pools/canary/drain", &Value::Null).await.ok();
    eventually("the pool is drained", async || {
        (api.get("/v1/pools/canary").await.ok()["state"] == "drained").then_some(())
    })
    .await;
    let before = canary.requests();
    for number in 0..50 {
        let user = Request::get("/").header("x-user-id", &format!("user-{number}"));
        assert_eq!(ask(tidegate.web(), &user).await.upstream(), "stable");
    }
    assert_eq!(canary.requests(), before);
    assert_eq!(api.weights("shop").await, json!({ "stable": 1, "canary": 9 }), "the weights are not touched");
    api.post("/v1/pools/canary/undrain", &Value::Null).await.ok();
    let back = ask(tidegate.web(), &user).await.upstream() == "canary";
    assert_eq!(back, of_canary, "its users are back");
}

#[tokio::test]
async fn endpoints_that_the_api_takes_away_drain() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let tidegate = Tidegate::start(&config::one_pool(&[&one], "", "")).await;
    let pending = send(&tidegate, "/?do=delay:1500");
    eventually("it is in flight", async || (one.active() == 1).then_some(())).await;
    let endpoints = json!({ "endpoints": [{ "address": two.address().to_string(), "weight": 2 }] });
    tidegate.api().put("/v1/pools/app/endpoints", &endpoints).await.ok();
    for _ in 0..10 {
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "two");
    }
    assert_eq!(pending.await.unwrap().unwrap().upstream(), "one", "what was in flight finishes");
    eventually("its connections are closed", async || (one.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn endpoints_that_a_reload_takes_away_drain() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let tidegate = Tidegate::start(&config::one_pool(&[&one], "", "")).await;
    let pending = send(&tidegate, "/?do=delay:1500");
    eventually("it is in flight", async || (one.active() == 1).then_some(())).await;
    tidegate.replace_config(&config::one_pool(&[&two], "", ""));
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    for _ in 0..10 {
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "two");
    }
    assert_eq!(pending.await.unwrap().unwrap().upstream(), "one", "what was in flight finishes");
    eventually("its connections are closed", async || (one.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_drained() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let api = tidegate.api();
    api.post("/v1/pools/nobody/drain", &Value::Null).await.problem(404);
    api.post("/v1/pools/app/endpoints/127.0.0.1:1/drain", &Value::Null).await.problem(404);
    let dry = api.post("/v1/pools/app/drain?dry_run=true", &Value::Null).await;
    dry.ok();
    assert_eq!(api.get("/v1/pools/app").await.ok()["state"], "ready");
}
