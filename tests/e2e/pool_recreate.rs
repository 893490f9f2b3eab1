//! All that runs behind a pool is replaced at once, while requests wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::config::{QUICK_HEALTH, one_pool_rest, with};
use crate::harness::load::Load;
use crate::harness::{Client, Deployer, Fail, Request, Response, Tidegate, Upstream, eventually};

const ROLLOUT: &str = "/v1/pools/app/rollout";

struct World {
    upstream: Arc<Upstream>,
    deployer: Deployer,
    tidegate: Tidegate,
}

impl World {
    async fn start(pool_keys: &str, plan: &str, route_keys: &str) -> Self {
        let upstream = Arc::new(Upstream::start("one").await);
        let deployer = Deployer::start(&[&upstream], Duration::from_millis(700)).await;
        let hook = deployer.hook();
        let plan = format!("{pool_keys}\n[pools.app.rollout]\nstrategy = \"recreate\"\n{plan}\n{hook}\n");
        let tidegate = Tidegate::start(&with(&one_pool_rest(&[&upstream], &plan, route_keys))).await;
        Self { upstream, deployer, tidegate }
    }

    /// The pool is away, and stays so until an abort.
    async fn hold(&self) {
        self.deployer.refuses();
        self.post("").await;
        self.until("the hook holds it", |r| r["held"]["by"] == "hook").await;
    }

    async fn post(&self, verb: &str) -> Value {
        self.tidegate.api().post(&format!("{ROLLOUT}{verb}"), &Value::Null).await.ok()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let rollout = self.tidegate.api().get(ROLLOUT).await.ok();
            holds(&rollout).then_some(rollout)
        })
        .await
    }

    async fn until_waiting(&self, count: u64) {
        self.until(&format!("{count} wait"), |r| r["waiting_requests"] == count).await;
    }

    fn send(&self, request: Request) -> JoinHandle<Result<Response, Fail>> {
        let mut client = Client::new(self.tidegate.web());
        tokio::spawn(async move { client.send(&request).await })
    }
}

#[track_caller]
fn assert_overloaded(response: &Response) {
    assert_eq!((response.status, response.header("x-tidegate-error")), (503, Some("overloaded")));
    let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!(after >= 1, "{after}");
}

#[tokio::test]
async fn requests_wait_and_then_flow() {
    for pool_keys in [QUICK_HEALTH, ""] {
        let world = World::start(pool_keys, "", "").await;
        let load = Load::start(world.tidegate.web(), 4, &Request::get("/"));
        load.flows(100).await;
        world.post("").await;
        world.until_waiting(4).await;
        let explained = world.tidegate.api().post("/v1/explain", &json!({ "path": "/" })).await.ok();
        assert_eq!((&explained["waits"], &explained["pool"]), (&json!(true), &json!("app")));
        let done = world.until("it ends", |r| r["ended"] != Value::Null).await;
        assert_eq!(done["state"], "succeeded", "{done}");
        world.until_waiting(0).await;
        load.flows(100).await;
        load.stop().await.assert_clean(200);
        let address = world.upstream.address().to_string();
        let calls = world.deployer.calls();
        assert_eq!((calls.len(), &calls[0]["endpoints"]), (1, &json!([address])));
    }
}

#[tokio::test]
async fn what_is_in_flight_finishes_before_the_hook_is_called() {
    let world = World::start("", "", "").await;
    let slow = world.send(Request::get("/?do=delay:1500"));
    eventually("it is in flight", async || (world.upstream.active() == 1).then_some(())).await;
    world.post("").await;
    world.until("the pool is away", |r| r["endpoints"][0]["state"] == "draining").await;
    let next = world.send(Request::post("/", b"a body"));
    world.until_waiting(1).await;
    assert!(world.deployer.calls().is_empty());
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert_eq!(next.await.unwrap().unwrap().status, 200);
    assert_eq!(world.deployer.calls().len(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_an_abort_lets_all_flow() {
    let world = World::start("", "queue = 2\nqueue_timeout = \"60s\"", "").await;
    world.hold().await;
    let gone = world.send(Request::get("/"));
    let waiting = world.send(Request::get("/"));
    world.until_waiting(2).await;
    let metrics = world.tidegate.api().metrics().await;
    assert_eq!(metric(&metrics, "tidegate_requests_waiting", &[("pool", "app")]), Some(2.0));
    let start = Instant::now();
    assert_overloaded(&ask(world.tidegate.web(), &Request::get("/")).await);
    assert!(start.elapsed() < Duration::from_secs(5));
    gone.abort();
    world.until_waiting(1).await;
    let post = world.send(Request::post("/?do=echo", &vec![b'x'; 200_000]));
    world.until_waiting(2).await;
    world.tidegate.api().post(&format!("{ROLLOUT}/pause"), &Value::Null).await.problem(409);
    world.post("/abort").await;
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    assert_eq!(post.await.unwrap().unwrap().status, 200);
    world.until_waiting(0).await;
    let metrics = world.tidegate.api().metrics().await;
    let failures = metric(&metrics, "tidegate_failures_total", &[("pool", "app")]).unwrap_or(0.0);
    assert!(failures == 0.0, "a limit of ours is nobody's failure: {failures}");
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let world = World::start("", "queue_timeout = \"600ms\"", "").await;
    world.hold().await;
    let mut client = Client::new(world.tidegate.web());
    for _ in 0..2 {
        let start = Instant::now();
        assert_overloaded(&client.ask(&Request::get("/")).await);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(590) && took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(client.connects, 1, "the connection stays");
    world.until_waiting(0).await;

    let world = World::start("", "queue_timeout = \"60s\"", "timeout = \"500ms\"").await;
    world.hold().await;
    let response = ask(world.tidegate.web(), &Request::get("/")).await;
    assert_eq!((response.status, response.header("x-tidegate-error")), (504, Some("upstream_timeout")));
}

#[tokio::test]
async fn nobody_waits_for_what_does_not_come_back() {
    let world = World::start(QUICK_HEALTH, "healthy_timeout = \"2s\"", "").await;
    world.deployer.brings_nothing_back();
    world.post("").await;
    world.until("the pool is away", |r| r["endpoints"][0]["state"] != "waiting").await;
    let waiting = world.send(Request::get("/"));
    let ended = world.until("it is aborted", |r| r["state"] == "aborted").await;
    assert!(ended["ended"]["why"].as_str().unwrap().contains("not healthy within 2s"), "{ended}");
    assert!(waiting.await.unwrap().unwrap().status >= 500);
    world.upstream.revive().await;
    eventually("it serves again", async || {
        (ask(world.tidegate.web(), &Request::get("/")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_held_after_a_restart() {
    let folder = tempfile::TempDir::new().unwrap();
    let upstream = Arc::new(Upstream::start("one").await);
    let deployer = Deployer::start(&[&upstream], Duration::from_millis(50)).await;
    deployer.refuses();
    let plan = format!("[pools.app.rollout]\nstrategy = \"recreate\"\n{}\n", deployer.hook());
    let rest = one_pool_rest(&[&upstream], &plan, "");
    let file = crate::harness::config::with_listener("", "state_dir = \"state\"", &rest);
    let mut tidegate = Tidegate::start_in(folder.path(), &file).await;
    tidegate.api().post(ROLLOUT, &Value::Null).await.ok();
    eventually("the hook is asked", async || (!deployer.calls().is_empty()).then_some(())).await;
    tidegate.kill();
    let tidegate = Tidegate::start_again(folder.path()).await;
    let rollout = tidegate.api().get(ROLLOUT).await.ok();
    assert_eq!((&rollout["state"], &rollout["ended"]["by"]), (&json!("aborted"), &json!("restart")));
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
}
