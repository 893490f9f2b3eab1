//! Changes by the admin API: what is refused and with which status, and what a change answers.

use serde_json::{Value, json};

use crate::golden;
use crate::harness::client::ask;
use crate::harness::{Request, Tidegate, Upstream, config, eventually};

const WEIGHTS: &str = "/v1/splits/shop/weights";

async fn shop(pool_keys: &str) -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], pool_keys)).await;
    (stable, canary, tidegate)
}

fn put(body: &[u8], content_type: Option<&str>) -> Request {
    let mut request = Request::new("PUT", WEIGHTS);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.body = body.to_vec();
    request
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_answered() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    for (stable, canary) in [(50, 50), (0, 1), (1, 0), (1_000_000, 1)] {
        let weights = json!({ "stable": stable, "canary": canary });
        let split = api.put(WEIGHTS, &json!({ "weights": weights })).await.ok();
        assert_eq!((&split["name"], &split["weights"]), (&json!("shop"), &weights));
        let share = split["shares"]["canary"].as_f64().unwrap();
        assert!((share - f64::from(canary) / f64::from(stable + canary)).abs() < 1e-9, "{split}");
        for number in 0..20 {
            let user = format!("user-{number}");
            let answer = ask(tidegate.web(), &Request::get("/").header("x-user-id", &user)).await;
            let pools = [("stable", stable), ("canary", canary)];
            assert_eq!(answer.upstream(), golden::pool(&user, "shop", &pools));
        }
    }
}

#[tokio::test]
async fn values_that_cannot_be_are_422() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    let before = api.get("/v1/splits/shop").await.ok();
    for weights in [
        r#"{ "stable": 50, "nobody": 50 }"#,
        r#"{ "stable": 0, "canary": 0 }"#,
        r#"{ "stable": 1000001 }"#,
        "{}",
    ] {
        let body = format!("{{ \"weights\": {weights} }}");
        api.send(put(body.as_bytes(), Some("application/json"))).await.problem(422);
    }
    for weights in
        [r#"{ "stable": -1 }"#, r#"{ "stable": 1e12 }"#, r#"{ "stable": 0.5 }"#, r#"{ "stable": "1" }"#]
    {
        let body = format!("{{ \"weights\": {weights} }}");
        let answer = api.send(put(body.as_bytes(), Some("application/json"))).await;
        assert!([400, 422].contains(&answer.status), "{weights}: {}", answer.status);
    }
    api.put(WEIGHTS, &json!({ "weights": { "stable": 1 }, "ttl": "soon" })).await.problem(422);
    api.put("/v1/splits/nobody/weights", &json!({ "weights": { "stable": 1 } })).await.problem(404);
    assert_eq!(api.get("/v1/splits/shop").await.ok(), before, "nothing has changed");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    let before = api.get("/v1/splits/shop").await.ok();
    let json = Some("application/json");
    for body in [
        "",
        "no",
        "{",
        "[1]",
        "{\"weights\": {\"stable\": 1}} x",
        "{\"weights\": {\"stable\": 1}, \"wieght\": 1}",
    ] {
        api.send(put(body.as_bytes(), json)).await.problem(400);
    }
    let deep = "[".repeat(100_000);
    api.send(put(deep.as_bytes(), json)).await.problem(400);
    let good = br#"{"weights": {"stable": 1}}"#;
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        api.send(put(good, kind)).await.problem(415);
    }
    let large =
        format!("{{\"weights\": {{\"stable\": 1}}, \"reason\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    assert_eq!(api.send(put(large.as_bytes(), json)).await.status, 413);
    assert_eq!(api.get("/v1/splits/shop").await.ok(), before, "nothing has changed");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    for path in ["/v1/nothing", "/v1/splits/nobody", "/v1/pools/nobody", "/v2/status", "/v1/splits/..%2Fshop"]
    {
        assert_eq!(api.get(path).await.status, 404, "{path}");
    }
    for (method, path) in [("GET", WEIGHTS), ("DELETE", "/v1/splits/shop"), ("TRACE", "/v1/status")] {
        assert_eq!(api.send(Request::new(method, path)).await.status, 405, "{method} {path}");
    }
    let on_listener = ask(tidegate.web(), &Request::get("/v1/status")).await;
    assert!(["stable", "canary"].contains(&on_listener.upstream()), "not on a listener");
}

#[tokio::test]
async fn a_stale_generation_is_412_with_the_current_state() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    let first = api.get("/v1/splits/shop").await;
    let tag = first.response.header("etag").expect("a split has an ETag").to_owned();
    assert_eq!(tag.trim_matches('"'), first.body["generation"].to_string());
    let change = |canary: u32, tag: &str| {
        let body = json!({ "weights": { "stable": 1, "canary": canary } }).to_string();
        put(body.as_bytes(), Some("application/json")).header("if-match", tag)
    };
    api.send(change(2, &tag)).await.ok();
    let stale = api.send(change(3, &tag)).await;
    assert_eq!(stale.status, 412);
    assert!(stale.response.text().contains("\"canary\":2"), "{}", stale.response.text());
    assert_eq!(api.weights("shop").await["canary"], 2);
    // Of many with the same generation one wins.
    let tag = api.get("/v1/splits/shop").await.response.header("etag").unwrap().to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    for canary in 10..40 {
        let (api, request) = (api.clone(), change(canary, &tag));
        tasks.spawn(async move { (canary, api.send(request).await.status) });
    }
    let mut won = Vec::new();
    while let Some(task) = tasks.join_next().await {
        match task.unwrap() {
            (canary, 200) => won.push(canary),
            (_, status) => assert_eq!(status, 412),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(api.weights("shop").await["canary"], won[0]);
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let (_s, _c, tidegate) = shop("").await;
    let api = tidegate.api();
    let before = api.get("/v1/splits/shop").await.ok();
    let body = json!({ "weights": { "stable": 1, "canary": 3 } });
    let told = api.put(&format!("{WEIGHTS}?dry_run=true"), &body).await;
    assert_eq!(told.status, 200, "{}", told.response.text());
    assert!(told.response.text().contains('3'), "{}", told.response.text());
    api.put(&format!("{WEIGHTS}?dry_run=true"), &json!({ "weights": { "nobody": 1 } })).await.problem(422);
    assert_eq!(api.get("/v1/splits/shop").await.ok(), before);
}

#[tokio::test]
async fn a_cutover_needs_a_healthy_target() {
    let (_stable, canary, tidegate) = shop(config::QUICK_HEALTH).await;
    let api = tidegate.api();
    let state = async || api.endpoint("canary", canary.address()).await["state"].clone();
    canary.set_healthy(false);
    eventually("the canary is down", async || (state().await == "down").then_some(())).await;
    let to_canary = json!({ "to": "canary" });
    api.post("/v1/splits/shop/cutover", &to_canary).await.problem(409);
    assert_eq!(api.weights("shop").await, json!({ "stable": 90, "canary": 10 }));
    api.post("/v1/splits/shop/cutover", &json!({ "to": "nobody" })).await.problem(422);
    canary.set_healthy(true);
    eventually("the canary is up", async || (state().await == "up").then_some(())).await;
    api.post("/v1/splits/shop/cutover", &json!({ "to": "canary", "min_healthy": 2 })).await.problem(409);
    let split = api.post("/v1/splits/shop/cutover", &to_canary).await.ok();
    assert_eq!(split["shares"]["canary"], 1.0, "{split}");
    for _ in 0..20 {
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "canary");
    }
    let split = api.post("/v1/splits/shop/revert", &Value::Null).await.ok();
    assert_eq!(split["weights"], json!({ "stable": 90, "canary": 10 }));
    canary.set_healthy(false);
    eventually("the canary is down", async || (state().await == "down").then_some(())).await;
    api.post("/v1/splits/shop/cutover", &json!({ "to": "canary", "force": true })).await.ok();
}
