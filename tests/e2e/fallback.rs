//! When a pool has no usable endpoint its users are served elsewhere, and the same users go back.

use serde_json::{Value, json};

use crate::golden;
use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// Not halves: the fallback is the pool with the largest weight.
const SHARES: [(&str, u32); 2] = [("stable", 60), ("canary", 40)];

fn of_user(number: usize) -> Request {
    Request::get("/").header("x-user-id", &format!("user-{number}"))
}

async fn until_state(tidegate: &Tidegate, pool: &str, upstream: &Upstream, state: &str) {
    let api = tidegate.api();
    eventually(&format!("{pool} is {state}"), async || {
        (api.endpoint(pool, upstream.address()).await["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn users_of_a_failing_pool_go_to_the_fallback_and_come_back() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate =
        Tidegate::start(&config::canary(&[&stable], &[&canary], [60, 40], config::QUICK_HEALTH)).await;
    until_state(&tidegate, "canary", &canary, "up").await;
    let mut client = Client::new(tidegate.web());
    let before: Vec<String> = users(&mut client).await;
    for (number, pool) in before.iter().enumerate() {
        assert_eq!(pool, golden::pool(&format!("user-{number}"), "shop", &SHARES));
    }
    canary.set_healthy(false);
    until_state(&tidegate, "canary", &canary, "down").await;
    assert!(users(&mut client).await.iter().all(|pool| pool == "stable"));
    let moved = before.iter().position(|pool| pool == "canary").unwrap();
    let question = json!({
        "method": "GET", "host": "shop.test", "path": "/", "headers": { "x-user-id": format!("user-{moved}") },
    });
    let answer = tidegate.api().post("/v1/explain", &question).await.ok();
    assert_eq!((&answer["pool"], &answer["reason"]), (&json!("stable"), &json!("fallback")), "{answer}");
    let metrics = tidegate.api().metrics().await;
    let labels = [("split", "shop"), ("from", "canary"), ("to", "stable")];
    let counted = metric(&metrics, "tidegate_fallbacks_total", &labels);
    assert!(counted.is_some_and(|count| count >= 1.0), "{counted:?}");
    canary.set_healthy(true);
    until_state(&tidegate, "canary", &canary, "up").await;
    assert_eq!(users(&mut client).await, before, "the same users are back");
}

async fn users(client: &mut Client) -> Vec<String> {
    let mut pools = Vec::new();
    for number in 0..200 {
        pools.push(client.ask(&of_user(number)).await.upstream().to_owned());
    }
    pools
}

#[tokio::test]
async fn without_a_fallback_the_answer_is_503() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [0, 1], config::QUICK_HEALTH, "fallback = []");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    until_state(&tidegate, "canary", &canary, "up").await;
    canary.set_healthy(false);
    until_state(&tidegate, "canary", &canary, "down").await;
    let answer = ask(tidegate.web(), &of_user(1)).await;
    assert_eq!((answer.status, answer.header("x-tidegate-error")), (503, Some("no_endpoint")));
    assert_eq!(stable.requests(), 0);
}

#[tokio::test]
async fn a_pool_of_weight_0_is_checked_at_the_full_rate() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate =
        Tidegate::start(&config::canary(&[&stable], &[&canary], [1, 0], config::QUICK_HEALTH)).await;
    until_state(&tidegate, "canary", &canary, "up").await;
    let before = [stable.health_checks(), canary.health_checks()];
    eventually("ten more checks", async || (stable.health_checks() >= before[0] + 10).then_some(())).await;
    assert!(canary.health_checks() >= before[1] + 5, "checked as often as the pool with traffic");
    let endpoint = tidegate.api().endpoint("canary", canary.address()).await;
    assert_eq!(endpoint["last_check"]["ok"], true, "{endpoint}");
    assert_ne!(endpoint["last_check"]["at"], Value::Null, "{endpoint}");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_but_never_the_last_one() {
    let [good, bad] = [Upstream::start("good").await, Upstream::start("bad").await];
    bad.behave("status:500");
    let eject =
        "balance = \"round_robin\"\neject = { consecutive_failures = 3, base = \"60s\", max_percent = 100 }";
    let tidegate =
        Tidegate::start(&config::one_pool(&[&good, &bad], eject, "retry = { attempts = 0 }")).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..20 {
        client.ask(&Request::get("/")).await;
    }
    until_state(&tidegate, "app", &bad, "ejected").await;
    let before = bad.requests();
    for _ in 0..20 {
        assert_eq!(client.ask(&Request::get("/")).await.upstream(), "good");
    }
    assert_eq!(bad.requests(), before);
    good.behave("status:500");
    for _ in 0..20 {
        assert_eq!(client.ask(&Request::get("/")).await.upstream(), "good", "the last usable endpoint stays");
    }
}
