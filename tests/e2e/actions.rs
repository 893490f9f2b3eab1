//! Routes that answer by themselves: redirects, and answers that are written in the file.

use serde_json::json;

use crate::harness::api::metric;
use crate::harness::client::{ask, raw};
use crate::harness::{Client, PATIENCE, Request, Tidegate, Upstream, config, eventually};

const ROUTES: &str = r#"
[[routes]]
name = "secure"
hosts = ["secure.test"]
redirect = { scheme = "https" }

[[routes]]
name = "moved"
hosts = ["moved.test"]
matches = [{ path = { prefix = "/old" } }]
redirect = { host = "new.test", path = { prefix = "/new/" }, status = 308 }
response_headers = { set = { cache-control = "max-age=60" } }

[[routes]]
name = "home"
hosts = ["moved.test"]
redirect = { path = { full = "/home" }, status = 303 }

[[routes]]
name = "noon"
hosts = ["noon.test"]
respond = { status = 503, body = "back at noon", headers = { retry-after = "3600" } }
response_headers = { add = { x-from = ["a", "b"] }, remove = ["Retry-After"] }

[[routes]]
name = "lost"
matches = [{ path = { prefix = "/lost" } }]
redirect = { scheme = "https" }

[[routes]]
name = "nothing"
hosts = ["nothing.test"]
respond = { status = 204 }
"#;

async fn start() -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    (upstream, Tidegate::start(&config::with(&format!("{ROUTES}\n{rest}"))).await)
}

#[tokio::test]
async fn redirects_keep_what_the_route_does_not_name() {
    let (upstream, tidegate) = start().await;
    let port = tidegate.web().port();
    let mut client = Client::new(tidegate.web());
    for (host, target, status, location) in [
        ("secure.test", "/a/../b?x=1", 302, "https://secure.test/b?x=1".to_owned()),
        ("Secure.Test:99", "/", 302, "https://secure.test/".to_owned()),
        ("moved.test", "/old", 308, format!("http://new.test:{port}/new")),
        ("moved.test", "/old/", 308, format!("http://new.test:{port}/new/")),
        ("moved.test:1", "/old/x%2Fy?q=%20", 308, format!("http://new.test:{port}/new/x%2Fy?q=%20")),
        ("moved.test", "/older", 303, format!("http://moved.test:{port}/home")),
        ("moved.test:1", "/?a=b", 303, format!("http://moved.test:{port}/home?a=b")),
    ] {
        let answer = client.ask(&Request::get(target).host(host)).await;
        assert_eq!((answer.status, answer.header("location")), (status, Some(&*location)), "{host} {target}");
        assert_eq!((answer.header("content-length"), answer.header("x-tidegate-error")), (Some("0"), None));
        assert_eq!(answer.header("cache-control").is_some(), status == 308, "{host} {target}");
    }
    assert_eq!((client.connects, upstream.requests()), (1, 0), "on one connection, and none is sent on");
    let nowhere = raw(tidegate.web(), b"GET /lost HTTP/1.1\r\nHost:\r\n\r\n", PATIENCE).await;
    assert_eq!(nowhere.status(), 400, "no host, no redirect to it");
}

#[tokio::test]
async fn answers_of_the_file() {
    let (upstream, tidegate) = start().await;
    let mut client = Client::new(tidegate.web());
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let answer = client.ask(&Request::new(method, "/any?thing").host("noon.test")).await;
        assert_eq!((answer.status, answer.header("content-length")), (503, Some("12")), "{method}");
        assert_eq!(answer.text(), if method == "HEAD" { "" } else { "back at noon" }, "{method}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{method}");
        assert_eq!(answer.head.all("x-from"), ["a", "b"], "{method}");
        assert_eq!((answer.header("retry-after"), answer.header("x-tidegate-error")), (None, None));
        let answer = client.ask(&Request::new(method, "/").host("nothing.test")).await;
        assert_eq!((answer.status, answer.header("content-length")), (204, None), "{method}");
    }
    assert_eq!((client.connects, upstream.requests()), (1, 0));
}

#[tokio::test]
async fn a_short_body_that_nobody_wants_does_not_cost_the_connection() {
    let (_upstream, tidegate) = start().await;
    let mut client = Client::new(tidegate.web());
    for size in [1, 1_000, 60_000] {
        for host in ["secure.test", "noon.test", "nothing.test"] {
            let answer = client.ask(&Request::post("/", &vec![b'x'; size]).host(host)).await;
            assert!(!answer.head.connection_has("close"), "{host} {size}");
        }
        assert_eq!(client.ask(&Request::get("/").host("else.test")).await.upstream(), "app", "{size}");
    }
    assert_eq!(client.connects, 1);
    let answer = client.ask(&Request::post("/", &vec![b'x'; 1_000_000]).host("noon.test")).await;
    assert_eq!((answer.text().as_str(), answer.head.connection_has("close")), ("back at noon", true));
    let waits = Request::post("/", b"x").host("noon.test").header("expect", "100-continue");
    let answer = client.ask(&waits).await;
    assert_eq!((answer.status, answer.head.connection_has("close")), (503, true));
    // What follows the body on the connection is the next request, and no part of it is taken for one.
    let post =
        "POST / HTTP/1.1\r\nHost: noon.test\r\nContent-Length: 27\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let next = "GET / HTTP/1.1\r\nHost: else.test\r\nConnection: close\r\n\r\n";
    let both = raw(tidegate.web(), format!("{post}{next}").as_bytes(), PATIENCE).await;
    let text = String::from_utf8_lossy(&both.bytes).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("\r\n\r\nback at noonHTTP/1.1 200 "),
        "{text}"
    );
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
}

#[tokio::test]
async fn they_are_counted_without_a_split_or_a_pool_and_explained() {
    let (_upstream, tidegate) = start().await;
    for host in ["secure.test", "noon.test", "noon.test"] {
        ask(tidegate.web(), &Request::get("/").host(host)).await;
    }
    let api = tidegate.api();
    eventually("they are counted", async || {
        let text = api.metrics().await;
        let count = |route: &str, code: &str| {
            let labels = [("route", route), ("split", ""), ("pool", ""), ("code", code)];
            metric(&text, "tidegate_requests_total", &labels)
        };
        (count("secure", "302") == Some(1.0) && count("noon", "503") == Some(2.0)).then_some(())
    })
    .await;
    let explain = async |host: &str, path: &str| {
        api.post("/v1/explain", &json!({ "host": host, "path": path })).await.ok()
    };
    let location = format!("http://new.test:{}/new/x?y=z", tidegate.web().port());
    let moved = explain("moved.test", "/old/x?y=z").await;
    assert_eq!(
        (&moved["route"], &moved["answer"]),
        (&json!("moved"), &json!({ "status": 308, "location": location }))
    );
    assert_eq!(
        (&moved["split"], &moved["pool"], &moved["reason"]),
        (&json!(null), &json!(null), &json!(null))
    );
    let noon = explain("noon.test", "/").await;
    assert_eq!(noon["answer"], json!({ "status": 503, "location": null }));
    assert_eq!(explain("else.test", "/").await["answer"], json!(null));
}
