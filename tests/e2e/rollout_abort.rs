//! Abort is legal in every state, twice, and during anything else; once it is answered no kill undoes it.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::hooks::{Answer, Hooks};
use crate::harness::rollouts::{ROLLOUT, config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Api, Client, Dice, Request, Tidegate, Upstream, eventually, within};

/// Two versions and a process whose state folder outlives it.
struct Scene {
    stable: Upstream,
    canary: Upstream,
    folder: TempDir,
    tidegate: Tidegate,
}

const BEFORE: [&str; 6] = ["held", "running", "paused", "baking", "succeeded", "aborted"];

impl Scene {
    async fn new() -> Self {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let folder = TempDir::new().unwrap();
        let text = config(&[&stable], &[&canary], "state_dir = \"state\"", "");
        let tidegate = Tidegate::start_in(folder.path(), &text).await;
        Self { stable, canary, folder, tidegate }
    }

    fn text(&self) -> String {
        config(&[&self.stable], &[&self.canary], "state_dir = \"state\"", "")
    }

    /// Kill it, start it again, and see that the rollout is aborted, as it was said to be.
    async fn is_aborted_after_a_kill(&mut self) {
        self.tidegate.kill();
        self.tidegate = Tidegate::start_again(self.folder.path()).await;
        assert_aborted(&self.tidegate.api()).await;
    }
}

/// The rollout is aborted, and the baseline has everything.
async fn assert_aborted(api: &Api) {
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "aborted", "{rollout:#}");
    api.assert_share(0.0).await;
    let explained =
        json!({ "method": "GET", "host": "shop.test", "path": "/", "headers": { "x-user-id": "a" } });
    assert_eq!(api.post("/v1/explain", &explained).await.ok()["pool"], "stable");
}

/// A rollout that has come to this state.
async fn reach(state: &str, api: &Api, hooks: &Hooks) {
    let more = match state {
        "held" => json!({ "hooks": [{ "on": "start", "url": hooks.url("/no") }] }),
        "baking" => json!({ "bake": "10m" }),
        _ => Value::Null,
    };
    let steps = match state {
        "baking" | "succeeded" => vec![(50.0, "0s"), (100.0, "0s")],
        _ => vec![(25.0, "5m"), (100.0, "5m")],
    };
    api.start(&plan(&steps, more)).await.ok();
    match state {
        "held" => {
            api.rollout_until("it is held", |rollout| rollout["held"]["by"] == "hook").await;
        }
        "running" => api.share_is(0.25).await,
        "paused" => {
            api.share_is(0.25).await;
            api.verb("pause").await.ok();
        }
        "aborted" => {
            api.verb("abort").await.ok();
        }
        _ => {
            api.state(state).await;
            api.share_is(1.0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_every_state_and_twice_and_no_kill_undoes_it() {
    let mut scene = Scene::new().await;
    let hooks = Hooks::start().await;
    hooks.answer("/no", Answer::Status(403));
    for state in BEFORE {
        let visitors = Visitors::start(scene.tidegate.web(), &Crowd::of(200));
        let api = scene.tidegate.api();
        reach(state, &api, &hooks).await;
        let told = api.verb("abort").await.ok();
        assert_eq!(told["state"], "aborted", "{state}: {told:#}");
        assert_aborted(&api).await;
        let again = api.verb("abort").await.ok();
        assert_eq!(again["state"], "aborted", "{state}: {again:#}");
        assert_eq!(
            (&again["id"], &again["ended"]),
            (&told["id"], &told["ended"]),
            "{state}: the first one counts"
        );
        assert_aborted(&api).await;
        visitors.flow(1).await;
        visitors.stop().await.assert_clean(1);
        scene.is_aborted_after_a_kill().await;
        println!("{state}: aborted, twice, and after a kill");
    }
}

#[tokio::test]
async fn where_there_is_no_rollout_there_is_nothing_to_abort() {
    let scene = Scene::new().await;
    let api = scene.tidegate.api();
    for verb in ["abort", "pause", "resume", "promote"] {
        api.verb(verb).await.problem(404);
        api.post(&format!("/v1/splits/nobody/rollout/{verb}"), &Value::Null).await.problem(404);
    }
}

#[tokio::test]
async fn a_revert_while_it_bakes_is_an_abort() {
    let scene = Scene::new().await;
    let hooks = Hooks::start().await;
    let api = scene.tidegate.api();
    let visitors = Visitors::start(scene.tidegate.web(), &Crowd::of(200));
    reach("baking", &api, &hooks).await;
    api.post("/v1/splits/shop/revert", &Value::Null).await.ok();
    assert_aborted(&api).await;
    visitors.stop().await.assert_clean(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_reloads_it_holds() {
    let scene = Scene::new().await;
    let hooks = Hooks::start().await;
    let api = scene.tidegate.api();
    for round in 0..3 {
        reach("running", &api, &hooks).await;
        let (text, reloading) = (scene.text(), api.clone());
        let path = scene.tidegate.config_path();
        let reloads = tokio::spawn(async move {
            for number in 0..20 {
                let route = format!(
                    "[[routes]]\nname = \"extra\"\nhosts = [\"x{round}-{number}.test\"]\npool = \"stable\"\n"
                );
                let beside = path.with_extension("next");
                std::fs::write(&beside, format!("{text}\n{route}")).unwrap();
                std::fs::rename(beside, &path).unwrap();
                reloading.post("/v1/config/reload", &Value::Null).await.ok();
            }
        });
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        api.verb("abort").await.ok();
        assert_aborted(&api).await;
        reloads.await.unwrap();
        assert_aborted(&api).await;
    }
}

/// Ask for an abort on a process that may be on its way out: whether it was answered.
async fn tried(tidegate: &Tidegate) -> bool {
    let admin = tidegate.admin();
    let request = Request::new("POST", &format!("{ROLLOUT}/abort")).host(&admin.to_string());
    Client::new(admin).send(&request).await.is_ok_and(|response| response.status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_shuts_down_it_is_kept_or_not_answered() {
    let mut dice = Dice::fresh();
    let mut scene = Scene::new().await;
    let hooks = Hooks::start().await;
    let mut answered = 0;
    for round in 0..4 {
        reach("running", &scene.tidegate.api(), &hooks).await;
        // A request under way keeps it draining for a moment.
        let (mut client, request) = (Client::new(scene.tidegate.web()), Request::get("/?do=delay:300"));
        let pending = tokio::spawn(async move { client.send(&request).await });
        eventually("it is in flight", async || {
            (scene.stable.active() + scene.canary.active() > 0).then_some(())
        })
        .await;
        scene.tidegate.signal("TERM");
        tokio::time::sleep(Duration::from_millis(dice.below(100) * round)).await;
        let was_answered =
            within(Duration::from_secs(10), "an answer, or none", tried(&scene.tidegate)).await;
        answered += usize::from(was_answered);
        assert_eq!(scene.tidegate.ended(Duration::from_secs(20)).await.code(), Some(0));
        assert_eq!(pending.await.unwrap().unwrap().status, 200);
        scene.tidegate = Tidegate::start_again(scene.folder.path()).await;
        let api = scene.tidegate.api();
        if was_answered {
            assert_aborted(&api).await;
        } else {
            // Nobody was told; a restart pauses, and then it is aborted.
            let state = api.rollout().await["state"].clone();
            assert!(state == "paused" || state == "aborted", "{state}");
            api.verb("abort").await.ok();
            assert_aborted(&api).await;
        }
    }
    println!("answered while it shut down: {answered} of 4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_it_aborted_or_paused() {
    let mut dice = Dice::fresh();
    let mut scene = Scene::new().await;
    let hooks = Hooks::start().await;
    let mut kept = 0;
    for _ in 0..6 {
        reach("running", &scene.tidegate.api(), &hooks).await;
        let admin = scene.tidegate.admin();
        let aborting = tokio::spawn(async move {
            let request = Request::new("POST", &format!("{ROLLOUT}/abort")).host(&admin.to_string());
            Client::new(admin).send(&request).await.is_ok_and(|response| response.status == 200)
        });
        tokio::time::sleep(Duration::from_micros(dice.below(8000))).await;
        scene.tidegate.kill();
        let answered = aborting.await.unwrap();
        scene.tidegate = Tidegate::start_again(scene.folder.path()).await;
        let api = scene.tidegate.api();
        let state = api.rollout().await["state"].clone();
        assert!(state == "aborted" || (!answered && state == "paused"), "answered: {answered}, now {state}");
        kept += usize::from(state == "aborted");
        api.verb("abort").await.ok();
        assert_aborted(&api).await;
    }
    println!("aborted before the kill: {kept} of 6");
}
