//! What a route changes on the way: the target, the Host, and headers both ways.

use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config};

async fn start(route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", route)).await;
    (upstream, tidegate)
}

#[tokio::test]
async fn the_target_and_the_host_are_rewritten_and_the_old_host_is_told() {
    let route = "matches = [{ path = { prefix = \"/shop\" } }, { path = { prefix = \"/v1/shop/\" } }]\n\
                 rewrite = { host = \"inner.test\", path = { prefix = \"/api\" } }";
    let (_upstream, tidegate) = start(route).await;
    let mut client = Client::new(tidegate.web());
    for (sent, seen) in [
        ("/shop", "/api"),
        ("/shop/", "/api/"),
        ("/shop/a%2Fb", "/api/a%2Fb"),
        ("/shop/x/../y", "/api/y"),
        ("/v1/shop", "/api"),
        ("/v1/shop/a//b", "/api/a//b"),
    ] {
        let answer =
            client.ask(&Request::get(&format!("{sent}?do=echo&q=%2e/../")).host("Shop.Test:80")).await;
        assert_eq!(answer.json()["target"], format!("{seen}?do=echo&q=%2e/../"), "{sent}");
        assert_eq!(answer.echoed("host").as_deref(), Some("inner.test"));
        assert_eq!(answer.echoed("x-forwarded-host").as_deref(), Some("Shop.Test:80"));
    }
    let whole =
        "GET http://shop.test/shop/x?do=echo HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    let answer =
        crate::harness::client::raw(tidegate.web(), whole.as_bytes(), crate::harness::PATIENCE).await;
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(text.contains("\"target\":\"/api/x?do=echo\""), "{text}");
}

#[tokio::test]
async fn a_full_path_keeps_the_query() {
    let (_upstream, tidegate) = start("rewrite = { path = { full = \"/one\" } }").await;
    for sent in ["/", "/a/b", "/one"] {
        let answer = ask(tidegate.web(), &Request::get(&format!("{sent}?do=echo"))).await;
        assert_eq!(answer.json()["target"], "/one?do=echo", "{sent}");
        assert_eq!(answer.echoed("host").as_deref(), Some("shop.test"), "the host stays");
    }
}

#[tokio::test]
async fn a_retry_is_rewritten_as_the_first_try() {
    let down = crate::harness::upstream::refusing().await;
    let upstream = Upstream::start("app").await;
    let route = "matches = [{ path = { prefix = \"/a\" } }]\nrewrite = { path = { prefix = \"/a/a\" } }\n\
                 request_headers = { add = { x-mark = \"1\" } }\nretry = { attempts = 3 }";
    let rest = config::one_pool_at(&[down, upstream.address()], "", route);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..20 {
        let answer = client.ask(&Request::get("/a/b?do=echo")).await;
        assert_eq!(answer.json()["target"], "/a/a/b?do=echo");
        assert_eq!(answer.echoed("x-mark").as_deref(), Some("1"), "once");
    }
}

#[tokio::test]
async fn request_headers_have_the_last_word() {
    let route = "[routes.request_headers]\nremove = [\"X-Secret\", \"Via\"]\n\
                 set = { x-forwarded-proto = \"https\", X-One = [\"a\", \"b\"] }\n\
                 add = { x-two = \"c\", x-one = \"d\" }";
    let (_upstream, tidegate) = start(route).await;
    let request =
        Request::get("/?do=echo").header("x-secret", "s").header("x-one", "old").header("x-two", "b");
    let answer = ask(tidegate.web(), &request).await;
    for (name, seen) in [
        ("x-secret", None),
        ("via", None),
        ("x-forwarded-proto", Some("https")),
        ("x-one", Some("a, b, d")),
        ("x-two", Some("b, c")),
        ("x-forwarded-for", Some("127.0.0.1")),
    ] {
        assert_eq!(answer.echoed(name).as_deref(), seen, "{name}");
    }
}

#[tokio::test]
async fn response_headers_are_on_everything_that_the_route_answers() {
    let edits = "response_headers = { set = { x-frame-options = \"DENY\", x-upstream = \"hidden\" }, \
                 add = { vary = \"x-user\" }, remove = [\"x-public\"] }";
    let (upstream, tidegate) =
        start(&format!("matches = [{{ path = {{ prefix = \"/app\" }} }}]\n{edits}")).await;
    let mut client = Client::new(tidegate.web());
    let edited = |answer: &crate::harness::Response, what: &str| {
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{what}");
        assert_eq!(answer.head.all("x-upstream"), ["hidden"], "{what}");
        assert_eq!(answer.head.all("vary"), ["x-user"], "{what}");
        assert_eq!(answer.header("x-public"), None, "{what}");
    };
    for act in ["hop", "status:404", "status:503", "status:204", "chunked:10"] {
        edited(&client.ask(&Request::get(&format!("/app?do={act}"))).await, act);
    }
    let reset = client.ask(&Request::post("/app?do=reset", b"x")).await;
    assert_eq!((reset.status, reset.header("x-tidegate-error")), (502, Some("upstream_reset")));
    edited(&reset, "an error");
    upstream.kill().await;
    let down = ask(tidegate.web(), &Request::get("/app")).await;
    assert_eq!(down.status, 502);
    edited(&down, "no connection");
    let unrouted = ask(tidegate.web(), &Request::get("/other")).await;
    assert_eq!((unrouted.status, unrouted.header("x-frame-options")), (404, None), "no route, no edits");
}
