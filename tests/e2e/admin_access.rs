//! Who may talk to the admin API: the token, the `Host` and the `Origin`.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::tidegate::command;
use crate::harness::{Api, Request, Tidegate, config};

const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// A route to nobody: nothing is asked of it here.
const ROUTE: &str =
    "[pools.app]\nendpoints = [\"127.0.0.1:1\"]\n\n[[routes]]\nname = \"all\"\npool = \"app\"\n";

#[tokio::test]
async fn a_web_page_cannot_drive_it() {
    let tidegate = Tidegate::start(&config::with(ROUTE)).await;
    let api = tidegate.api();
    let port = tidegate.admin().port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
        assert_eq!(api.send(Request::get("/v1/status").host(&host)).await.status, 200, "{host}");
    }
    for host in ["evil.test", "127.0.0.1.nip.io", "localhost.evil.test"] {
        assert_eq!(api.send(Request::get("/v1/status").host(host)).await.status, 403, "{host}");
    }
    for origin in ["http://evil.test", "null", "https://127.0.0.1.evil.test"] {
        let request = Request::get("/v1/status").header("origin", origin);
        assert_eq!(api.send(request).await.status, 403, "{origin}");
        let request = Request::post("/v1/config/reload", b"").header("origin", origin);
        assert_eq!(api.send(request).await.status, 403, "{origin}");
    }
    let own = Request::get("/v1/status").header("origin", &format!("http://127.0.0.1:{port}"));
    assert_eq!(api.send(own).await.status, 200);
    for path in OPEN {
        let request = Request::get(path).host("evil.test").header("origin", "http://evil.test");
        assert_eq!(api.send(request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn allowed_hosts_are_allowed() {
    let admin = "allowed_hosts = [\"tidegate.internal\"]";
    let tidegate = Tidegate::start(&config::with_listener("", admin, ROUTE)).await;
    let api = tidegate.api();
    assert_eq!(api.send(Request::get("/v1/status").host("tidegate.internal:9900")).await.status, 200);
    assert_eq!(api.send(Request::get("/v1/status").host("other.internal")).await.status, 403);
}

#[tokio::test]
async fn with_a_token_every_call_needs_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("admin.token"), "a-secret-token\n").unwrap();
    let config = config::with_listener("", "token_file = \"admin.token\"", ROUTE);
    let tidegate = Tidegate::start_in(folder.path(), &config).await;
    let api = tidegate.api();
    api.get("/v1/status").await.problem(401);
    for token in ["", "a-secret-toke", "a-secret-token2", "A-SECRET-TOKEN"] {
        let with = Api::new(tidegate.admin()).with_token(token);
        assert_eq!(with.get("/v1/status").await.status, 401, "{token:?}");
        assert_eq!(with.post("/v1/config/reload", &Value::Null).await.status, 401);
    }
    assert_eq!(api.get("/v1/status?token=a-secret-token").await.status, 401);
    let with = Api::new(tidegate.admin()).with_token("a-secret-token");
    assert_eq!(with.get("/v1/status").await.ok()["listeners"][0]["name"], json!("web"));
    for path in OPEN {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    let lines = tidegate.out.all().join("\n");
    assert!(!lines.contains("a-secret-token"), "the token is in the log");
    let admin = format!("http://{}", tidegate.admin());
    let file = folder.path().join("admin.token");
    let arguments = ["status", "--admin", &admin, "--token-file", file.to_str().unwrap()];
    assert_eq!(command(&arguments, &[]).await.status.code(), Some(0));
    assert_eq!(command(&["status", "--admin", &admin], &[]).await.status.code(), Some(1));
}

#[tokio::test]
async fn an_address_that_is_not_loopback_needs_a_token() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tidegate.toml");
    fs::write(
        &path,
        config::with(ROUTE).replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"0.0.0.0:0\""),
    )
    .unwrap();
    let checked = command(&["check", path.to_str().unwrap()], &[]).await;
    assert_eq!(checked.status.code(), Some(1));
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("token_file"), "{said}");
}

#[tokio::test]
async fn status_tells_listeners_and_reload_and_ready_tells_ready() {
    let tidegate = Tidegate::start(&config::with(ROUTE)).await;
    let status = tidegate.api().get("/v1/status").await.ok();
    let listener = &status["listeners"][0];
    assert_eq!(
        (&listener["name"], &listener["address"]),
        (&json!("web"), &json!(tidegate.web().to_string()))
    );
    for key in ["version", "generation", "last_reload"] {
        assert!(status.get(key).is_some(), "{key} in {status}");
    }
    let routes = tidegate.api().get("/v1/routes").await.ok();
    assert_eq!(routes["routes"][0]["name"], "all");
    for (path, list) in [("/v1/splits", "splits"), ("/v1/pools", "pools"), ("/v1/history", "history")] {
        assert!(tidegate.api().get(path).await.ok()[list].is_array(), "{path}");
    }
    let document = tidegate.api().get("/v1/openapi.json").await.ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert!(document["paths"]["/v1/explain"]["post"].is_object());
}
