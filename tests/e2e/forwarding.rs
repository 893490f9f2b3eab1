//! What a request and its answer look like on the other side.

use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config};

async fn start(trusted: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let server = format!("trusted_proxies = [{trusted}]");
    let tidegate = Tidegate::start(&config::server(&server, &config::one_pool(&[&upstream], "", ""))).await;
    (upstream, tidegate)
}

/// A request that claims to have come from elsewhere.
fn claiming() -> Request {
    Request::get("/?do=echo")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "claimed.test")
        .header("Forwarded", "for=203.0.113.9;proto=https;host=claimed.test")
}

#[tokio::test]
async fn claims_of_an_untrusted_peer_are_replaced() {
    let (_upstream, tidegate) = start("").await;
    let seen = ask(tidegate.web(), &claiming()).await;
    assert_eq!(seen.echoed("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.echoed("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen.echoed("x-forwarded-host").as_deref(), Some("shop.test"));
    let forwarded = seen.echoed("forwarded").unwrap_or_default();
    assert!(!forwarded.contains("203.0.113.9") && !forwarded.contains("claimed"), "{forwarded}");
    let plain = ask(tidegate.web(), &Request::get("/?do=echo")).await;
    assert_eq!(plain.echoed("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(plain.echoed("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(plain.echoed("x-forwarded-host").as_deref(), Some("shop.test"));
}

#[tokio::test]
async fn claims_of_a_trusted_peer_are_kept_and_appended_to() {
    let (_upstream, tidegate) = start("\"127.0.0.0/8\"").await;
    let seen = ask(tidegate.web(), &claiming()).await;
    let list: String = seen.echoed("x-forwarded-for").unwrap().split_whitespace().collect();
    assert_eq!(list, "203.0.113.9,127.0.0.1");
    assert_eq!(seen.echoed("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.echoed("x-forwarded-host").as_deref(), Some("claimed.test"));
    let forwarded = seen.echoed("forwarded").unwrap();
    assert!(forwarded.contains("203.0.113.9") && forwarded.contains("127.0.0.1"), "{forwarded}");
}

#[tokio::test]
async fn hop_by_hop_headers_stop_here_both_ways() {
    let (_upstream, tidegate) = start("").await;
    let mut client = Client::new(tidegate.web());
    let request = Request::get("/?do=echo")
        .header("Connection", "x-nominated, keep-alive")
        .header("X-Nominated", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eA==")
        .header("TE", "trailers")
        .header("Trailer", "x-late")
        .header("X-Ordinary", "kept");
    let seen = client.ask(&request).await;
    assert_eq!(seen.echoed("x-ordinary").as_deref(), Some("kept"));
    for name in ["x-nominated", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(seen.echoed(name), None, "{name} was forwarded");
    }
    let connection = seen.echoed("connection").unwrap_or_default();
    assert!(!connection.contains("x-nominated"), "{connection}");
    let answer = client.ask(&Request::get("/?do=hop")).await;
    assert_eq!((answer.text().as_str(), answer.header("x-public")), ("ok", Some("seen")));
    for name in ["x-private", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.header(name), None, "{name} was forwarded");
    }
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"], "of one name, and not joined");
}

#[tokio::test]
async fn host_is_kept_and_via_is_added() {
    let (_upstream, tidegate) = start("").await;
    let seen = ask(tidegate.web(), &Request::get("/?do=echo").host("Shop.Example:8443")).await;
    assert!(seen.echoed("host").unwrap().eq_ignore_ascii_case("shop.example:8443"));
    assert!(seen.echoed("via").unwrap().contains("1.1"), "{:?}", seen.echoed("via"));
    let chained = ask(tidegate.web(), &Request::get("/?do=echo").header("Via", "1.0 before")).await;
    let via = chained.echoed("via").unwrap();
    assert!(via.starts_with("1.0 before") && via.contains("1.1"), "{via}");
}

#[tokio::test]
async fn request_id_and_trace_are_kept_or_made() {
    let (_upstream, tidegate) = start("").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let own = Request::get("/?do=echo").header("x-request-id", "my-id-1").header("traceparent", trace);
    let kept = ask(tidegate.web(), &own.header("tracestate", "a=b")).await;
    assert_eq!(kept.echoed("x-request-id").as_deref(), Some("my-id-1"));
    let through = kept.echoed("traceparent").unwrap();
    assert_eq!(through[..35], trace[..35], "of the same trace");
    assert_eq!(kept.echoed("tracestate").as_deref(), Some("a=b"));
    let mut made = Vec::new();
    for _ in 0..2 {
        let answer = ask(tidegate.web(), &Request::get("/?do=echo")).await;
        let (id, trace) = (answer.echoed("x-request-id").unwrap(), answer.echoed("traceparent").unwrap());
        let parts: Vec<usize> = trace.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{trace}");
        assert!(trace.chars().all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c)), "{trace}");
        assert!(!id.is_empty());
        made.push((id, trace));
    }
    assert_ne!(made[0], made[1]);
}

#[tokio::test]
async fn the_path_loses_its_dot_segments_and_nothing_else() {
    let (_upstream, tidegate) = start("").await;
    let mut client = Client::new(tidegate.web());
    for (sent, seen) in [
        ("/a/b/../c", "/a/c"),
        ("/a/./b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/../../b", "/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a//b", "/a//b"),
        ("/a%41;x=1", "/a%41;x=1"),
        ("/a/..;/b", "/a/..;/b"),
    ] {
        let answer = client.ask(&Request::get(&format!("{sent}?do=echo&x=../y&z=%2e"))).await;
        assert_eq!(answer.json()["target"], format!("{seen}?do=echo&x=../y&z=%2e"), "{sent}");
    }
    for sent in ["/a%00b", "/a%", "/a%4", "/a%zz"] {
        assert_eq!(ask(tidegate.web(), &Request::get(sent)).await.status, 400, "{sent}");
    }
}

#[tokio::test]
async fn methods_and_answers_without_a_body_pass() {
    let (_upstream, tidegate) = start("").await;
    let mut client = Client::new(tidegate.web());
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        assert_eq!(client.ask(&Request::new(method, "/?do=echo")).await.json()["method"], method);
    }
    for status in [201, 204, 304, 404, 418, 500, 503] {
        let answer = client.ask(&Request::get(&format!("/?do=status:{status}"))).await;
        assert_eq!((answer.status, answer.header("x-tidegate-error")), (status, None));
    }
    assert_eq!(client.connects, 1, "the connection is kept throughout");
}
