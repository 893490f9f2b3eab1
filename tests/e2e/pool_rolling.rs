//! What runs behind a pool is replaced endpoint by endpoint, and nobody notices.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::ask;
use crate::harness::config::{QUICK_HEALTH, one_pool_rest, with};
use crate::harness::load::Load;
use crate::harness::{Deployer, Request, Tidegate, Upstream, eventually};

const ROLLOUT: &str = "/v1/pools/app/rollout";

struct World {
    one: Arc<Upstream>,
    two: Arc<Upstream>,
    deployer: Deployer,
    tidegate: Tidegate,
}

impl World {
    async fn start(pool_keys: &str, plan: &str) -> Self {
        let [one, two] = [Upstream::start("one").await, Upstream::start("two").await].map(Arc::new);
        let deployer = Deployer::start(&[&one, &two], Duration::from_millis(300)).await;
        let hook = deployer.hook();
        let plan = format!("{pool_keys}\n[pools.app.rollout]\nstrategy = \"rolling\"\n{plan}\n{hook}\n");
        let tidegate = Tidegate::start(&with(&one_pool_rest(&[&one, &two], &plan, ""))).await;
        let world = Self { one, two, deployer, tidegate };
        eventually("both are up", async || (world.states().await == ["up", "up"]).then_some(())).await;
        world
    }

    async fn states(&self) -> Vec<String> {
        let pool = self.tidegate.api().get("/v1/pools/app").await.ok();
        let endpoints = pool["endpoints"].as_array().unwrap();
        endpoints.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let rollout = self.tidegate.api().get(ROLLOUT).await.ok();
            holds(&rollout).then_some(rollout)
        })
        .await
    }
}

#[tokio::test]
async fn endpoints_are_replaced_under_load() {
    for pool_keys in [QUICK_HEALTH, ""] {
        let world = World::start(pool_keys, "").await;
        let load = Load::start(world.tidegate.web(), 4, &Request::get("/"));
        load.flows(100).await;
        world.tidegate.api().post(ROLLOUT, &Value::Null).await.ok();
        let done = world.until("it ends", |r| r["ended"] != Value::Null).await;
        assert_eq!(done["state"], "succeeded", "{done}");
        load.flows(100).await;
        load.stop().await.assert_clean(200);
        let called: Vec<Value> = world.deployer.calls().iter().map(|call| call["endpoint"].clone()).collect();
        assert_eq!(called, [json!(world.one.address().to_string()), json!(world.two.address().to_string())]);
        assert_eq!(world.states().await, ["up", "up"]);
    }
}

#[tokio::test]
async fn a_hook_that_refuses_holds_it_and_an_abort_brings_all_back() {
    let world = World::start(QUICK_HEALTH, "").await;
    let api = world.tidegate.api();
    world.deployer.refuses();
    let load = Load::start(world.tidegate.web(), 2, &Request::get("/"));
    api.post(ROLLOUT, &Value::Null).await.ok();
    world.until("it is held", |r| r["held"]["by"] == "hook").await;
    assert_eq!(world.states().await, ["drained", "up"]);
    api.post(ROLLOUT, &Value::Null).await.problem(409);
    let aborted = api.post(&format!("{ROLLOUT}/abort"), &Value::Null).await.ok();
    assert_eq!(aborted["state"], "aborted");
    assert_eq!(world.states().await, ["up", "up"]);
    let before = world.one.requests();
    load.flows(50).await;
    load.stop().await.assert_clean(50);
    assert!(world.one.requests() > before, "it takes requests again");
}

#[tokio::test]
async fn what_does_not_come_back_stops_it() {
    let world = World::start(QUICK_HEALTH, "healthy_timeout = \"2s\"").await;
    world.deployer.brings_nothing_back();
    let load = Load::start(world.tidegate.web(), 2, &Request::get("/"));
    world.tidegate.api().post(ROLLOUT, &Value::Null).await.ok();
    let ended = world.until("it is aborted", |r| r["state"] == "aborted").await;
    let why = ended["ended"]["why"].as_str().unwrap();
    assert!(why.contains("not healthy within 2s") && why.contains("stays drained"), "{why}");
    load.flows(50).await;
    load.stop().await.assert_clean(50);
    assert_eq!(world.states().await, ["drained", "up"], "the other was not touched");
    assert_eq!(world.deployer.calls().len(), 1);
    world.one.revive().await;
    let undrain = format!("/v1/pools/app/endpoints/{}/undrain", world.one.address());
    world.tidegate.api().post(&undrain, &Value::Null).await.ok();
    eventually("it is up again", async || (world.states().await == ["up", "up"]).then_some(())).await;
}

#[tokio::test]
async fn it_stands_still_after_a_restart() {
    let folder = tempfile::TempDir::new().unwrap();
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await].map(Arc::new);
    let deployer = Deployer::start(&[&one, &two], Duration::from_millis(50)).await;
    deployer.refuses();
    let plan = format!("[pools.app.rollout]\nstrategy = \"rolling\"\n{}\n", deployer.hook());
    let rest = one_pool_rest(&[&one, &two], &plan, "");
    let file = crate::harness::config::with_listener("", "state_dir = \"state\"", &rest);
    let mut tidegate = Tidegate::start_in(folder.path(), &file).await;
    tidegate.api().post(ROLLOUT, &Value::Null).await.ok();
    eventually("the hook is asked", async || (!deployer.calls().is_empty()).then_some(())).await;
    tidegate.kill();
    deployer.works();
    let asked = deployer.calls().len();
    let tidegate = Tidegate::start_again(folder.path()).await;
    let rollout = tidegate.api().get(ROLLOUT).await.ok();
    assert_eq!((&rollout["state"], &rollout["paused"]["by"]), (&json!("paused"), &json!("restart")));
    assert_eq!(tidegate.api().endpoint("app", one.address()).await["state"], "drained");
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "two");
    assert_eq!(deployer.calls().len(), asked, "nothing goes on by itself");
    tidegate.api().post(&format!("{ROLLOUT}/resume"), &Value::Null).await.ok();
    eventually("it succeeds", async || {
        (tidegate.api().get(ROLLOUT).await.ok()["state"] == "succeeded").then_some(())
    })
    .await;
}
