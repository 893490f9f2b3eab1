//! Hooks: a no holds the rollout and never the traffic, and who decides is told what came of it.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::hooks::{Answer, Hooks};
use crate::harness::rollouts::{config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Api, Tidegate, Upstream};

struct Scene {
    _stable: Upstream,
    canary: Upstream,
    hooks: Hooks,
    tidegate: Tidegate,
    visitors: Visitors,
}

impl Scene {
    async fn new() -> Self {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
        let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
        Self { _stable: stable, canary, hooks: Hooks::start().await, tidegate, visitors }
    }

    fn api(&self) -> Api {
        self.tidegate.api()
    }

    /// Start with these hooks (`on` and path), in two steps.
    async fn start(&self, hooks: &[(&str, &str)], more: Value) -> Value {
        let of =
            |(on, path): &(&str, &str)| json!({ "on": on, "url": self.hooks.url(path), "timeout": "500ms" });
        let mut more = more;
        more["hooks"] = hooks.iter().map(of).collect();
        self.api().start(&plan(&[(20.0, "100ms"), (100.0, "100ms")], more)).await.ok()
    }

    /// Wait until a hook holds it, for a reason that has these words in it.
    async fn held(&self, words: &str) -> Value {
        let (api, what) = (self.api(), format!("a hook holds it: {words}"));
        let is_held = |rollout: &Value| {
            let held = &rollout["held"];
            held["by"] == "hook" && held["why"].as_str().is_some_and(|why| why.contains(words))
        };
        let held = api.rollout_until(&what, is_held).await;
        assert_eq!(held["state"], "running", "{held:#}");
        println!("held: {}", held["held"]["why"]);
        held
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_hook_that_says_no_holds_until_it_says_yes() {
    let scene = Scene::new().await;
    scene.hooks.answer("/approve", Answer::Status(403));
    scene.start(&[("start", "/approve")], json!({})).await;
    let held = scene.held("403").await;
    assert_eq!(held["step"], 0, "{held:#}");
    scene.api().assert_share(0.0).await;
    let call = scene.hooks.called("/approve", 2).await;
    let calls = scene.hooks.calls("/approve");
    let apart = calls[1].at - calls[0].at;
    assert!(apart >= Duration::from_millis(900), "it is tried again after a second: {apart:?}");
    let body = &call.body;
    assert_eq!((&body["on"], &body["split"]), (&json!("start"), &json!("shop")), "{body:#}");
    for (key, value) in [("strategy", "canary"), ("baseline", "stable"), ("candidate", "canary")] {
        assert_eq!(body[key], value, "{body:#}");
    }
    assert_eq!(body["rollout"], held["id"], "{body:#}");
    assert_eq!(scene.canary.requests(), 0, "not one user has seen it");
    scene.hooks.answer("/approve", Answer::Status(204));
    scene.api().state("succeeded").await;
    scene.visitors.stop().await.assert_clean(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_ends_the_hold() {
    let scene = Scene::new().await;
    scene.hooks.answer("/approve", Answer::Status(403));
    scene.start(&[("start", "/approve")], json!({})).await;
    scene.held("403").await;
    assert_eq!(scene.canary.requests(), 0);
    scene.api().verb("resume").await.ok();
    scene.api().state("succeeded").await;
    scene.visitors.stop().await.assert_clean(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_or_answers_garbage_holds_the_rollout_and_never_the_traffic() {
    let scene = Scene::new().await;
    let api = scene.api();
    scene.visitors.flow(300).await;
    let before = scene.visitors.take();
    for (word, answer) in [("hangs", Answer::Hang), ("answers garbage", Answer::Garbage)] {
        scene.hooks.answer("/approve", answer);
        scene.start(&[("start", "/approve")], json!({})).await;
        scene.held("").await;
        scene.visitors.flow(300).await;
        let tally = scene.visitors.take();
        let (normal, now) = (before.quantile(990), tally.quantile(990));
        println!(
            "p99 of the traffic while a hook {word}: {now:?} (before: {normal:?}), {:.0}/s",
            tally.rate()
        );
        tally.assert_clean(200);
        // Ten times is far below the half second that the hook is waited for.
        assert!(now < (normal * 10).max(Duration::from_millis(100)), "{now:?}");
        api.assert_share(0.0).await;
        api.verb("abort").await.ok();
    }
    // One that is not there at all.
    let dead = crate::harness::upstream::refusing().await;
    let hook = json!([{ "on": "start", "url": format!("http://{dead}/approve") }]);
    api.start(&plan(&[(20.0, "0s")], json!({ "hooks": hook }))).await.ok();
    scene.held("").await;
    assert_eq!(scene.canary.requests(), 0);
    scene.visitors.stop().await.assert_clean(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_the_promotion_wait_for_theirs() {
    let scene = Scene::new().await;
    let api = scene.api();
    scene.hooks.answer("/step", Answer::Status(503));
    scene.hooks.answer("/promote", Answer::Status(403));
    let hooks = [("step", "/step"), ("before_promote", "/promote")];
    let of = |(on, path): (&str, &str)| json!({ "on": on, "url": scene.hooks.url(path), "timeout": "500ms" });
    let steps = [(20.0, "0s"), (50.0, "0s"), (100.0, "0s")];
    api.start(&plan(&steps, json!({ "hooks": hooks.map(of) }))).await.ok();
    scene.held("503").await;
    let call = scene.hooks.called("/step", 1).await;
    println!("a step's hook is told {}", call.body);
    assert_eq!(call.body["on"], "step");
    let percent = call.body["percent"].as_f64().expect("what is asked for");
    assert!((api.share().await * 100.0 - percent).abs() > 1.0, "the share asked for is not in force yet");
    assert!(scene.hooks.calls("/promote").is_empty());
    scene.hooks.answer("/step", Answer::Status(200));
    let held = api.rollout_until("the promotion is held", |rollout| {
        rollout["held"]["by"] == "hook" && rollout["percent"] == 50.0
    });
    held.await;
    let call = scene.hooks.called("/promote", 1).await;
    assert_eq!((&call.body["on"], &call.body["percent"]), (&json!("before_promote"), &json!(100.0)));
    assert!(
        call.body["evidence"]["candidate"]["requests"].as_u64().is_some_and(|seen| seen > 0),
        "{}",
        call.body
    );
    scene.hooks.answer("/promote", Answer::Status(200));
    api.state("succeeded").await;
    scene.visitors.stop().await.assert_clean(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_told_with_the_verdict() {
    let scene = Scene::new().await;
    let hooks = [("abort", "/aborted"), ("success", "/succeeded")];
    scene.start(&hooks, json!({})).await;
    scene.api().state("succeeded").await;
    let call = scene.hooks.called("/succeeded", 1).await;
    assert_eq!((&call.body["on"], &call.body["split"]), (&json!("success"), &json!("shop")));
    assert!(scene.hooks.calls("/aborted").is_empty());
    scene.api().verb("abort").await.ok();
    let call = scene.hooks.called("/aborted", 1).await;
    assert_eq!(call.body["on"], "abort", "an operator's abort is told, too");
    scene.canary.behave("status:500");
    let of = |(on, path): (&str, &str)| json!({ "on": on, "url": scene.hooks.url(path) });
    scene.api().start(&plan(&[(20.0, "5m")], json!({ "hooks": hooks.map(of) }))).await.ok();
    scene.api().state("aborted").await;
    let call = scene.hooks.called("/aborted", 2).await;
    println!("an abort's hook is told {}", call.body);
    assert_eq!(call.body["on"], "abort");
    assert!(call.body["why"].as_str().is_some_and(|why| !why.is_empty()), "{}", call.body);
    assert!(call.body["evidence"]["candidate"]["failures"].as_u64() > Some(0), "{}", call.body);
    scene.visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_is_told_of_the_end_and_fails_changes_nothing() {
    let scene = Scene::new().await;
    scene.hooks.answer("/succeeded", Answer::Status(500));
    scene.start(&[("success", "/succeeded")], json!({})).await;
    scene.hooks.called("/succeeded", 1).await;
    scene.api().state("succeeded").await;
    scene.api().share_is(1.0).await;
    scene.visitors.stop().await.assert_clean(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_token_comes_from_a_file() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let hooks = Hooks::start().await;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("hook.token"), "s3cret-of-the-hook\n").unwrap();
    // In the file, beside which the token lies.
    let plan = format!(
        "[splits.shop.rollout]\nbaseline = \"stable\"\ncandidate = \"canary\"\n\
         steps = [{{ percent = 10, hold = \"5m\" }}]\n\
         [[splits.shop.rollout.hooks]]\non = \"start\"\nurl = \"{}\"\ntoken_file = \"hook.token\"\n",
        hooks.url("/approve")
    );
    let text = config(&[&stable], &[&canary], "", "");
    let tidegate = Tidegate::start_in(folder.path(), &format!("{text}\n{plan}")).await;
    // An empty body starts the file's plan.
    tidegate.api().start(&Value::Null).await.ok();
    tidegate.api().share_is(0.1).await;
    let call = hooks.called("/approve", 1).await;
    assert_eq!(call.head.header("authorization"), Some("Bearer s3cret-of-the-hook"));
    assert_eq!(call.head.header("content-type"), Some("application/json"));
    let shown =
        tidegate.api().rollout().await.to_string() + &tidegate.api().get("/v1/config").await.response.text();
    assert!(!shown.contains("s3cret"), "the token is never shown");
    assert!(!tidegate.out.all().join("\n").contains("s3cret"), "nor logged");
}
