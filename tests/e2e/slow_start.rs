//! An endpoint that has come up, was added or is undrained gets a growing part of its share; one that was there
//! when the process began gets all of it.

use serde_json::{Value, json};

use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

const REQUESTS: usize = 1_000;

/// Over a minute, of which a test sees the beginning: a tenth.
const POOL: &str = "balance = \"random\"\nslow_start = \"60s\"";

/// Of many requests the part that comes to the first.
async fn part(tidegate: &Tidegate, first: &Upstream) -> f64 {
    let (mut client, before) = (Client::new(tidegate.web()), first.requests());
    for _ in 0..REQUESTS {
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
    }
    (first.requests() - before) as f64 / REQUESTS as f64
}

/// About one in eleven: a tenth of the weight of one beside the whole of another's.
#[track_caller]
fn assert_small(part: f64) {
    assert!((0.04..0.25).contains(&part), "{part}");
}

async fn until(tidegate: &Tidegate, upstream: &Upstream, state: &str) -> Value {
    let api = tidegate.api();
    eventually(&format!("it is {state}"), async || {
        let endpoint = api.endpoint("app", upstream.address()).await;
        (endpoint["state"] == state).then_some(endpoint)
    })
    .await
}

#[tokio::test]
async fn what_comes_up_or_no_longer_drains_warms_up() {
    let [first, second] = [Upstream::start("one").await, Upstream::start("two").await];
    let keys = format!("{POOL}\n{}", config::QUICK_HEALTH);
    let tidegate = Tidegate::start(&config::one_pool(&[&first, &second], &keys, "")).await;
    for upstream in [&first, &second] {
        assert_eq!(
            until(&tidegate, upstream, "up").await["warming"],
            Value::Null,
            "it was there from the start"
        );
    }
    assert!((0.4..0.6).contains(&part(&tidegate, &first).await));
    first.set_healthy(false);
    until(&tidegate, &first, "down").await;
    first.set_healthy(true);
    let endpoint = until(&tidegate, &first, "up").await;
    assert!(endpoint["warming"].as_f64().is_some_and(|part| part < 0.3), "{endpoint}");
    assert_small(part(&tidegate, &first).await);
    let drains = format!("/v1/pools/app/endpoints/{}", second.address());
    tidegate.api().post(&format!("{drains}/drain"), &json!({})).await.ok();
    assert!((part(&tidegate, &first).await - 1.0).abs() < 1e-9, "whoever is alone takes all");
    tidegate.api().post(&format!("{drains}/undrain"), &json!({})).await.ok();
    let endpoint = tidegate.api().endpoint("app", second.address()).await;
    assert!(endpoint["warming"].as_f64().is_some_and(|part| part < 0.3), "{endpoint}");
}

#[tokio::test]
async fn what_is_added_warms_up() {
    let [first, second] = [Upstream::start("one").await, Upstream::start("two").await];
    let tidegate = Tidegate::start(&config::one_pool(&[&second], POOL, "")).await;
    let both = json!({ "endpoints": [second.address().to_string(), first.address().to_string()] });
    tidegate.api().put("/v1/pools/app/endpoints", &both).await.ok();
    assert_small(part(&tidegate, &first).await);
}
