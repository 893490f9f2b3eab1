//! Every verdict is explained, with the same figures wherever one looks: in the rollout, the history, the events
//! and the log.

use serde_json::{Value, json};

use crate::harness::api::metric;
use crate::harness::events::Events;
use crate::harness::rollouts::{config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Tidegate, Upstream, eventually};

/// A verdict, wherever in this it is: by its action.
fn find<'a>(value: &'a Value, action: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) if map.get("action").is_some_and(|own| own == action) => Some(value),
        Value::Object(map) => map.values().find_map(|inner| find(inner, action)),
        Value::Array(all) => all.iter().find_map(|inner| find(inner, action)),
        _ => None,
    }
}

/// All that a verdict has to say of a candidate that failed.
fn assert_explained(verdict: &Value, canary: &Upstream) {
    for side in ["candidate", "baseline"] {
        let counts = &verdict[side];
        assert!(counts["requests"].as_u64() > Some(0), "{side} in {verdict:#}");
        assert!(counts["failures"].is_u64() && counts["users"].is_u64(), "{side} in {verdict:#}");
    }
    assert!(verdict["candidate"]["failures"].as_u64() > verdict["baseline"]["failures"].as_u64());
    assert_eq!((verdict["step"].as_u64(), verdict["percent"].as_f64()), (Some(1), Some(20.0)));
    assert!(verdict["generation"].is_u64() && verdict["time"].is_string(), "{verdict:#}");
    assert!(verdict["why"].as_str().is_some_and(|why| why.len() > 10), "{verdict:#}");
    let tests = verdict["tests"].as_array().expect("tests");
    let test = |name: &str| tests.iter().find(|test| test["name"] == name);
    let crossed = test(verdict["by"].as_str().expect("by a test")).expect("the test it was decided by");
    assert_eq!(crossed["crossed"], true);
    assert!(crossed["log10_e"].as_f64() >= crossed["log10_boundary"].as_f64(), "{crossed}");
    assert!(test("overall_ratio").is_some(), "the other tests are told, too: {tests:?}");
    let failures = verdict["failures"].as_array().expect("the last failures");
    assert!((1..=20).contains(&failures.len()), "{} of 20", failures.len());
    for failure in failures {
        assert_eq!((&failure["route"], &failure["status"]), (&json!("all"), &json!(500)), "{failure}");
        assert_eq!(failure["endpoint"], canary.address().to_string(), "{failure}");
        for key in ["time", "reason", "request_id"] {
            assert!(failure[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {failure}");
        }
    }
    let endpoints = verdict["endpoints"].as_object().expect("endpoints");
    assert!(endpoints.get(&canary.address().to_string()).and_then(Value::as_u64) > Some(0), "{endpoints:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_is_explained_in_the_rollout_the_history_the_events_and_the_log() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    let guard = json!({ "max_failure_rate": 0.02, "latency": { "quantile": 0.99, "max": "5s", "ratio": 5 } });
    canary.behave("fail:500");
    api.start(&plan(&[(20.0, "5m"), (100.0, "5m")], json!({ "guard": guard }))).await.ok();
    let rollout = api.state("aborted").await;
    visitors.stop().await;
    let verdict = find(&rollout["verdicts"], "abort").expect("a verdict");
    println!("{verdict:#}");
    assert_explained(verdict, &canary);
    assert_eq!(
        verdict["tests"].as_array().map(Vec::len),
        Some(5),
        "each test of the plan: {}",
        verdict["tests"]
    );
    assert_eq!(rollout["ended"]["by"], "guard", "{rollout:#}");
    let told = events.next("verdict").await;
    let in_event = find(&told, "abort").expect("the event has it");
    let history = api.get("/v1/history").await.ok();
    let in_history = find(&history, "abort").unwrap_or_else(|| panic!("the history has it: {history:#}"));
    for other in [in_event, in_history] {
        for key in ["by", "why", "step", "percent", "candidate", "baseline", "tests", "failures", "endpoints"]
        {
            assert_eq!(other[key], verdict[key], "{key}");
        }
    }
    // The log's line, which may write nested values as text.
    let (why, by) = (verdict["why"].as_str().unwrap(), verdict["by"].as_str().unwrap());
    let id = verdict["failures"][0]["request_id"].as_str().unwrap();
    let is_it = |line: &Value| [why, by, id].iter().all(|part| line.to_string().contains(part));
    let line = eventually("the log has it", async || tidegate.out.json().into_iter().find(is_it)).await;
    println!("logged as {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_is_explained_as_well() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    api.start(&plan(&[(20.0, "200ms"), (100.0, "0s")], Value::Null)).await.ok();
    let rollout = api.state("succeeded").await;
    visitors.stop().await.assert_clean(20);
    let verdict = find(&rollout["verdicts"], "pass").expect("a verdict");
    println!("{verdict:#}");
    assert_eq!((verdict["step"].as_u64(), verdict["percent"].as_f64()), (Some(1), Some(20.0)));
    assert!(verdict["candidate"]["requests"].as_u64() >= Some(10), "{verdict:#}");
    assert!(
        verdict["tests"].as_array().is_some_and(|tests| tests.iter().all(|test| test["crossed"] != true))
    );
    let told = events.next("verdict").await;
    assert_eq!(find(&told, "pass").map(|own| &own["step"]), Some(&verdict["step"]), "{told:#}");
    assert!(find(&api.get("/v1/history").await.ok(), "pass").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_the_state_and_the_evidence() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    let api = tidegate.api();
    let state = async |state: &str| {
        metric(&api.metrics().await, "tidegate_rollout_state", &[("split", "shop"), ("state", state)])
    };
    let evidence = async || {
        let labels = [("split", "shop"), ("guard", "failure_ratio")];
        metric(&api.metrics().await, "tidegate_rollout_evidence", &labels)
    };
    assert!(state("running").await.is_none_or(|value| value == 0.0), "there is no rollout");
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(200));
    api.start(&plan(&[(20.0, "5m")], Value::Null)).await.ok();
    api.share_is(0.2).await;
    visitors.flow(100).await;
    assert_eq!((state("running").await, state("aborted").await.unwrap_or(0.0)), (Some(1.0), 0.0));
    assert!(evidence().await.is_some_and(|value| value < 3.0), "{:?}", evidence().await);
    canary.behave("status:500");
    api.state("aborted").await;
    assert_eq!((state("aborted").await, state("running").await.unwrap_or(0.0)), (Some(1.0), 0.0));
    let last = evidence().await;
    println!("log10 of the e-value at the verdict: {last:?}");
    assert!(last.is_none_or(|value| value >= 3.0), "{last:?}");
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_and_time_left_are_told_while_it_runs() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    api.start(&plan(&[(20.0, "5m"), (100.0, "5m")], json!({ "min_requests": 50 }))).await.ok();
    let rollout = api
        .rollout_until("evidence is told", |rollout| {
            rollout["evidence"]["candidate"]["requests"].as_u64() >= Some(50)
        })
        .await;
    println!("{rollout:#}");
    for key in ["split", "id", "generation", "strategy", "steps", "started", "elapsed", "time_left", "plan"] {
        assert!(!rollout[key].is_null(), "{key} in {rollout:#}");
    }
    assert_eq!((rollout["share"].as_f64(), rollout["step"].as_u64()), (Some(0.2), Some(1)));
    assert_eq!(rollout["min_requests"], 50);
    assert!(rollout["step_requests"].as_u64() >= Some(50), "{rollout:#}");
    for side in ["candidate", "baseline"] {
        let side = &rollout["evidence"][side];
        let (rate, interval) = (side["failure_rate"].as_f64().unwrap(), &side["interval"]);
        assert!(interval[0].as_f64() <= Some(rate) && Some(rate) <= interval[1].as_f64(), "{side}");
        assert!(
            side["p50_ms"].as_f64() > Some(0.0) && side["p50_ms"].as_f64() <= side["p99_ms"].as_f64(),
            "{side}"
        );
    }
    let excluded = rollout["evidence"]["excluded"].as_object().expect("what is left out");
    assert!(excluded.contains_key("client_gone") && excluded.contains_key("override"), "{excluded:?}");
    let split = api.get("/v1/splits/shop").await.ok();
    assert_eq!(split["rollout"]["state"], "running", "{split:#}");
    visitors.stop().await.assert_clean(100);
}
