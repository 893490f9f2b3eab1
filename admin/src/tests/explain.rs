//! Explaining a request, and listing routes.

use serde_json::json;

use super::harness::{Admin, config};

#[tokio::test]
async fn a_request_is_explained_by_what_routes_it() {
    let admin = Admin::start(&config(""));
    let body = json!({
        "host": "SHOP.example.com:80", "path": "/a/../checkout?x=1", "headers": {"x-user-id": "user-15"},
    });
    let explained = admin.post("/v1/explain", &body.to_string()).await.ok();
    assert_eq!(explained["route"], "checkout");
    assert_eq!(explained["split"], "checkout");
    assert_eq!(explained["key"], json!({"source": "header:x-user-id", "value": "user-15"}));
    // From the golden vectors of bucketing.
    assert_eq!(explained["pool"], "canary");
    assert_eq!(explained["reason"], "bucket");
    assert!(explained["scores"]["canary"].as_f64() > explained["scores"]["stable"].as_f64());
    assert_eq!(explained["endpoints"], json!([{"address": "127.0.0.1:9002", "state": "up"}]));
    assert_eq!(explained["endpoint"], "127.0.0.1:9002");
    assert_eq!(explained["rejected"][0]["route"], "rest");
    admin.post("/v1/pools/canary/drain", "").await.ok();
    let explained = admin.post("/v1/explain", &body.to_string()).await.ok();
    assert_eq!((&explained["pool"], &explained["reason"]), (&json!("stable"), &json!("fallback")));
    assert_eq!(explained["chosen"], "canary");
}

#[tokio::test]
async fn keys_and_pools_of_other_requests() {
    let admin = Admin::start(&config(""));
    let random = admin.post("/v1/explain", r#"{"host":"shop.example.com","path":"/checkout"}"#).await.ok();
    assert_eq!((&random["reason"], &random["key"]), (&json!("random"), &json!(null)));
    let list = r#"{"host":"shop.example.com","path":"/checkout","headers":{"cookie":["a=1","uid=7"]}}"#;
    let cookie = admin.post("/v1/explain", list).await.ok();
    assert_eq!(cookie["key"], json!({"source": "cookie:uid", "value": "7"}));
    let only = admin.post("/v1/explain", r#"{"method":"DELETE","path":"/checkout"}"#).await.ok();
    assert_eq!((&only["route"], &only["split"]), (&json!("rest"), &json!(null)));
    assert_eq!((&only["pool"], &only["reason"]), (&json!("stable"), &json!("only")));
    for (body, status) in [
        (r#"{"path":"checkout"}"#, 422),
        (r#"{"path":"/%00"}"#, 422),
        (r#"{"path":"/%zz"}"#, 422),
        (r#"{"method":"G T"}"#, 422),
        (r#"{"client":"here"}"#, 422),
        (r#"{"headers":{"a b":"c"}}"#, 422),
        (r#"{"headers":{"a":"b\r\nc"}}"#, 422),
        (r#"{"headers":{"a":1}}"#, 422),
        (r#"{"url":"/"}"#, 400),
    ] {
        assert_eq!(admin.post("/v1/explain", body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn no_route_is_an_answer_too() {
    let text = config("").replace("name = \"rest\"", "name = \"rest\"\nhosts = [\"*.example.org\"]");
    let admin = Admin::start(&text);
    let explained = admin.post("/v1/explain", r#"{"host":"else.where"}"#).await.ok();
    assert_eq!(explained["route"], json!(null));
    assert_eq!(explained["rejected"].as_array().map(Vec::len), Some(2));
    let routes = admin.get("/v1/routes").await.ok();
    assert_eq!(
        routes["routes"],
        json!([
            {"name": "checkout", "match": 0, "host": "shop.example.com", "path": "prefix /checkout",
             "conditions": {"methods": ["GET", "POST"]}, "split": "checkout"},
            {"name": "rest", "match": 0, "host": "*.example.org", "path": "prefix /", "pool": "stable"},
        ])
    );
}
