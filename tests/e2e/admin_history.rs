//! What was changed, by whom and why, and how it is brought back.

use serde_json::{Value, json};

use crate::harness::{Api, Tidegate, Upstream, config};

async fn shift(api: &Api, stable: u32, canary: u32) -> u64 {
    let body = json!({ "weights": { "stable": stable, "canary": canary }, "reason": format!("to {canary}") });
    api.put("/v1/splits/shop/weights", &body).await.ok()["generation"].as_u64().expect("a number")
}

#[tokio::test]
async fn changes_are_recorded_newest_first() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    let api = tidegate.api();
    let first = shift(&api, 80, 20).await;
    let second = shift(&api, 70, 30).await;
    assert!(second > first);
    let history = api.get("/v1/history").await.ok();
    let entries = history["history"].as_array().expect("a list");
    assert_eq!((&entries[0]["generation"], &entries[1]["generation"]), (&json!(second), &json!(first)));
    assert_eq!(entries[0]["reason"], "to 30");
    for key in ["time", "actor", "before", "after"] {
        assert_ne!(entries[0].get(key).unwrap_or(&Value::Null), &Value::Null, "{key} in {}", entries[0]);
    }
    assert!(entries[0]["before"].to_string().contains("20"), "{}", entries[0]);
    assert!(entries[0]["after"].to_string().contains("30"), "{}", entries[0]);
}

#[tokio::test]
async fn a_generation_is_restored_as_a_new_change() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    let api = tidegate.api();
    let first = shift(&api, 80, 20).await;
    let other = Upstream::start("other").await;
    let endpoints = json!({ "endpoints": [other.address().to_string()] });
    api.put("/v1/pools/stable/endpoints", &endpoints).await.ok();
    let last = shift(&api, 0, 1).await;
    api.post(&format!("/v1/history/{first}/restore"), &json!({ "reason": "back" })).await.ok();
    assert_eq!(api.weights("shop").await, json!({ "stable": 80, "canary": 20 }));
    assert_ne!(api.endpoint("stable", stable.address()).await, Value::Null, "endpoints, too");
    let newest = api.get("/v1/history").await.ok()["history"][0].clone();
    assert!(newest["generation"].as_u64().unwrap() > last, "{newest}");
    assert_eq!(newest["reason"], "back");
    api.post("/v1/history/999999999/restore", &Value::Null).await.problem(404);
}

#[tokio::test]
async fn revert_brings_back_the_weights_before_the_last_change() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    let api = tidegate.api();
    shift(&api, 80, 20).await;
    shift(&api, 50, 50).await;
    let split = api.post("/v1/splits/shop/revert", &Value::Null).await.ok();
    assert_eq!(split["weights"], json!({ "stable": 80, "canary": 20 }));
    let split = api.post("/v1/splits/shop/revert", &Value::Null).await.ok();
    assert_eq!(split["weights"], json!({ "stable": 50, "canary": 50 }), "the last change was the revert");
}
