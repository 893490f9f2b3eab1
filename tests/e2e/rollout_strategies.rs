//! Whole rollouts from start to end under load, in steps and all at once: not one answer lost, none failed.

use serde_json::{Value, json};

use crate::harness::hooks::{Answer, Hooks};
use crate::harness::rollouts::{config, plan, plan_of};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Api, Tidegate, Upstream, eventually};

struct Scene {
    stable: Upstream,
    canary: Upstream,
    tidegate: Tidegate,
    visitors: Visitors,
}

impl Scene {
    async fn new(rate: u64) -> Self {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
        let visitors = Visitors::start(tidegate.web(), &Crowd::of(rate));
        visitors.flow(rate / 2).await;
        Self { stable, canary, tidegate, visitors }
    }

    fn api(&self) -> Api {
        self.tidegate.api()
    }

    /// Nothing was lost, nothing failed, nothing was asked twice.
    async fn end(self, at_least: u64) {
        let tally = self.visitors.stop().await;
        println!("{:?}, p99 {:?}", tally.answers, tally.quantile(990));
        tally.assert_clean(at_least);
        let asked = self.stable.requests() + self.canary.requests();
        assert_eq!(tally.total(), asked as u64, "none was repeated");
    }
}

/// The verdicts of a rollout: action, step, percent.
fn verdicts(rollout: &Value) -> Vec<(String, u64, f64)> {
    let all = rollout["verdicts"].as_array().expect("verdicts");
    let of = |verdict: &Value| {
        let action = verdict["action"].as_str().unwrap_or_default().to_owned();
        (action, verdict["step"].as_u64().unwrap_or(0), verdict["percent"].as_f64().unwrap_or(-1.0))
    };
    all.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_goes_through_all_its_steps() {
    let scene = Scene::new(400).await;
    let (api, mut seen) = (scene.api(), Vec::new());
    let steps = [(5.0, "500ms"), (25.0, "500ms"), (50.0, "500ms"), (100.0, "500ms")];
    let started = api.start(&plan(&steps, json!({ "bake": "500ms" }))).await.ok();
    assert_eq!(
        (&started["state"], &started["strategy"]),
        (&json!("running"), &json!("canary")),
        "{started:#}"
    );
    let end = api.rollout_until("it succeeds", |rollout| {
        let now = (rollout["state"].as_str().unwrap_or_default().to_owned(), rollout["percent"].as_f64());
        if seen.last() != Some(&now) {
            println!("step {}: {now:?}, {} left", rollout["step"], rollout["time_left"]);
            seen.push(now);
        }
        rollout["state"] == "succeeded"
    });
    let end = end.await;
    let running: Vec<f64> =
        seen.iter().filter(|(state, _)| state == "running").filter_map(|(_, percent)| *percent).collect();
    assert!(running.is_sorted(), "{running:?}");
    for percent in [5.0, 25.0, 50.0, 100.0] {
        assert!(running.contains(&percent), "{percent} in {running:?}");
    }
    assert!(seen.iter().any(|(state, _)| state == "baking"), "{seen:?}");
    let passes: Vec<_> = verdicts(&end).into_iter().filter(|(action, ..)| action == "pass").collect();
    println!("{passes:?}");
    assert!(passes.len() >= 4, "each step was passed on evidence: {:#}", end["verdicts"]);
    api.assert_share(1.0).await;
    assert_eq!(api.get("/v1/splits/shop").await.ok()["source"], "rollout");
    let before = scene.stable.requests();
    scene.visitors.flow(100).await;
    assert!(scene.stable.requests() <= before + 48, "only what was under way");
    scene.end(500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_waits_for_promote_and_full_skips_the_rest() {
    let scene = Scene::new(200).await;
    let api = scene.api();
    let mut plan = plan(&[(5.0, "0s"), (25.0, "10m"), (50.0, "10m"), (100.0, "0s")], Value::Null);
    plan["steps"][0]["gate"] = json!("manual");
    api.start(&plan).await.ok();
    let held = api.rollout_until("the gate holds it", |rollout| rollout["held"]["by"] == "gate").await;
    assert_eq!((&held["state"], &held["step"]), (&json!("running"), &json!(1)), "{held:#}");
    scene.visitors.flow(100).await;
    assert_eq!(api.rollout().await["step"], 1, "it waits");
    api.verb("promote").await.ok();
    api.share_is(0.25).await;
    api.post("/v1/splits/shop/rollout/promote", &json!({ "full": true })).await.ok();
    api.share_is(1.0).await;
    api.state("succeeded").await;
    scene.end(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traffic_nothing_is_promoted() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    let api = tidegate.api();
    api.start(&plan(&[(5.0, "100ms"), (100.0, "100ms")], json!({ "max_step_time": "1500ms" }))).await.ok();
    let held = api.rollout_until("it is held", |rollout| rollout["held"].is_object()).await;
    println!("held by {}: {}", held["held"]["by"], held["held"]["why"]);
    assert_eq!((&held["state"], &held["step"]), (&json!("running"), &json!(1)), "{held:#}");
    let paused = api.state("paused").await;
    println!("paused by {}: {}", paused["paused"]["by"], paused["paused"]["why"]);
    assert!(paused["paused"]["why"].to_string().contains("inconclusive"), "{paused:#}");
    api.assert_share(0.05).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_with_checks_hooks_and_a_revert_while_it_bakes() {
    let scene = Scene::new(300).await;
    let (api, hooks) = (scene.api(), Hooks::start().await);
    scene.canary.behave("status:503");
    hooks.answer("/promote", Answer::Status(403));
    let of = |(on, path): (&str, &str)| json!({ "on": on, "url": hooks.url(path) });
    let hooked =
        [("start", "/start"), ("before_promote", "/promote"), ("success", "/success"), ("abort", "/abort")];
    let more = json!({
        "bake": "10m", "hooks": hooked.map(of), "checks": [{ "path": "/checkout/selftest", "status": "200-299" }],
    });
    let plan = plan_of("blue_green", more);
    api.start(&plan).await.ok();
    let held = api.rollout_until("the checks hold it", |rollout| rollout["held"]["by"] == "check").await;
    println!("held: {}", held["held"]["why"]);
    api.assert_share(0.0).await;
    scene.canary.behave("name");
    api.rollout_until("the hook holds it", |rollout| rollout["held"]["by"] == "hook").await;
    api.assert_share(0.0).await;
    let checks = scene.canary.requests();
    assert!(checks > 0, "checks were sent, and nothing else");
    hooks.answer("/promote", Answer::Status(200));
    api.state("baking").await;
    api.share_is(1.0).await;
    eventually("everyone is on the candidate", async || {
        (scene.canary.requests() > checks + 200).then_some(())
    })
    .await;
    api.post("/v1/splits/shop/revert", &Value::Null).await.ok();
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "aborted", "{rollout:#}");
    api.assert_share(0.0).await;
    hooks.called("/abort", 1).await;
    assert_eq!((hooks.calls("/start").len(), hooks.calls("/success").len()), (1, 0));
    scene.visitors.flow(200).await;
    let tally = scene.visitors.stop().await;
    tally.assert_clean(500);
    assert!(tally.of("canary") >= 200 && tally.of("stable") >= 200, "{:?}", tally.answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_succeeds_after_its_bake() {
    let scene = Scene::new(200).await;
    let api = scene.api();
    api.start(&plan_of("blue_green", json!({ "bake": "500ms" }))).await.ok();
    api.state("baking").await;
    let end = api.state("succeeded").await;
    println!("{:?}", verdicts(&end));
    api.assert_share(1.0).await;
    // Later than late: an abort still gives everything back.
    api.verb("abort").await.ok();
    api.assert_share(0.0).await;
    scene.end(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_b_holds_its_weights_and_reports_intervals() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let text =
        config(&[&stable], &[&canary], "", "").replace("stable = 100, canary = 0", "stable = 1, canary = 1");
    let tidegate = Tidegate::start(&text).await;
    let (api, visitors) = (tidegate.api(), Visitors::start(tidegate.web(), &Crowd::of(300)));
    api.start(&plan_of("ab", json!({ "duration": "1500ms", "bake": "0s" }))).await.ok();
    visitors.flow(300).await;
    api.assert_share(0.5).await;
    let report = api.rollout().await;
    for side in ["candidate", "baseline"] {
        let side = &report["evidence"][side];
        let (low, high) = (side["interval"][0].as_f64().unwrap(), side["interval"][1].as_f64().unwrap());
        println!("{side}");
        assert!(low <= 0.0 + 1e-9 && high > 0.0 && high < 0.2, "{side}");
    }
    api.state("succeeded").await;
    api.assert_share(0.5).await;
    visitors.stop().await.assert_clean(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_the_traffic_and_nothing_to_compare_with_the_guard_still_aborts() {
    let scene = Scene::new(300).await;
    let api = scene.api();
    let guard = json!({ "max_failure_rate": 0.05 });
    api.start(&plan_of("blue_green", json!({ "bake": "10m", "guard": guard }))).await.ok();
    api.state("baking").await;
    scene.visitors.flow(100).await;
    scene.canary.behave("fail:500");
    let rollout = api.state("aborted").await;
    println!("{}", rollout["ended"]["why"]);
    assert_eq!(rollout["verdicts"].as_array().and_then(|all| all.last()).unwrap()["by"], "max_failure_rate");
    api.assert_share(0.0).await;
    let tally = scene.visitors.stop().await;
    println!("{} users saw an error", tally.hurt_beside("stable"));
}
