//! Which route takes a request, as far as a client can see it, and what is said when none does.

use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config};

/// Who answers is the route's pool, and the pools are named for what they match.
const ROUTES: &str = r#"
[[routes]]
name = "host"
hosts = ["only.test"]
pool = "host"

[[routes]]
name = "wild"
hosts = ["*.wild.test"]
pool = "wild"

[[routes]]
name = "api"
matches = [{ path = { prefix = "/api/" }, methods = ["GET"] }]
pool = "api"

[[routes]]
name = "exact"
matches = [{ path = { exact = "/api/exact" } }]
pool = "exact"
"#;

async fn start() -> (Vec<Upstream>, Tidegate) {
    let (mut upstreams, mut pools) = (Vec::new(), String::new());
    for name in ["host", "wild", "api", "exact"] {
        let upstream = Upstream::start(name).await;
        pools += &config::pool(name, &[&upstream], "");
        upstreams.push(upstream);
    }
    (upstreams, Tidegate::start(&config::with(&format!("{pools}{ROUTES}"))).await)
}

#[tokio::test]
async fn hosts_are_compared_without_case_port_and_trailing_dot() {
    let (_upstreams, tidegate) = start().await;
    let mut client = Client::new(tidegate.web());
    for host in ["only.test", "ONLY.test", "only.test.", "only.test:99"] {
        assert_eq!(client.ask(&Request::get("/").host(host)).await.upstream(), "host", "{host}");
    }
    for host in ["a.wild.test", "a.b.wild.test", "A.Wild.Test:8080"] {
        assert_eq!(client.ask(&Request::get("/").host(host)).await.upstream(), "wild", "{host}");
    }
    for host in ["wild.test", "xonly.test", "only.test.evil.test", "a.wild.test.evil.test"] {
        assert_eq!(client.ask(&Request::get("/").host(host)).await.status, 404, "{host}");
    }
}

#[tokio::test]
async fn paths_and_methods_are_compared_as_written() {
    let (_upstreams, tidegate) = start().await;
    let mut client = Client::new(tidegate.web());
    for (method, path, upstream) in [
        ("GET", "/api", "api"),
        ("GET", "/api/", "api"),
        ("GET", "/api/x/y", "api"),
        ("GET", "/x/../api/x", "api"),
        ("GET", "/api/exact", "exact"),
        ("POST", "/api/exact?x=1", "exact"),
        ("GET", "/api/exact/", "api"),
        ("GET", "/apis", ""),
        ("GET", "/API", ""),
        ("HEAD", "/api", ""),
        ("POST", "/api", ""),
        ("GET", "/api/../x", ""),
    ] {
        let answer = client.ask(&Request::new(method, path)).await;
        assert_eq!(answer.upstream(), upstream, "{method} {path}");
        assert_eq!(answer.status, if upstream.is_empty() { 404 } else { 200 }, "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_route_the_answer_is_404_in_the_form_that_the_client_accepts() {
    let (upstreams, tidegate) = start().await;
    let plain = ask(tidegate.web(), &Request::get("/nothing")).await;
    assert_eq!((plain.status, plain.header("x-tidegate-error")), (404, Some("no_route")));
    assert!(plain.header("content-type").unwrap().starts_with("text/plain"));
    let accepting = Request::get("/nothing").header("accept", "application/problem+json");
    let problem = ask(tidegate.web(), &accepting).await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    let sent: usize = upstreams.iter().map(Upstream::requests).sum();
    assert_eq!((problem.json()["status"].as_u64(), sent), (Some(404), 0));
}
