//! Rollouts of pools as their callers see them, with a controller that runs, a hook and endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::harness::{Admin, eventually};
use crate::control_pool_rollouts;

const ROLLOUT: &str = "/v1/pools/app/rollout";

/// Endpoints that accept connections, and a hook that says what it is told to say.
struct World {
    endpoints: Vec<(SocketAddr, JoinHandle<()>)>,
    hook: SocketAddr,
    status: Arc<Mutex<u16>>,
    heard: Arc<Mutex<Vec<Value>>>,
    admin: Admin,
}

async fn listen() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    (listener.local_addr().expect("bound"), listener)
}

impl World {
    /// A pool `app` of so many endpoints, with a plan in the file.
    async fn new(endpoints: usize, plan: &str) -> Self {
        let mut running = Vec::new();
        for _ in 0..endpoints {
            let (address, listener) = listen().await;
            let accepting = async move { while listener.accept().await.is_ok() {} };
            running.push((address, tokio::spawn(accepting)));
        }
        let (status, heard): (Arc<Mutex<u16>>, Arc<Mutex<Vec<Value>>>) =
            (Arc::new(Mutex::new(200)), Arc::default());
        let (hook, listener) = listen().await;
        let router =
            Router::new().route("/", post(answer)).with_state((Arc::clone(&status), Arc::clone(&heard)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let addresses: Vec<String> = running.iter().map(|(address, _)| address.to_string()).collect();
        let admin = Admin::start(&format!(
            "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\n[admin]\naddress = '127.0.0.1:0'\n\
             [pools.app]\nendpoints = {addresses:?}\n[pools.plain]\nendpoints = ['127.0.0.1:1']\n\
             [[routes]]\nname = 'all'\npool = 'app'\n[pools.app.rollout]\n{plan}\n\
             hooks = [{{ on = 'replace', url = 'http://{hook}/' }}]\n"
        ));
        let controller =
            control_pool_rollouts(Arc::clone(&admin.control), admin.stopping().cancelled_owned());
        tokio::spawn(controller);
        Self { endpoints: running, hook, status, heard, admin }
    }

    fn says(&self, status: u16) {
        *self.status.lock() = status;
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().clone()
    }

    async fn rollout(&self) -> Value {
        self.admin.get(ROLLOUT).await.ok()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || holds(&self.rollout().await)).await;
        self.rollout().await
    }

    /// The states of the pool's endpoints.
    async fn states(&self) -> Vec<String> {
        let pool = self.admin.get("/v1/pools/app").await.ok();
        let endpoints = pool["endpoints"].as_array().expect("a list");
        endpoints.iter().map(|e| e["state"].as_str().expect("a word").to_owned()).collect()
    }

    async fn waits(&self) -> bool {
        let explained = self.admin.post("/v1/explain", r#"{"path":"/"}"#).await.ok();
        explained["waits"].as_bool().expect("true or false")
    }
}

type Shared = (Arc<Mutex<u16>>, Arc<Mutex<Vec<Value>>>);

async fn answer(State((status, heard)): State<Shared>, axum::Json(body): axum::Json<Value>) -> StatusCode {
    heard.lock().push(body);
    StatusCode::from_u16(*status.lock()).expect("a status")
}

#[tokio::test]
async fn endpoints_are_replaced_one_after_another() {
    let world = World::new(2, "strategy = 'rolling'").await;
    let admin = &world.admin;
    admin.get(ROLLOUT).await.refused(404);
    for verb in ["pause", "resume", "abort"] {
        admin.post(&format!("{ROLLOUT}/{verb}"), "").await.refused(404);
    }
    let dry = admin.post(&format!("{ROLLOUT}?dry_run=true"), "").await.ok();
    assert_eq!(
        (&dry["dry_run"], &dry["after"]["pools"]["app"]["rollout"]["state"]),
        (&json!(true), &json!("running"))
    );
    admin.get(ROLLOUT).await.refused(404);
    let answer = admin.post(ROLLOUT, r#"{"reason":"version 2"}"#).await;
    let begun = answer.ok();
    assert_eq!(answer.header("etag"), Some("\"2\""));
    assert_eq!(
        (&begun["id"], &begun["strategy"], &begun["state"]),
        (&json!(2), &json!("rolling"), &json!("running"))
    );
    assert_eq!((&begun["started"]["by"], &begun["started"]["why"]), (&json!("api"), &json!("version 2")));
    assert_eq!(begun["plan"]["max_unavailable"], 1, "defaults are filled in");
    let detail = admin.post(ROLLOUT, "").await.refused(409);
    assert!(detail["detail"].as_str().is_some_and(|d| d.contains("rolling rollout 2")), "{detail}");
    let done = world.until("it has succeeded", |r| r["state"] == "succeeded").await;
    assert_eq!(done["ended"]["by"], "rollout");
    let [one, two] = [0, 1].map(|at| world.endpoints[at].0.to_string());
    assert_eq!(
        done["endpoints"],
        json!([{"address": one, "state": "replaced"}, {"address": two, "state": "replaced"}])
    );
    let called = |endpoint: &str| json!({"on": "replace", "pool": "app", "rollout": 2, "strategy": "rolling", "endpoint": endpoint});
    assert_eq!(world.heard(), [called(&one), called(&two)]);
    assert_eq!(world.states().await, ["up", "up"]);
    let history = admin.get("/v1/history").await.ok();
    let entries = history["history"].as_array().expect("a list");
    let actions: Vec<_> = entries.iter().rev().map(|c| c["action"].as_str().expect("a word")).collect();
    let each = ["rollout_drain", "rollout_replace", "rollout_wait_healthy", "rollout_undrain"];
    assert_eq!(actions, [&["start", "rollout_start"][..], &each, &each, &["rollout_succeed"]].concat());
    assert_eq!(entries[1]["actor"], "rollout");
    admin.post(&format!("{ROLLOUT}/pause"), "").await.refused(409);
    let again = admin.post(&format!("{ROLLOUT}/abort"), "").await.ok();
    assert_eq!(again["state"], "succeeded", "what is done is done");
}

#[tokio::test]
async fn a_hook_that_refuses_holds_it_until_an_abort() {
    let world = World::new(2, "strategy = 'rolling'").await;
    world.says(503);
    world.admin.post(ROLLOUT, "").await.ok();
    let held = world.until("it is held", |r| r["held"]["by"] == "hook").await;
    assert_eq!((&held["state"], &held["endpoints"][0]["state"]), (&json!("running"), &json!("replacing")));
    assert!(held["held"]["why"].as_str().is_some_and(|why| why.contains("503")), "{held}");
    assert_eq!(world.states().await, ["drained", "up"]);
    let undrain = format!("/v1/pools/app/endpoints/{}/undrain", world.endpoints[0].0);
    world.admin.post(&undrain, "").await.refused(409);
    let stale = [("if-match", "\"1\"")];
    world.admin.call("POST", &format!("{ROLLOUT}/pause"), &stale, None).await.refused(412);
    let aborted = world.admin.call("POST", &format!("{ROLLOUT}/abort"), &stale, None).await.ok();
    assert_eq!((&aborted["state"], &aborted["held"]), (&json!("aborted"), &Value::Null));
    assert_eq!(world.states().await, ["up", "up"]);
    assert_eq!(world.admin.post(&format!("{ROLLOUT}/abort"), "").await.ok()["state"], "aborted");
    world.says(200);
    let again = world.admin.post(ROLLOUT, "").await.ok();
    assert!(again["id"].as_u64() > aborted["id"].as_u64(), "another one may start");
    world.until("it has succeeded", |r| r["state"] == "succeeded").await;
}

#[tokio::test]
async fn a_resume_goes_on_without_the_hook() {
    let world = World::new(2, "strategy = 'rolling'").await;
    world.says(500);
    world.admin.post(ROLLOUT, "").await.ok();
    world.until("it is held", |r| r["held"]["by"] == "hook").await;
    world.admin.post(&format!("{ROLLOUT}/resume"), "").await.ok();
    world
        .until("the next is asked for", |r| {
            r["endpoints"][0]["state"] == "replaced" && r["endpoints"][1]["state"] == "replacing"
        })
        .await;
    let paused = world.admin.post(&format!("{ROLLOUT}/pause"), r#"{"reason":"lunch"}"#).await.ok();
    assert_eq!((&paused["state"], &paused["paused"]["why"]), (&json!("paused"), &json!("lunch")));
}

#[tokio::test]
async fn what_does_not_come_back_stays_drained() {
    let world = World::new(2, "strategy = 'rolling'\nhealthy_timeout = '2s'").await;
    world.endpoints[0].1.abort();
    world.admin.post(ROLLOUT, "").await.ok();
    let ended = world.until("it is aborted", |r| r["state"] == "aborted").await;
    let why = ended["ended"]["why"].as_str().expect("a reason");
    assert!(why.contains("not healthy within 2s") && why.contains("stays drained"), "{why}");
    assert_eq!(ended["endpoints"][0]["state"], "failed");
    assert_eq!(ended["endpoints"][1]["state"], "waiting");
    assert_eq!(world.states().await, ["drained", "up"]);
    let undrain = format!("/v1/pools/app/endpoints/{}/undrain", world.endpoints[0].0);
    world.admin.post(&undrain, "").await.ok();
    assert_eq!(world.states().await, ["up", "up"]);
}

#[tokio::test]
async fn a_recreate_holds_the_pool_and_calls_once_for_all() {
    let world = World::new(2, "strategy = 'recreate'").await;
    world.says(500);
    assert!(!world.waits().await);
    world.admin.post(ROLLOUT, "").await.ok();
    let held = world.until("it is held", |r| r["held"]["by"] == "hook").await;
    assert_eq!(held["waiting_requests"], 0);
    assert!(world.waits().await);
    world.admin.post(&format!("{ROLLOUT}/pause"), "").await.refused(409);
    world.says(200);
    let done = world.until("it has succeeded", |r| r["state"] == "succeeded").await;
    assert_eq!(done["endpoints"][1]["state"], "replaced");
    assert!(!world.waits().await);
    let addresses: Vec<_> = world.endpoints.iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!(
        world.heard().last(),
        Some(
            &json!({"on": "replace", "pool": "app", "rollout": 2, "strategy": "recreate", "endpoints": addresses})
        )
    );
    world.says(500);
    world.admin.post(ROLLOUT, "").await.ok();
    world.until("it is held", |r| r["held"]["by"] == "hook").await;
    assert!(world.waits().await);
    world.admin.post(&format!("{ROLLOUT}/abort"), "").await.ok();
    assert!(!world.waits().await, "the answer comes after the swap");
    assert_eq!(world.states().await, ["up", "up"]);
}

#[tokio::test]
async fn plans_that_cannot_be() {
    let world = World::new(1, "strategy = 'recreate'").await;
    let plain = "/v1/pools/plain/rollout";
    let problem = world.admin.post(plain, "").await.refused(422);
    assert!(problem["problems"][0]["message"].as_str().is_some_and(|m| m.contains("no plan")), "{problem}");
    let bad = r#"{"strategy":"rolling","max_unavailable":0,"healthy_timeout":"0s"}"#;
    let problem = world.admin.post(plain, bad).await.refused(422);
    assert_eq!(problem["problems"].as_array().map(Vec::len), Some(3), "all at once: {problem}");
    world.admin.post(plain, r#"{"strategy":"sideways"}"#).await.refused(422);
    world.admin.post(plain, r#"{"strategy":"rolling","colour":1}"#).await.refused(400);
    let good =
        format!(r#"{{"strategy":"rolling","hooks":[{{"on":"replace","url":"http://{}/"}}]}}"#, world.hook);
    let problem = world.admin.post(plain, &good).await.refused(409);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("recreate")), "{problem}");
    world.admin.post("/v1/pools/nobody/rollout", &good).await.refused(404);
    world.admin.get("/v1/pools/nobody/rollout").await.refused(404);
}
