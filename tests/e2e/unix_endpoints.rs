//! Endpoints behind Unix sockets: reached, checked, named and drained as any other.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::api::metric;
use crate::harness::client::{ask, raw};
use crate::harness::config::{QUICK_HEALTH, with};
use crate::harness::hooks::Hooks;
use crate::harness::logs::field;
use crate::harness::socket::Socket;
use crate::harness::{Api, Client, PATIENCE, Request, Tidegate, Upstream, eventually};

/// A pool `app` of these endpoints, as written, and a route to it.
fn app(endpoints: &str, keys: &str) -> String {
    with(&format!(
        "[pools.app]\nendpoints = [{endpoints}]\n{keys}\n\n[[routes]]\nname = \"all\"\npool = \"app\"\n"
    ))
}

async fn state(api: &Api, address: &str) -> Value {
    let pool = api.get("/v1/pools/app").await.ok();
    let endpoints = pool["endpoints"].as_array().unwrap();
    endpoints.iter().find(|one| one["address"] == address).map_or(Value::Null, |one| one["state"].clone())
}

async fn until_state(api: &Api, address: &str, wanted: &str) {
    let what = format!("{address} is {wanted}");
    eventually(&what, async || (state(api, address).await == wanted).then_some(())).await;
}

/// Also where the server bound its socket by another path than ours: the file is a link, and the path
/// in the configuration is relative to its folder.
#[tokio::test]
async fn a_connection_is_kept_whatever_the_server_calls_its_socket() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start("app").await;
    let _socket = Socket::bind(&folder.path().join("real.sock"), &upstream);
    symlink("real.sock", folder.path().join("app.sock")).unwrap();
    let tidegate = Tidegate::start_in(folder.path(), &app("\"unix:app.sock\"", "")).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..20 {
        assert_eq!(client.ask(&Request::get("/")).await.upstream(), "app");
    }
    assert_eq!((upstream.requests(), upstream.connections()), (20, 1));
    let pool = tidegate.api().get("/v1/pools/app").await.ok();
    assert_eq!(pool["endpoints"][0]["connections"], 1, "{pool}");
}

#[tokio::test]
async fn kept_connections_are_not_mixed_up() {
    let folder = TempDir::new().unwrap();
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let sockets = [("one.sock", &one), ("two.sock", &two)]
        .map(|(name, upstream)| Socket::bind(&folder.path().join(name), upstream));
    let endpoints = "\"unix:one.sock\", { address = \"unix:two.sock\", weight = 2 }";
    let file = app(endpoints, "balance = \"round_robin\"");
    let tidegate = Tidegate::start_in(folder.path(), &file).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..30 {
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
    }
    assert_eq!((one.requests(), two.requests()), (10, 20));
    assert_eq!((one.connections(), two.connections()), (1, 1));
    drop(sockets);
}

#[tokio::test]
async fn it_has_one_name_everywhere() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start("app").await;
    let path = folder.path().join("app.sock");
    let _socket = Socket::bind(&path, &upstream);
    let name = format!("unix:{}", path.display());
    let file = format!("[log]\naccess = \"on\"\n\n{}", app(&format!("\"{name}\""), QUICK_HEALTH));
    let tidegate = Tidegate::start_in(folder.path(), &file).await;
    let api = tidegate.api();
    until_state(&api, &name, "up").await;
    assert!(upstream.health_checks() > 0, "the check went to the socket");
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
    let asked = json!({ "path": "/", "host": "shop.test" });
    let explained = api.post("/v1/explain", &asked).await.ok();
    assert_eq!(explained["endpoints"][0]["address"], name.as_str(), "{explained}");
    let labels = [("pool", "app"), ("endpoint", name.as_str())];
    assert_eq!(metric(&api.metrics().await, "tidegate_endpoint_up", &labels), Some(1.0));
    let is_line = |line: &Value| field(line, "endpoint") == name.as_str() && field(line, "status") == 200;
    eventually("a line names it", async || tidegate.out.json().iter().any(is_line).then_some(())).await;
}

#[tokio::test]
async fn a_request_without_a_host_goes_to_localhost() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start("app").await;
    let _socket = Socket::bind(&folder.path().join("app.sock"), &upstream);
    let tidegate = Tidegate::start_in(folder.path(), &app("\"unix:app.sock\"", "")).await;
    let answer = raw(tidegate.web(), b"GET /?do=echo HTTP/1.0\r\n\r\n", PATIENCE).await;
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(text.to_lowercase().contains("[\"host\",\"localhost\"]"), "{text}");
}

#[tokio::test]
async fn it_is_put_drained_and_taken_away_by_its_name() {
    let folder = TempDir::new().unwrap();
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let _sockets = [("one.sock", &one), ("two.sock", &two)]
        .map(|(name, upstream)| Socket::bind(&folder.path().join(name), upstream));
    let tidegate = Tidegate::start_in(folder.path(), &app("\"unix:one.sock\"", "")).await;
    let (api, mut client) = (tidegate.api(), Client::new(tidegate.web()));
    assert_eq!(client.ask(&Request::get("/")).await.upstream(), "one");

    let body = json!({ "endpoints": ["unix:one.sock", { "address": "unix:two.sock", "weight": 3 }] });
    api.put("/v1/pools/app/endpoints", &body).await.ok();
    api.post("/v1/pools/app/endpoints/unix%3Aone.sock/drain", &json!({})).await.ok();
    until_state(&api, "unix:one.sock", "drained").await;
    eventually("its kept connection is closed", async || (one.open() == 0).then_some(())).await;
    assert_eq!(client.ask(&Request::get("/")).await.upstream(), "two");
    api.post("/v1/pools/app/endpoints/unix%3Aone.sock/undrain", &Value::Null).await.ok();
    assert_eq!(state(&api, "unix:one.sock").await, "up");

    let drained = tidegate.command(&["drain", "app", "unix:two.sock"]).await;
    assert!(drained.status.success(), "{drained:?}");
    assert_eq!(state(&api, "unix:two.sock").await, "drained");
    assert_eq!(client.ask(&Request::get("/")).await.upstream(), "one");
    api.post("/v1/pools/app/endpoints/unix%3Athree.sock/drain", &json!({})).await.problem(404);
}

#[tokio::test]
async fn a_socket_that_is_gone_is_down_and_one_that_comes_is_up() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start("app").await;
    let path = folder.path().join("app.sock");
    let tidegate = Tidegate::start_in(folder.path(), &app("\"unix:app.sock\"", "")).await;
    let refused = ask(tidegate.web(), &Request::get("/")).await;
    assert_eq!((refused.status, refused.header("x-tidegate-error")), (502, Some("connect_failed")));
    let file = app("\"unix:app.sock\"", QUICK_HEALTH);
    tidegate.replace_config(&file);
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    until_state(&tidegate.api(), "unix:app.sock", "down").await;
    let pool = tidegate.api().get("/v1/pools/app").await.ok();
    let detail = pool["endpoints"][0]["last_check"]["detail"].as_str().unwrap();
    assert_eq!(detail, "cannot be reached: no such socket");
    let socket = Socket::bind(&path, &upstream);
    until_state(&tidegate.api(), "unix:app.sock", "up").await;
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "app");
    drop(socket);
    until_state(&tidegate.api(), "unix:app.sock", "down").await;
}

/// The kernel refuses at once when a socket's backlog is full, where TCP lets the client wait.
#[tokio::test]
async fn a_full_backlog_is_waited_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    let tidegate =
        Tidegate::start_in(folder.path(), &app("\"unix:app.sock\"", "connect_timeout = \"10s\"")).await;
    let web = tidegate.web();
    let asked: Vec<_> =
        (0..4).map(|_| tokio::spawn(async move { ask(web, &Request::get("/")).await.status })).collect();
    let api = tidegate.api();
    eventually("all are in flight", async || (api.in_flight("app").await == 4).then_some(())).await;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            use std::io::{Read as _, Write as _};
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    for status in asked {
        assert_eq!(status.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_rolling_rollout_names_it_to_the_hook() {
    let folder = TempDir::new().unwrap();
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let _sockets = [("one.sock", &one), ("two.sock", &two)]
        .map(|(name, upstream)| Socket::bind(&folder.path().join(name), upstream));
    let hooks = Hooks::start().await;
    let plan = format!(
        "[pools.app.rollout]\nstrategy = \"rolling\"\nhooks = [{{ on = \"replace\", url = \"{}\" }}]",
        hooks.url("/replace")
    );
    let file = app("\"unix:one.sock\", \"unix:two.sock\"", &plan);
    let tidegate = Tidegate::start_in(folder.path(), &file).await;
    let (api, rollout) = (tidegate.api(), "/v1/pools/app/rollout");
    api.post(rollout, &Value::Null).await.ok();
    let is_over = async || (api.get(rollout).await.ok()["state"] == "succeeded").then_some(());
    eventually("it succeeds", is_over).await;
    let called: Vec<Value> =
        hooks.calls("/replace").iter().map(|call| call.body["endpoint"].clone()).collect();
    assert_eq!(called, ["unix:one.sock", "unix:two.sock"]);
}
