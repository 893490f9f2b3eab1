//! The stream of events: every change, health transition, drain and reload, as it happens.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::events::Events;
use crate::harness::{PATIENCE, Tidegate, Upstream, config, within};

#[tokio::test]
async fn what_happens_is_told() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let text = config::canary(&[&stable], &[&canary], [90, 10], config::QUICK_HEALTH);
    let tidegate = Tidegate::start(&text).await;
    let api = tidegate.api();
    let mut events = Events::open(&tidegate).await;
    let mut second = Events::open(&tidegate).await;
    let change = json!({ "weights": { "stable": 1, "canary": 1 }, "reason": "to be told" });
    let split = api.put("/v1/splits/shop/weights", &change).await.ok();
    let told = events.next("change").await;
    assert_eq!(told["generation"], split["generation"]);
    assert!(told.to_string().contains("to be told"), "{told}");
    assert_eq!(second.next("change").await["generation"], split["generation"], "to everyone who listens");
    canary.set_healthy(false);
    let told = events.next("health").await;
    assert!(told.to_string().contains(&canary.address().to_string()), "{told}");
    api.post("/v1/pools/stable/drain", &Value::Null).await.ok();
    assert!(events.next("drain").await.to_string().contains("stable"));
    tidegate.replace_config(&text.replace("90", "80"));
    api.post("/v1/config/reload", &Value::Null).await.ok();
    events.next("reload").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_does_not_read_holds_nobody_up() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    let _deaf = Events::open(&tidegate).await;
    let api = tidegate.api();
    let shifts: JoinHandle<()> = tokio::spawn(async move {
        for number in 1..500 {
            let reason = "x".repeat(1000);
            let body = json!({ "weights": { "stable": number, "canary": 1 }, "reason": reason });
            api.put("/v1/splits/shop/weights", &body).await.ok();
        }
    });
    within(PATIENCE * 3, "500 changes", shifts).await.unwrap();
}
