//! Rollouts as their callers see them, with a controller that runs, and traffic put into the ledger.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidegate_core::ledger::{Ended, FailedRequest, Side};
use tidegate_core::record::Failure;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::harness::{Admin, config, eventually};
use crate::control_rollouts;

const ROLLOUT: &str = "/v1/splits/checkout/rollout";
const WEIGHTS: &str = "/v1/splits/checkout/weights";

const PLAN: &str = r#"
[splits.checkout.rollout]
baseline = "stable"
candidate = "canary"
steps = [{ percent = 20 }, { percent = 50 }, { percent = 100 }]
min_requests = 10
bake = "100ms"
"#;

/// An admin API with its controller.
fn start(more: &str) -> Admin {
    let admin = Admin::start(&config(more));
    tokio::spawn(control_rollouts(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    admin
}

/// Lets requests of users `from` and later end on one side, as the data plane does.
fn traffic(admin: &Admin, side: Side, from: u64, count: u64, failure: Option<Failure>) {
    let table = admin.control.live().snapshot();
    let split = table.split_named("checkout").expect("it is there");
    let Some(watch) = &split.watch else { return };
    for n in from..from + count {
        let key = tidegate_core::split::mix(n);
        let ticket = watch.ledger.begin(side, Some(key), admin.control.clock().mono_ms(), key);
        watch.ledger.end(ticket, Ended { failure, us: Some(1_000) });
        if side == Side::Candidate && failure.is_some() {
            watch.ledger.note_failure(|| FailedRequest {
                time_ms: 1_795_185_019_250,
                route: "checkout".into(),
                status: 502,
                reason: "connect".into(),
                endpoint: Some("127.0.0.1:9002".into()),
                request_id: format!("r-{n}"),
            });
        }
    }
}

/// Good traffic on both sides until something holds of the rollout.
async fn until(admin: &Admin, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for round in 0..400_u64 {
        traffic(admin, Side::Candidate, 1_000_000 + round * 100, 20, None);
        traffic(admin, Side::Baseline, 9_000_000 + round * 100, 80, None);
        let rollout = admin.get(ROLLOUT).await.ok();
        if holds(&rollout) {
            return rollout;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it never came about that {what}: {}", admin.get(ROLLOUT).await.ok());
}

#[tokio::test]
async fn a_file_s_plan_runs_to_its_end() {
    let admin = start(PLAN);
    admin.get(ROLLOUT).await.refused(404);
    let answer = admin.post(ROLLOUT, "").await;
    let rollout = answer.ok();
    assert_eq!(answer.header("etag"), Some("\"2\""));
    assert_eq!(
        (&rollout["state"], &rollout["step"], &rollout["percent"]),
        (&json!("running"), &json!(1), &json!(20.0))
    );
    assert_eq!((&rollout["share"], &rollout["strategy"]), (&json!(0.2), &json!("canary")));
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!(
        (&split["source"], &split["weights"]),
        (&json!("rollout"), &json!({"canary": 20, "stable": 80}))
    );
    assert_eq!(split["rollout"]["state"], "running");
    let rollout = until(&admin, "it succeeds", |r| r["state"] == "succeeded").await;
    assert_eq!((&rollout["share"], &rollout["ended"]["by"]), (&json!(1.0), &json!("rollout")));
    let passes: Vec<_> =
        rollout["verdicts"].as_array().expect("a list").iter().map(|v| &v["action"]).collect();
    assert_eq!(json!(passes), json!(["pass", "pass", "pass", "pass"]));
    let history = admin.get("/v1/history").await.ok();
    let actions: Vec<_> =
        history["history"].as_array().expect("a list").iter().map(|c| &c["action"]).collect();
    assert_eq!(
        json!(actions),
        json!(["rollout_succeed", "rollout_bake", "rollout_step", "rollout_step", "rollout_start", "start"])
    );
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.contains(r#"tidegate_rollout_state{split="checkout",state="succeeded"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_bad_candidate_is_aborted_and_the_verdict_explains_it() {
    let admin = start(PLAN);
    let mut events = admin.control.events().subscribe();
    admin.post(ROLLOUT, "{}").await.ok();
    traffic(&admin, Side::Baseline, 1, 400, None);
    traffic(&admin, Side::Candidate, 1_000, 50, Some(Failure::Connect));
    eventually("it is aborted", async || admin.get(ROLLOUT).await.ok()["state"] == "aborted").await;
    let rollout = admin.get(ROLLOUT).await.ok();
    assert_eq!((&rollout["share"], &rollout["ended"]["by"]), (&json!(0.0), &json!("guard")));
    let verdict = &rollout["verdicts"][0];
    assert_eq!((&verdict["action"], &verdict["by"]), (&json!("abort"), &json!("failure_ratio")));
    assert_eq!((&verdict["candidate"]["failures"], &verdict["candidate"]["users"]), (&json!(50), &json!(50)));
    assert_eq!(
        (&verdict["baseline"]["requests"], &verdict["baseline"]["failures"]),
        (&json!(400), &json!(0))
    );
    assert_eq!(verdict["failures"].as_array().map(Vec::len), Some(20));
    assert_eq!(verdict["failures"][19]["request_id"], "r-1049");
    assert_eq!(verdict["endpoints"], json!({"127.0.0.1:9002": 20}));
    let test = &verdict["tests"][0];
    assert_eq!((&test["name"], &test["crossed"]), (&json!("failure_ratio"), &json!(true)));
    assert!(test["log10_e"].as_f64() >= test["log10_boundary"].as_f64(), "{test}");
    let history = admin.get("/v1/history").await.ok();
    let entry = &history["history"][0];
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("rollout_abort"), &json!("guard")));
    assert_eq!(entry["verdict"], *verdict);
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push(event.kind.as_str());
        if event.kind.as_str() == "verdict" {
            assert_eq!(event.detail["split"], "checkout");
            assert_eq!(event.detail["failures"], verdict["failures"]);
        }
    }
    assert_eq!(kinds, ["rollout", "rollout", "verdict"]);
    // It stays so, and an abort of what is aborted is nothing.
    admin.post("/v1/splits/checkout/rollout/abort", "").await.ok();
    admin.post("/v1/splits/checkout/rollout/resume", "").await.refused(409);
    admin.post(ROLLOUT, "").await.ok();
}

#[tokio::test]
async fn bad_calls_say_why() {
    let admin = start(PLAN);
    let plan = json!({"baseline": "stable", "candidate": "canary", "steps": [{"percent": 5, "hold": "10s"}]});
    let with = |key: &str, value: Value| {
        let mut plan = plan.clone();
        plan[key] = value;
        plan.to_string()
    };
    admin.post("/v1/splits/nobody/rollout", "").await.refused(404);
    admin.get("/v1/splits/nobody/rollout").await.refused(404);
    for verb in ["pause", "resume", "promote", "abort"] {
        admin.post(&format!("{ROLLOUT}/{verb}"), "").await.refused(404);
    }
    admin.post(ROLLOUT, &with("stepz", json!([]))).await.refused(400);
    admin.post(ROLLOUT, "nonsense").await.refused(400);
    admin.post(ROLLOUT, &with("candidate", json!("nobody"))).await.refused(422);
    admin.post(ROLLOUT, &with("steps", json!([{"percent": 5}, {"percent": 5}]))).await.refused(422);
    admin.post(ROLLOUT, &with("steps", json!([{"percent": 5, "hold": "-1s"}]))).await.refused(422);
    admin.put("/v1/pools/canary/endpoints", r#"{"endpoints":[]}"#).await.ok();
    admin.post(ROLLOUT, "").await.refused(409);
    admin.put("/v1/pools/canary/endpoints", r#"{"endpoints":["127.0.0.1:9002"]}"#).await.ok();
    admin.post(ROLLOUT, &with("reason", json!("v2"))).await.ok();
    let second = admin.post(ROLLOUT, "").await.refused(409);
    assert!(
        second["detail"].as_str().expect("text").contains("rollout 4 from `stable` to `canary`"),
        "{second}"
    );
    admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.refused(409);
    let stale = [("if-match", "\"1\"")];
    admin.call("POST", &format!("{ROLLOUT}/pause"), &stale, None).await.refused(412);
    admin.call("POST", &format!("{ROLLOUT}/abort"), &stale, None).await.ok();
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"], json!({"canary": 0, "stable": 100}));
    let forced = r#"{"weights":{"stable":1,"canary":1},"force":true}"#;
    admin.post(ROLLOUT, "").await.ok();
    assert_eq!(admin.put(WEIGHTS, forced).await.ok()["rollout"]["state"], "aborted");
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let admin = start(PLAN);
    let shown = admin.post(&format!("{ROLLOUT}?dry_run=true"), "").await.ok();
    assert_eq!(
        (&shown["dry_run"], &shown["state"], &shown["share"]),
        (&json!(true), &json!("running"), &json!(0.2))
    );
    assert_eq!(shown["after"]["splits"]["checkout"]["weights"]["canary"], 20);
    admin.get(ROLLOUT).await.refused(404);
}

/// A hook that answers with what it is set to, and keeps what it was told.
struct Hook {
    address: std::net::SocketAddr,
    status: Arc<Mutex<u16>>,
    heard: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    async fn start(status: u16) -> Self {
        type Shared = (Arc<Mutex<u16>>, Arc<Mutex<Vec<Value>>>);
        async fn answer(
            State((status, heard)): State<Shared>,
            axum::Json(body): axum::Json<Value>,
        ) -> StatusCode {
            heard.lock().push(body);
            StatusCode::from_u16(*status.lock()).expect("a status")
        }
        let shared: Shared = (Arc::new(Mutex::new(status)), Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/hook", post(answer)).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, status: shared.0, heard: shared.1, task }
    }

    fn plan(&self, on: &[&str]) -> String {
        let hook = |on: &&str| {
            let address = self.address;
            format!("[[splits.checkout.rollout.hooks]]\non = \"{on}\"\nurl = \"http://{address}/hook\"\n")
        };
        let hooks: Vec<String> = on.iter().map(hook).collect();
        let hooks = hooks.concat();
        format!("{PLAN}{hooks}")
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().clone()
    }
}

#[tokio::test]
async fn hooks_hold_and_let_go_and_are_told() {
    let hook = Hook::start(403).await;
    let admin = start(&hook.plan(&["start", "before_promote", "success"]));
    let begun = admin.post(ROLLOUT, "").await.ok();
    assert_eq!((&begun["step"], &begun["share"]), (&json!(0), &json!(0.0)));
    let held =
        until(&admin, "it is held", |r| r["held"]["why"].as_str().is_some_and(|w| w.contains("403"))).await;
    assert_eq!(
        (&held["held"]["by"], &held["state"], &held["share"]),
        (&json!("hook"), &json!("running"), &json!(0.0))
    );
    *hook.status.lock() = 200;
    until(&admin, "it goes on", |r| r["step"].as_u64() >= Some(1)).await;
    *hook.status.lock() = 500;
    until(&admin, "it is held again", |r| r["step"] == 2 && r["held"]["by"] == "hook").await;
    admin.post(&format!("{ROLLOUT}/resume"), "").await.ok();
    until(&admin, "it succeeds", |r| r["state"] == "succeeded").await;
    *hook.status.lock() = 200;
    eventually("it is told", async || hook.heard().iter().any(|body| body["on"] == "success")).await;
    let heard = hook.heard();
    assert_eq!(heard[0]["on"], "start");
    assert_eq!(
        (&heard[0]["step"], &heard[0]["percent"], &heard[0]["split"]),
        (&json!(1), &json!(20.0), &json!("checkout"))
    );
    let promote = heard.iter().find(|body| body["on"] == "before_promote").expect("asked");
    assert_eq!((&promote["step"], &promote["percent"]), (&json!(3), &json!(100.0)));
    assert!(promote["evidence"]["candidate"]["requests"].as_u64() >= Some(20), "{promote}");
}

#[tokio::test]
async fn an_abort_holds_with_a_full_disk_and_is_written_down_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.toml");
    let text = config(PLAN).replace("[admin]", "[admin]\nstate_dir = \"state\"");
    std::fs::write(&path, text).expect("written");
    let admin = Admin::start_file(&path);
    tokio::spawn(control_rollouts(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    admin.post(ROLLOUT, "").await.ok();
    admin
        .control
        .with_full_disk(async {
            admin.post(&format!("{ROLLOUT}/pause"), "").await.refused(507);
            let aborted = admin.post(&format!("{ROLLOUT}/abort"), "").await.ok();
            assert_eq!((&aborted["state"], &aborted["durable"]), (&json!("aborted"), &json!(false)));
            let split = admin.get("/v1/splits/checkout").await.ok();
            assert_eq!(split["weights"], json!({"canary": 0, "stable": 100}));
            assert!(admin.get("/v1/status").await.ok()["state"]["failures"].as_u64() >= Some(2));
        })
        .await;
    let journal = folder.path().join("state/journal");
    eventually("it is written down", async || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("rollout_abort"))
    })
    .await;
    admin.stop().await;
    let admin = Admin::start_file(&path);
    assert_eq!(admin.get(ROLLOUT).await.ok()["state"], "aborted");
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 0);
}

#[tokio::test]
async fn a_restart_pauses_at_the_last_share() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.toml");
    let text = config(PLAN).replace("[admin]", "[admin]\nstate_dir = \"state\"");
    std::fs::write(&path, text).expect("written");
    let admin = Admin::start_file(&path);
    admin.post(ROLLOUT, "").await.ok();
    admin.stop().await;
    let admin = Admin::start_file(&path);
    let rollout = admin.get(ROLLOUT).await.ok();
    assert_eq!((&rollout["state"], &rollout["paused"]["by"]), (&json!("paused"), &json!("restart")));
    assert_eq!(rollout["share"], 0.2);
    assert_eq!(admin.post(&format!("{ROLLOUT}/resume"), "").await.ok()["state"], "running");
}

#[tokio::test]
async fn a_drained_candidate_pauses_it() {
    let admin = start(PLAN);
    admin.post(ROLLOUT, "").await.ok();
    admin.post("/v1/pools/canary/drain", "").await.ok();
    eventually("it is paused", async || admin.get(ROLLOUT).await.ok()["state"] == "paused").await;
    let rollout = admin.get(ROLLOUT).await.ok();
    assert!(rollout["paused"]["why"].as_str().expect("text").contains("drained"), "{rollout}");
    assert_eq!(rollout["share"], 0.2);
}
