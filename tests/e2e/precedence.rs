//! File or API: for each split and each pool the newer intent wins, over reloads and restarts.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Api, Tidegate, Upstream, config, eventually};

/// Upstreams of a split, and the configuration with these weights.
struct Shop {
    stable: Upstream,
    canary: Upstream,
}

impl Shop {
    async fn new() -> Self {
        Self { stable: Upstream::start("stable").await, canary: Upstream::start("canary").await }
    }

    fn config(&self, weights: [u32; 2], more: &str) -> String {
        let rest = config::canary_rest(&[&self.stable], &[&self.canary], weights, "", "");
        config::with_listener("", "state_dir = \"state\"", &format!("{rest}\n{more}"))
    }
}

async fn shift(api: &Api, stable: u32, canary: u32, more: Value) -> Value {
    let mut body = json!({ "weights": { "stable": stable, "canary": canary } });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        body[key] = value;
    }
    api.put("/v1/splits/shop/weights", &body).await.ok()
}

async fn reload(tidegate: &Tidegate, config: &str) {
    tidegate.replace_config(config);
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
}

const EXTRA: &str = "[[routes]]\nname = \"extra\"\nhosts = [\"extra.test\"]\npool = \"stable\"\n";

#[tokio::test]
async fn a_runtime_change_stays_until_the_files_own_value_changes() {
    let shop = Shop::new().await;
    let tidegate = Tidegate::start(&shop.config([90, 10], "")).await;
    let api = tidegate.api();
    let before = api.get("/v1/splits/shop").await.ok();
    assert_eq!((&before["source"], &before["override"]), (&json!("file"), &Value::Null));
    shift(&api, 50, 50, json!({ "reason": "a test" })).await;
    let split = api.get("/v1/splits/shop").await.ok();
    assert_eq!(split["source"], "api");
    assert_eq!(split["weights"], json!({ "stable": 50, "canary": 50 }));
    assert_eq!(split["configured_weights"], json!({ "stable": 90, "canary": 10 }));
    assert_eq!(split["override"]["reason"], "a test");
    assert_eq!(split["override"]["expires_at"], Value::Null);
    reload(&tidegate, &shop.config([90, 10], EXTRA)).await;
    assert_eq!(api.weights("shop").await, json!({ "stable": 50, "canary": 50 }), "something else changed");
    reload(&tidegate, &shop.config([80, 20], EXTRA)).await;
    let split = api.get("/v1/splits/shop").await.ok();
    assert_eq!(
        (&split["source"], &split["weights"]),
        (&json!("file"), &json!({ "stable": 80, "canary": 20 }))
    );
}

#[tokio::test]
async fn a_runtime_change_survives_restarts_of_any_kind() {
    let shop = Shop::new().await;
    let folder = TempDir::new().unwrap();
    let mut tidegate = Tidegate::start_in(folder.path(), &shop.config([90, 10], "")).await;
    shift(&tidegate.api(), 40, 60, json!({})).await;
    tidegate.api().post("/v1/pools/canary/drain", &Value::Null).await.ok();
    let other = Upstream::start("other").await;
    let endpoints = json!({ "endpoints": [other.address().to_string()] });
    tidegate.api().put("/v1/pools/stable/endpoints", &endpoints).await.ok();
    for signal in ["TERM", "KILL", "TERM"] {
        tidegate.signal(signal);
        tidegate.ended(std::time::Duration::from_secs(40)).await;
        tidegate = Tidegate::start_again(folder.path()).await;
        let api = tidegate.api();
        assert_eq!(api.weights("shop").await, json!({ "stable": 40, "canary": 60 }), "after {signal}");
        let state = async || api.get("/v1/pools/canary").await.ok()["state"].take();
        eventually("the pool is drained again", async || (state().await == "drained").then_some(())).await;
        assert_ne!(api.endpoint("stable", other.address()).await, Value::Null, "after {signal}");
        let history = api.get("/v1/history").await.ok();
        assert!(history["history"].as_array().is_some_and(|entries| entries.len() >= 3), "{history}");
    }
}

#[tokio::test]
async fn a_file_that_changed_while_it_was_down_is_newer() {
    let shop = Shop::new().await;
    let folder = TempDir::new().unwrap();
    let mut tidegate = Tidegate::start_in(folder.path(), &shop.config([90, 10], "")).await;
    shift(&tidegate.api(), 40, 60, json!({})).await;
    tidegate.kill();
    let mut tidegate = Tidegate::start_in(folder.path(), &shop.config([90, 10], EXTRA)).await;
    assert_eq!(
        tidegate.api().weights("shop").await,
        json!({ "stable": 40, "canary": 60 }),
        "of something else"
    );
    tidegate.kill();
    let tidegate = Tidegate::start_in(folder.path(), &shop.config([70, 30], EXTRA)).await;
    assert_eq!(tidegate.api().weights("shop").await, json!({ "stable": 70, "canary": 30 }));
}

#[tokio::test]
async fn without_state_dir_a_restart_forgets() {
    let shop = Shop::new().await;
    let folder = TempDir::new().unwrap();
    let config = shop.config([90, 10], "").replace("state_dir = \"state\"", "");
    let mut tidegate = Tidegate::start_in(folder.path(), &config).await;
    shift(&tidegate.api(), 40, 60, json!({})).await;
    tidegate.kill();
    let tidegate = Tidegate::start_again(folder.path()).await;
    assert_eq!(tidegate.api().weights("shop").await, json!({ "stable": 90, "canary": 10 }));
}

#[tokio::test]
async fn a_change_with_a_ttl_ends_by_itself_and_over_a_restart() {
    let shop = Shop::new().await;
    let folder = TempDir::new().unwrap();
    let mut tidegate = Tidegate::start_in(folder.path(), &shop.config([90, 10], "")).await;
    let split = shift(&tidegate.api(), 40, 60, json!({ "ttl": "1s" })).await;
    assert!(split["override"]["expires_at"].is_string(), "{split}");
    let file = json!({ "stable": 90, "canary": 10 });
    let api = tidegate.api();
    eventually("the file's value is back", async || (api.weights("shop").await == file).then_some(())).await;
    assert_eq!(api.get("/v1/splits/shop").await.ok()["source"], "file");
    shift(&api, 40, 60, json!({ "ttl": "1s" })).await;
    tidegate.kill();
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let tidegate = Tidegate::start_again(folder.path()).await;
    let api = tidegate.api();
    eventually("the file's value is back", async || (api.weights("shop").await == file).then_some(())).await;
}

#[tokio::test]
async fn a_second_process_does_not_take_the_same_state() {
    let shop = Shop::new().await;
    let folder = TempDir::new().unwrap();
    let config = shop.config([90, 10], "");
    let _tidegate = Tidegate::start_in(folder.path(), &config).await;
    let path = folder.path().join("tidegate.toml");
    let second = crate::harness::tidegate::command(&["run", "--config", path.to_str().unwrap()], &[]).await;
    assert_eq!(second.status.code(), Some(1));
}
