//! A rollout over restarts and reloads: a running one comes back paused where it was, an ended one stays ended.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::hooks::{Answer, Hooks};
use crate::harness::rollouts::{config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Tidegate, Upstream, config, eventually};

struct Scene {
    stable: Upstream,
    canary: Upstream,
    folder: TempDir,
}

impl Scene {
    async fn new() -> (Self, Tidegate) {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let this = Self { stable, canary, folder: TempDir::new().unwrap() };
        let tidegate = Tidegate::start_in(this.folder.path(), &this.text()).await;
        (this, tidegate)
    }

    fn text(&self) -> String {
        config(&[&self.stable], &[&self.canary], "state_dir = \"state\"", "")
    }

    async fn again(&self) -> Tidegate {
        Tidegate::start_again(self.folder.path()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_one_comes_back_paused_at_its_last_share_and_resumes() {
    let (scene, mut tidegate) = Scene::new().await;
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    let steps = [(5.0, "0s"), (25.0, "1s"), (100.0, "0s")];
    let before = tidegate.api().start(&plan(&steps, Value::Null)).await.ok();
    tidegate.api().step(2).await;
    tidegate.api().share_is(0.25).await;
    tidegate.kill();
    drop(visitors);
    let mut tidegate = scene.again().await;
    let api = tidegate.api();
    let rollout = api.rollout().await;
    println!("paused by {}: {}", rollout["paused"]["by"], rollout["paused"]["why"]);
    assert_eq!((&rollout["state"], &rollout["id"]), (&json!("paused"), &before["id"]), "{rollout:#}");
    assert_eq!((rollout["step"].as_u64(), rollout["percent"].as_f64()), (Some(2), Some(25.0)), "{rollout:#}");
    api.assert_share(0.25).await;
    assert!(rollout["paused"]["why"].to_string().contains("restart"), "{rollout:#}");
    // It does not go on by itself, whatever the traffic.
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    visitors.flow(400).await;
    assert_eq!(api.rollout().await["state"], "paused");
    // A reload of the same file is no reason, either.
    tidegate.replace_config(&format!("{}\n# nothing new\n", scene.text()));
    api.post("/v1/config/reload", &Value::Null).await.ok();
    assert_eq!(api.rollout().await["state"], "paused");
    api.verb("resume").await.ok();
    api.state("succeeded").await;
    api.assert_share(1.0).await;
    visitors.stop().await.assert_clean(400);
    // And success outlives a restart.
    tidegate.signal("TERM");
    tidegate.ended(crate::harness::PATIENCE).await;
    let tidegate = scene.again().await;
    assert_eq!(tidegate.api().rollout().await["state"], "succeeded");
    tidegate.api().assert_share(1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guard_watches_a_rollout_that_a_restart_has_paused() {
    let (scene, mut tidegate) = Scene::new().await;
    tidegate.api().start(&plan(&[(25.0, "5m")], Value::Null)).await.ok();
    tidegate.api().share_is(0.25).await;
    tidegate.kill();
    let tidegate = scene.again().await;
    assert_eq!(tidegate.api().rollout().await["state"], "paused");
    scene.canary.behave("status:500");
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    let rollout = tidegate.api().state("aborted").await;
    println!("{}", rollout["ended"]);
    tidegate.api().assert_share(0.0).await;
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_one_stays_aborted_over_restarts_and_reloads() {
    let (scene, mut tidegate) = Scene::new().await;
    scene.canary.behave("status:500");
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    tidegate.api().start(&plan(&[(25.0, "5m")], Value::Null)).await.ok();
    let aborted = tidegate.api().state("aborted").await;
    visitors.stop().await;
    for round in 0..3 {
        if round == 1 {
            tidegate.signal("TERM");
            tidegate.ended(crate::harness::PATIENCE).await;
        } else {
            tidegate.kill();
        }
        tidegate = scene.again().await;
        let route = format!("[[routes]]\nname = \"extra\"\nhosts = [\"x{round}.test\"]\npool = \"stable\"\n");
        tidegate.replace_config(&format!("{}\n{route}", scene.text()));
        tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
        let rollout = tidegate.api().rollout().await;
        for key in ["id", "state", "ended", "verdicts"] {
            assert_eq!(rollout[key], aborted[key], "{key}");
        }
        tidegate.api().assert_share(0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_a_hook_holds_comes_back_paused_and_asks_again_when_resumed() {
    let (scene, mut tidegate) = Scene::new().await;
    let hooks = Hooks::start().await;
    hooks.answer("/approve", Answer::Status(403));
    let hook = json!([{ "on": "start", "url": hooks.url("/approve") }]);
    tidegate.api().start(&plan(&[(25.0, "5m")], json!({ "hooks": hook }))).await.ok();
    hooks.called("/approve", 1).await;
    tidegate.kill();
    hooks.answer("/approve", Answer::Status(200));
    let tidegate = scene.again().await;
    let api = tidegate.api();
    let rollout = api.rollout().await;
    assert_eq!((&rollout["state"], &rollout["step"]), (&json!("paused"), &json!(0)), "{rollout:#}");
    api.assert_share(0.0).await;
    let asked = hooks.calls("/approve").len();
    api.verb("resume").await.ok();
    hooks.called("/approve", asked + 1).await;
    api.share_is(0.25).await;
    assert_eq!(api.rollout().await["state"], "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rollouts_at_once_know_nothing_of_each_other() {
    let [stable, canary, other] =
        [Upstream::start("stable").await, Upstream::start("canary").await, Upstream::start("other").await];
    let text = config(&[&stable], &[&canary], "", "");
    let second = config::pool("other", &[&other], "")
        + "[splits.second]\nweights = { stable = 100, other = 0 }\nkey = [\"header:x-user-id\"]\n\n\
           [[routes]]\nname = \"second\"\nmatches = [{ path = { prefix = \"/second\" } }]\nsplit = \"second\"\n";
    let tidegate = Tidegate::start(&format!("{text}\n{second}")).await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    let seconds = Visitors::start(tidegate.web(), &Crowd { target: "/second", ..Crowd::of(200) });
    other.behave("status:500");
    let bad = plan(&[(25.0, "5m")], json!({ "candidate": "other" }));
    api.start(&plan(&[(25.0, "200ms"), (100.0, "200ms")], Value::Null)).await.ok();
    api.post("/v1/splits/second/rollout", &bad).await.ok();
    eventually("the bad one is aborted", async || {
        let rollout = api.get("/v1/splits/second/rollout").await.ok();
        (rollout["state"] == "aborted").then_some(())
    })
    .await;
    api.state("succeeded").await;
    let splits = api.get("/v1/splits").await.ok();
    let states: Vec<&Value> =
        splits["splits"].as_array().unwrap().iter().map(|split| &split["rollout"]["state"]).collect();
    println!("{states:?}");
    assert!(states.contains(&&json!("aborted")) && states.contains(&&json!("succeeded")), "{states:?}");
    visitors.stop().await.assert_clean(20);
    let tally = seconds.stop().await;
    assert!(tally.hurt_beside("other") == 0 && tally.of("other") > 0, "{:?}", tally.answers);
}
