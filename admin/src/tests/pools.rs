//! Pools: draining, and replacing endpoints.

use serde_json::json;

use tidegate_core::cell::InFlight;

use super::harness::{Admin, config};

#[tokio::test]
async fn a_pool_is_shown_whole() {
    let admin = Admin::start(&config(""));
    let answer = admin.get("/v1/pools/stable").await;
    let pool = answer.ok();
    let endpoint = |address, weight| json!({"address": address, "weight": weight, "state": "up", "in_flight": 0, "connections": 0, "last_check": null});
    assert_eq!(
        pool,
        json!({
            "name": "stable", "generation": 1, "state": "ready", "panic": false,
            "endpoints": [endpoint("127.0.0.1:9001", 1), endpoint("127.0.0.1:9003", 2)],
            "leaving": [], "in_flight": 0, "waiting": 0, "source": "file", "dns": null, "override": null,
        })
    );
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let pools = admin.get("/v1/pools").await.ok();
    assert_eq!(pools["pools"].as_array().map(Vec::len), Some(2));
    admin.get("/v1/pools/none").await.refused(404);
}

#[tokio::test]
async fn pools_and_endpoints_drain_and_come_back() {
    let admin = Admin::start(&config(""));
    let pool = admin.post("/v1/pools/stable/drain", r#"{"timeout":"30s","reason":"deploy"}"#).await.ok();
    assert_eq!((&pool["state"], &pool["endpoints"][0]["state"]), (&json!("drained"), &json!("drained")));
    let pool = admin.post("/v1/pools/stable/undrain", "").await.ok();
    assert_eq!((&pool["state"], &pool["endpoints"][0]["state"]), (&json!("ready"), &json!("up")));
    for address in ["127.0.0.1:9003", "127.0.0.1%3A9003"] {
        let path = format!("/v1/pools/stable/endpoints/{address}");
        let pool = admin.post(&format!("{path}/drain"), "").await.ok();
        assert_eq!(pool["endpoints"][1]["state"], "drained", "{address}");
        assert_eq!(pool["endpoints"][0]["state"], "up");
        let pool = admin.post(&format!("{path}/undrain"), "{}").await.ok();
        assert_eq!(pool["endpoints"][1]["state"], "up");
    }
    for path in ["127.0.0.1:1/drain", "nonsense/drain", "%5B::1%5D:9001/drain", "127.0.0.1:1/undrain"] {
        admin.post(&format!("/v1/pools/stable/endpoints/{path}"), "").await.refused(404);
    }
}

#[tokio::test]
async fn endpoints_are_replaced() {
    let admin = Admin::start(&config(""));
    let path = "/v1/pools/canary/endpoints";
    let body = r#"{"endpoints":["127.0.0.1:9002",{"address":"[::1]:9005","weight":3}]}"#;
    let pool = admin.put(path, body).await.ok();
    assert_eq!(pool["source"], "api");
    assert_eq!(pool["endpoints"][1]["address"], "[::1]:9005");
    assert_eq!(pool["endpoints"][1]["weight"], 3);
    let pool = admin.post("/v1/pools/canary/endpoints/[::1]:9005/drain", "").await.ok();
    assert_eq!(pool["endpoints"][1]["state"], "drained");
    let stale = [("if-match", "\"1\"")];
    let problem = admin.call("PUT", path, &stale, Some(body)).await.refused(412);
    assert_eq!(problem["current"]["name"], "canary");
    for (body, status) in [
        (r#"{"endpoints":["nonsense"]}"#, 422),
        (r#"{"endpoints":["127.0.0.1:0"]}"#, 422),
        (r#"{"endpoints":["127.0.0.1:1","127.0.0.1:1"]}"#, 422),
        (r#"{"endpoints":[{"address":"127.0.0.1:1","weight":0}]}"#, 422),
        (r#"{"endpoints":[{"address":"127.0.0.1:1","weight":-1}]}"#, 422),
        (r#"{"endpoints":[7]}"#, 422),
        (r#"{"endpoints":[{"address":"127.0.0.1:1","wight":1}]}"#, 400),
        (r#"{"endpoints":"127.0.0.1:1"}"#, 422),
        ("{}", 422),
    ] {
        let answer = admin.put(path, body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    admin.post("/v1/history/1/restore", "").await.ok();
    let pool = admin.get("/v1/pools/canary").await.ok();
    assert_eq!(pool["endpoints"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_leaves_is_shown_as_long_as_it_is_busy() {
    let admin = Admin::start(&config(""));
    let snapshot = admin.control.live().snapshot();
    let serving = snapshot.pool_named("stable").expect("there");
    let one = &serving.endpoints.first().expect("there").cell;
    let request = InFlight::new(serving.cell.clone(), one.clone()).expect("room");
    let other = admin.put("/v1/pools/stable/endpoints", r#"{"endpoints":["127.0.0.1:9004"]}"#).await.ok();
    assert_eq!(other["leaving"][0]["address"], one.address.to_string());
    assert_eq!(
        (&other["leaving"][0]["in_flight"], other["leaving"].as_array().map(Vec::len)),
        (&json!(1), Some(1))
    );
    drop(request);
    assert_eq!(admin.get("/v1/pools/stable").await.ok()["leaving"], json!([]));
}
