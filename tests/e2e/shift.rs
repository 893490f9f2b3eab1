//! Everything that an operator does while traffic flows at full speed, without one lost response.
//!
//! Each test keeps 64 keep-alive connections busy from before the first change until after the last, and
//! counts every answer that was not whole and every connection closed without notice.

use serde_json::{Value, json};

use crate::harness::load::Load;
use crate::harness::{Request, Tidegate, Upstream, config, eventually};
use std::time::Duration;

const CONNECTIONS: usize = 64;

fn load(tidegate: &Tidegate) -> Load {
    Load::start(tidegate.web(), CONNECTIONS, &Request::get("/"))
}

/// After the last request the counts must be back where they began.
async fn nothing_in_flight(tidegate: &Tidegate, pools: &[&str]) {
    for pool in pools {
        let api = tidegate.api();
        eventually("nothing is in flight", async || (api.in_flight(pool).await == 0).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_weight_shifts_and_a_hundred_reloads() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [50, 50], "", "");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let (api, load) = (tidegate.api(), load(&tidegate));
    load.flows(1000).await;
    for number in 0..1000_u32 {
        let canary = number % 101;
        let weights = json!({ "weights": { "stable": 100 - canary, "canary": canary } });
        let split = api.put("/v1/splits/shop/weights", &weights).await.ok();
        assert_eq!(split["weights"]["stable"], 100 - canary, "{split}");
    }
    let with_route = |number: usize| {
        let route = format!(
            "[[routes]]\nname = \"extra-{number}\"\nhosts = [\"extra-{number}.test\"]\npool = \"stable\"\n"
        );
        config::with(&format!("{rest}\n{route}"))
    };
    for number in 0..90 {
        tidegate.replace_config(&with_route(number));
        api.post("/v1/config/reload", &Value::Null).await.ok();
    }
    for number in 90..100 {
        tidegate.replace_config(&with_route(number));
        let host = json!({ "method": "GET", "host": format!("extra-{number}.test"), "path": "/" });
        let route = format!("extra-{number}");
        eventually("the watcher has read the file", async || {
            (api.post("/v1/explain", &host).await.ok()["route"] == route.as_str()).then_some(())
        })
        .await;
    }
    load.flows(1000).await;
    let tally = load.stop().await;
    tally.assert_clean(3000);
    assert!(tally.of("stable") > 0 && tally.of("canary") > 0, "{tally:?}");
    assert_eq!(tally.total(), stable.requests() + canary.requests(), "none was repeated");
    nothing_in_flight(&tidegate, &["stable", "canary"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_and_a_pool_are_drained_and_come_back() {
    let [one, two, canary] =
        [Upstream::start("one").await, Upstream::start("two").await, Upstream::start("canary").await];
    let tidegate = Tidegate::start(&config::canary(&[&one, &two], &[&canary], [60, 40], "")).await;
    let (api, load) = (tidegate.api(), load(&tidegate));
    load.flows(1000).await;
    for _ in 0..5 {
        let endpoint = format!("/v1/pools/stable/endpoints/{}", one.address());
        api.post(&format!("{endpoint}/drain"), &json!({ "timeout": "10s" })).await.ok();
        let drained =
            async || (api.endpoint("stable", one.address()).await["state"] == "drained").then_some(());
        eventually("the endpoint is drained", drained).await;
        let before = one.requests();
        load.flows(500).await;
        assert_eq!(one.requests(), before, "no request after it was drained");
        api.post(&format!("{endpoint}/undrain"), &Value::Null).await.ok();
        eventually("it is used again", async || (one.requests() > before).then_some(())).await;
    }
    for _ in 0..5 {
        api.post("/v1/pools/canary/drain", &json!({ "timeout": "10s" })).await.ok();
        let drained = async || (api.get("/v1/pools/canary").await.ok()["state"] == "drained").then_some(());
        eventually("the pool is drained", drained).await;
        let before = canary.requests();
        load.flows(500).await;
        assert_eq!(canary.requests(), before, "its users are served by the fallback");
        api.post("/v1/pools/canary/undrain", &Value::Null).await.ok();
        eventually("it is used again", async || (canary.requests() > before).then_some(())).await;
    }
    load.stop().await.assert_clean(6000);
    nothing_in_flight(&tidegate, &["stable", "canary"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_killed_and_comes_back() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let pool = format!("{}\neject = {{ consecutive_failures = 5, base = \"1s\" }}", config::QUICK_HEALTH);
    // Every request may be repeated: all are GET, and the other endpoint is well.
    let route = "retry = { attempts = 3, on = [\"connect\", \"reset\"], budget_percent = 100 }";
    let tidegate = Tidegate::start(&config::one_pool(&[&one, &two], &pool, route)).await;
    let (api, load) = (tidegate.api(), load(&tidegate));
    load.flows(1000).await;
    for _ in 0..3 {
        one.kill().await;
        let down = async || (api.endpoint("app", one.address()).await["state"] == "down").then_some(());
        eventually("the check has noticed", down).await;
        load.flows(500).await;
        let before = one.requests();
        one.revive().await;
        eventually("it is used again", async || (one.requests() > before + 10).then_some(())).await;
    }
    load.stop().await.assert_clean(3000);
    nothing_in_flight(&tidegate, &["app"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_ends_while_another_takes_over_on_another_port() {
    let upstream = Upstream::start("app").await;
    let server = "shutdown_delay = \"500ms\"\nshutdown_timeout = \"20s\"";
    let config = config::server(server, &config::one_pool(&[&upstream], "", ""));
    let mut old = Tidegate::start(&config).await;
    let load = load(&old);
    for _ in 0..3 {
        load.flows(1000).await;
        let next = Tidegate::start(&config).await;
        load.redirect(next.web());
        old.signal("TERM");
        let status = old.ended(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0));
        load.flows(1000).await;
        old = next;
    }
    let tally = load.stop().await;
    tally.assert_clean(6000);
    assert_eq!(tally.total(), upstream.requests(), "none was repeated");
    nothing_in_flight(&old, &["app"]).await;
}
