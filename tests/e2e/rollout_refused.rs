//! What cannot be is refused by name and with all its problems, and changes nothing.

use serde_json::{Value, json};

use crate::harness::config::QUICK_HEALTH;
use crate::harness::events::Events;
use crate::harness::rollouts::{ROLLOUT, config, plan};
use crate::harness::{Api, Request, Tidegate, Upstream, eventually};

async fn scene() -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", "")).await;
    (stable, canary, tidegate)
}

fn long() -> Value {
    plan(&[(5.0, "5m"), (100.0, "5m")], Value::Null)
}

/// A change with an `If-Match`.
async fn with_tag(
    api: &Api,
    method: &str,
    path: &str,
    tag: &str,
    body: &Value,
) -> crate::harness::api::Answer {
    let mut request = Request::new(method, path).header("if-match", tag);
    if !body.is_null() {
        request = request.header("content-type", "application/json");
        request.body = body.to_string().into_bytes();
    }
    api.send(request).await
}

/// The split's `ETag`.
async fn tag(api: &Api) -> String {
    let answer = api.get("/v1/splits/shop").await;
    answer.response.header("etag").expect("a split has an ETag").to_owned()
}

#[tokio::test]
async fn a_bad_plan_is_told_all_its_problems() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    let bad = json!({
        "baseline": "stable", "candidate": "canry",
        "steps": [{ "percent": 50, "hold": "1m" }, { "percent": 20, "hold": "1m" }, { "percent": 120, "hold": "1m" }],
        "min_requests": 0,
        "guard": { "failure_ratio": 0.5, "max_failure_rate": 3, "latency": { "quantile": 99 } },
        "hooks": [{ "on": "replace", "url": "nowhere" }],
    });
    let problem = api.start(&bad).await.problem(422);
    let problems = problem["problems"].as_array().expect("problems");
    let paths: Vec<&str> = problems.iter().filter_map(|problem| problem["path"].as_str()).collect();
    println!("{paths:#?}");
    for part in [
        "candidate",
        "steps[1].percent",
        "steps[2].percent",
        "min_requests",
        "failure_ratio",
        "max_failure_rate",
        "quantile",
        "hooks[0].on",
        "hooks[0].url",
    ] {
        assert!(paths.iter().any(|path| path.ends_with(part)), "{part} in {paths:?}");
    }
    let hint =
        problems.iter().find(|problem| problem["path"].as_str().is_some_and(|at| at.ends_with("candidate")));
    assert!(hint.unwrap()["hint"].to_string().contains("canary"), "the nearest name: {hint:?}");
    api.start(&json!({ "baseline": "stable", "candidate": "canary", "stps": [] })).await.problem(400);
    api.get(ROLLOUT).await.problem(404);
    api.assert_share(0.0).await;
}

#[tokio::test]
async fn who_is_not_there_is_404_and_what_cannot_be_now_is_409() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    api.get("/v1/splits/nobody/rollout").await.problem(404);
    api.post("/v1/splits/nobody/rollout", &long()).await.problem(404);
    api.get(ROLLOUT).await.problem(404);
    // The file has no plan that an empty body could start.
    let problem = api.start(&Value::Null).await;
    assert!(matches!(problem.status, 404 | 409 | 422), "{} {}", problem.status, problem.body);
    let first = api.start(&long()).await.ok();
    let problem = api.start(&long()).await.problem(409);
    let id = first["id"].to_string();
    println!("{}", problem["detail"]);
    assert!(problem["detail"].to_string().contains(&id), "it names the first one, {id}: {problem}");
    assert_eq!(api.rollout().await["id"], first["id"], "which goes on");
    api.verb("abort").await.ok();
    for verb in ["pause", "resume", "promote"] {
        api.verb(verb).await.problem(409);
    }
    assert_ne!(api.start(&long()).await.ok()["id"], first["id"], "after the end the next may start");
}

#[tokio::test]
async fn a_candidate_without_endpoints_is_refused_and_one_that_is_down_is_waited_for() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let text = config(&[&stable], &[&canary], "", "").replace("read_timeout = \"2s\"", QUICK_HEALTH);
    let tidegate = Tidegate::start(&text).await;
    let api = tidegate.api();
    let endpoint = json!({ "endpoints": [canary.address().to_string()] });
    api.put("/v1/pools/canary/endpoints", &json!({ "endpoints": [] })).await.ok();
    let problem = api.start(&long()).await.problem(409);
    println!("{}", problem["detail"]);
    assert!(problem["detail"].to_string().contains("canary"), "{problem}");
    api.get(ROLLOUT).await.problem(404);
    canary.set_healthy(false);
    api.put("/v1/pools/canary/endpoints", &endpoint).await.ok();
    let state = async |state: &str| {
        let is = async || (api.endpoint("canary", canary.address()).await["state"] == state).then_some(());
        eventually(&format!("the candidate is {state}"), is).await;
    };
    state("down").await;
    api.start(&long()).await.ok();
    let held = api.rollout_until("its health holds it", |rollout| rollout["held"]["by"] == "health").await;
    println!("held: {}", held["held"]["why"]);
    assert_eq!((&held["state"], &held["step"]), (&json!("running"), &json!(0)), "{held:#}");
    api.assert_share(0.0).await;
    canary.set_healthy(true);
    state("up").await;
    api.share_is(0.05).await;
    // An operator who drains it has other plans than to start it.
    api.verb("abort").await.ok();
    api.post("/v1/pools/canary/drain", &Value::Null).await.ok();
    api.start(&long()).await.problem(409);
}

#[tokio::test]
async fn a_dry_run_starts_nothing() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    api.post(&format!("{ROLLOUT}?dry_run=true"), &long()).await.ok();
    api.get(ROLLOUT).await.problem(404);
    api.start(&long()).await.ok();
    api.share_is(0.05).await;
    api.post(&format!("{ROLLOUT}/abort?dry_run=true"), &Value::Null).await.ok();
    assert_eq!(api.rollout().await["state"], "running");
    api.assert_share(0.05).await;
}

#[tokio::test]
async fn other_weights_are_refused_while_it_runs_unless_forced() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    api.start(&long()).await.ok();
    api.share_is(0.05).await;
    let weights = json!({ "weights": { "stable": 60, "canary": 40 } });
    let problem = api.put("/v1/splits/shop/weights", &weights).await.problem(409);
    println!("{}", problem["detail"]);
    api.post("/v1/splits/shop/cutover", &json!({ "to": "canary" })).await.problem(409);
    assert_eq!(api.rollout().await["state"], "running");
    let forced = json!({ "weights": { "stable": 60, "canary": 40 }, "force": true });
    api.put("/v1/splits/shop/weights", &forced).await.ok();
    assert_eq!(api.rollout().await["state"], "aborted");
    assert_eq!(api.weights("shop").await, weights["weights"]);
}

#[tokio::test]
async fn a_reload_that_changes_its_weights_aborts_it_and_another_does_not() {
    let (stable, canary, tidegate) = scene().await;
    let api = tidegate.api();
    let text = config(&[&stable], &[&canary], "", "");
    let mut events = Events::open(&tidegate).await;
    api.start(&long()).await.ok();
    api.share_is(0.05).await;
    let route = "[[routes]]\nname = \"extra\"\nhosts = [\"extra.test\"]\npool = \"stable\"\n";
    tidegate.replace_config(&format!("{text}\n{route}"));
    api.post("/v1/config/reload", &Value::Null).await.ok();
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "running", "another change of the file: {rollout:#}");
    api.assert_share(0.05).await;
    tidegate.replace_config(&text.replace("stable = 100, canary = 0", "stable = 80, canary = 20"));
    api.post("/v1/config/reload", &Value::Null).await.ok();
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "aborted", "{rollout:#}");
    println!("ended by {}: {}", rollout["ended"]["by"], rollout["ended"]["why"]);
    assert_eq!(api.weights("shop").await, json!({ "stable": 80, "canary": 20 }), "the file wins");
    let started = events.next("rollout").await;
    assert_eq!(started["action"], "rollout_start", "{started}");
    let ended = events.next("rollout").await;
    println!("{ended}");
    assert_eq!(ended["rollout"]["state"], "aborted", "{ended}");
}

#[tokio::test]
async fn a_stale_if_match_is_412_except_for_abort_and_revert() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    let stale = tag(&api).await;
    let weights = json!({ "weights": { "stable": 1000, "canary": 0 } });
    api.put("/v1/splits/shop/weights", &weights).await.ok();
    let refused = with_tag(&api, "POST", ROLLOUT, &stale, &long()).await;
    println!("{}", refused.body);
    refused.problem(412);
    api.get(ROLLOUT).await.problem(404);
    let fresh = tag(&api).await;
    assert_ne!(stale, fresh);
    with_tag(&api, "POST", ROLLOUT, &fresh, &long()).await.ok();
    api.share_is(0.05).await;
    for verb in ["pause", "resume", "promote"] {
        let path = format!("{ROLLOUT}/{verb}");
        with_tag(&api, "POST", &path, &stale, &Value::Null).await.problem(412);
    }
    let path = format!("{ROLLOUT}/pause");
    let fresh = tag(&api).await;
    let paused = with_tag(&api, "POST", &path, &fresh, &Value::Null).await.ok();
    assert_eq!(paused["state"], "paused", "{paused:#}");
    let aborted = with_tag(&api, "POST", &format!("{ROLLOUT}/abort"), &stale, &Value::Null).await.ok();
    assert_eq!(aborted["state"], "aborted", "{aborted:#}");
    with_tag(&api, "POST", "/v1/splits/shop/revert", &stale, &Value::Null).await.ok();
}

#[tokio::test]
async fn pause_and_resume_may_be_said_twice() {
    let (_stable, _canary, tidegate) = scene().await;
    let api = tidegate.api();
    api.start(&long()).await.ok();
    api.share_is(0.05).await;
    for _ in 0..2 {
        let paused = api.post(&format!("{ROLLOUT}/pause"), &json!({ "reason": "lunch" })).await;
        assert!(matches!(paused.status, 200 | 409), "{} {}", paused.status, paused.body);
        let rollout = api.rollout().await;
        assert_eq!((&rollout["state"], &rollout["paused"]["why"]), (&json!("paused"), &json!("lunch")));
    }
    for _ in 0..2 {
        let resumed = api.verb("resume").await;
        assert!(matches!(resumed.status, 200 | 409), "{} {}", resumed.status, resumed.body);
        assert_eq!(api.rollout().await["state"], "running");
    }
    api.assert_share(0.05).await;
}
