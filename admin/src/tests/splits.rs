//! Shifting a split: weights, cutover, revert, generations, trying first.

use std::sync::Arc;

use serde_json::json;

use super::harness::{Admin, config, eventually};

const WEIGHTS: &str = "/v1/splits/checkout/weights";

#[tokio::test]
async fn a_split_is_shown_whole() {
    let admin = Admin::start(&config(""));
    let answer = admin.get("/v1/splits/checkout").await;
    let split = answer.ok();
    assert_eq!(
        split,
        json!({
            "name": "checkout", "generation": 1,
            "weights": {"canary": 5, "stable": 95}, "shares": {"canary": 0.05, "stable": 0.95},
            "configured_weights": {"canary": 5, "stable": 95},
            "source": "file", "override": null,
            "key": ["header:x-user-id", "cookie:uid"], "fallback": ["stable"], "rollout": null,
            "requests": {"canary": {"total": 0, "failed": 0}, "stable": {"total": 0, "failed": 0}},
        })
    );
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(admin.get("/v1/splits").await.ok(), json!({"splits": [split]}));
    admin.get("/v1/splits/chekout").await.refused(404);
}

#[tokio::test]
async fn weights_are_put_and_remembered() {
    let admin = Admin::start(&config(""));
    let body = r#"{"weights":{"stable":90,"canary":10},"reason":"looks good"}"#;
    let answer = admin.call("PUT", WEIGHTS, &[("x-tidegate-actor", "alice")], Some(body)).await;
    let split = answer.ok();
    assert_eq!(split["weights"], json!({"canary": 10, "stable": 90}));
    assert_eq!(split["configured_weights"], json!({"canary": 5, "stable": 95}));
    assert_eq!(split["source"], "api");
    assert_eq!(split["override"], json!({"actor": "alice", "reason": "looks good", "expires_at": null}));
    assert_eq!((split["generation"].as_u64(), answer.header("etag")), (Some(2), Some("\"2\"")));
    let history = admin.get("/v1/history").await.ok();
    let newest = &history["history"][0];
    assert_eq!(newest["actor"], "alice");
    assert_eq!(newest["action"], "set_weights");
    assert_eq!(newest["before"]["splits"]["checkout"]["weights"], json!({"canary": 5, "stable": 95}));
    assert_eq!(newest["after"]["splits"]["checkout"]["weights"], json!({"canary": 10, "stable": 90}));
    assert_eq!(history["history"][1]["action"], "start");
}

#[tokio::test]
async fn a_stale_change_is_refused_with_what_is_in_force() {
    let admin = Admin::start(&config(""));
    let body = r#"{"weights":{"stable":1,"canary":1}}"#;
    admin.call("PUT", WEIGHTS, &[("if-match", "\"1\"")], Some(body)).await.ok();
    for stale in ["\"1\"", "\"7\"", "W/\"2\"", "\"x\""] {
        let answer = admin.call("PUT", WEIGHTS, &[("if-match", stale)], Some(body)).await;
        let problem = answer.refused(412);
        assert_eq!(problem["current"]["weights"], json!({"canary": 1, "stable": 1}), "{stale}");
        assert_eq!(answer.header("etag"), Some("\"2\""));
    }
    // Another thing's change does not make this one stale.
    admin.post("/v1/pools/canary/drain", "").await.ok();
    admin.call("PUT", WEIGHTS, &[("if-match", "\"2\"")], Some(body)).await.ok();
    admin.call("PUT", WEIGHTS, &[("if-match", "*")], Some(body)).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_changes_against_one_generation_one_wins() {
    let admin = Arc::new(Admin::start(&config("")));
    let calls = (1..=100).map(|weight| {
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let body = format!(r#"{{"weights":{{"stable":100,"canary":{weight}}}}}"#);
            let answer = admin.call("PUT", WEIGHTS, &[("if-match", "\"1\"")], Some(&body)).await;
            (weight, answer.status)
        })
    });
    let mut won = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        match call.await.expect("no panic") {
            (weight, 200) => won.push(weight),
            (_, status) => assert_eq!(status, 412),
        }
    }
    let [weight] = won[..] else { panic!("{} won", won.len()) };
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], weight);
    assert_eq!(admin.get("/v1/history").await.ok()["history"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_dry_run_answers_and_does_nothing() {
    let admin = Admin::start(&config(""));
    let body = r#"{"weights":{"stable":0,"canary":1},"reason":"try","ttl":"1h"}"#;
    let tried = admin.put(&format!("{WEIGHTS}?dry_run=true"), body).await.ok();
    assert_eq!(tried["dry_run"], true);
    assert_eq!(tried["weights"], json!({"canary": 1, "stable": 0}));
    assert_eq!(tried["override"]["reason"], "try");
    assert_eq!(tried["before"]["splits"]["checkout"]["weights"]["stable"], 95);
    assert_eq!(tried["after"]["splits"]["checkout"]["weights"]["stable"], 0);
    for (path, body) in [
        ("/v1/splits/checkout/cutover?dry_run=true", r#"{"to":"canary"}"#),
        ("/v1/pools/canary/drain?dry_run=true", "{}"),
        ("/v1/pools/canary/endpoints/127.0.0.1:9002/drain?dry_run=true", ""),
        ("/v1/history/1/restore?dry_run=true", ""),
    ] {
        assert_eq!(admin.post(path, body).await.ok()["dry_run"], true, "{path}");
    }
    admin.put(&format!("{WEIGHTS}?dry_run=true"), r#"{"weights":{"stable":0}}"#).await.refused(422);
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!((split["generation"].as_u64(), &split["source"]), (Some(1), &json!("file")));
    assert_eq!(admin.get("/v1/history").await.ok()["history"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn cutover_needs_a_healthy_pool_unless_forced() {
    let admin = Admin::start(&config(""));
    let path = "/v1/splits/checkout/cutover";
    admin.post("/v1/pools/canary/drain", "{}").await.ok();
    admin.post(path, r#"{"to":"canary"}"#).await.refused(409);
    let split = admin.post(path, r#"{"to":"canary","force":true}"#).await.ok();
    assert_eq!(split["shares"], json!({"canary": 1.0, "stable": 0.0}));
    admin.post("/v1/pools/canary/undrain", "").await.ok();
    admin.post(path, r#"{"to":"stable"}"#).await.ok();
    admin.post(path, r#"{"to":"canary","min_healthy":1}"#).await.ok();
    admin.post(path, r#"{"to":"canary","min_healthy":2}"#).await.refused(409);
    let problem = admin.post(path, r#"{"to":"canary","bake":"30m"}"#).await.refused(409);
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("has all of split")), "{problem}");
    let split = admin.post(path, r#"{"to":"stable","bake":"30m"}"#).await.ok();
    assert_eq!((&split["rollout"]["state"], &split["source"]), (&json!("baking"), &json!("rollout")));
    admin.post("/v1/splits/checkout/revert", "").await.ok();
    admin.post(path, r#"{"to":"green"}"#).await.refused(422);
}

#[tokio::test]
async fn revert_and_restore_bring_weights_back() {
    let admin = Admin::start(&config(""));
    admin.post("/v1/splits/checkout/revert", "").await.refused(409);
    admin.put(WEIGHTS, r#"{"weights":{"stable":80,"canary":20}}"#).await.ok();
    admin.put(WEIGHTS, r#"{"weights":{"stable":0,"canary":1}}"#).await.ok();
    let stale = [("if-match", "\"1\"")];
    let split = admin.call("POST", "/v1/splits/checkout/revert", &stale, None).await.ok();
    assert_eq!(split["weights"], json!({"canary": 20, "stable": 80}));
    let change = admin.post("/v1/history/1/restore", r#"{"reason":"back to the start"}"#).await.ok();
    assert_eq!(change["action"], "restore");
    assert_eq!(change["after"]["splits"]["checkout"]["weights"], json!({"canary": 5, "stable": 95}));
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 5);
    // It may change everything, so that any change makes it stale.
    let answer = admin.call("POST", "/v1/history/2/restore", &[("if-match", "\"2\"")], None).await;
    assert_eq!(answer.refused(412)["current"], json!({"generation": 5}));
    assert_eq!(answer.header("etag"), Some("\"5\""));
    let answer = admin.call("POST", "/v1/history/2/restore", &[("if-match", "\"5\"")], None).await;
    assert_eq!((answer.ok()["generation"].as_u64(), answer.header("etag")), (Some(6), Some("\"6\"")));
    admin.post("/v1/history/99/restore", "").await.refused(404);
    admin.post("/v1/history/x/restore", "").await.refused(404);
}

#[tokio::test]
async fn a_runtime_value_with_a_ttl_gives_way() {
    let admin = Admin::start(&config(""));
    let ticking = tokio::spawn(crate::tick(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    let split = admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1},"ttl":"300ms"}"#).await.ok();
    assert!(split["override"]["expires_at"].is_string());
    eventually("the file's weights return", async || {
        admin.get("/v1/splits/checkout").await.ok()["source"] == "file"
    })
    .await;
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!(split["weights"]["canary"], 5);
    assert_eq!(admin.get("/v1/history").await.ok()["history"][0]["action"], "expire");
    admin.stop().await;
    ticking.await.expect("ends with the process");
}
