//! HTTP/2 at a listener and to upstreams: streams side by side, both ways, to every end that they can have.

use bytes::Bytes;
use futures::future::join_all;

use crate::harness::client::{ask, sum};
use crate::harness::h2_client::{download, upload};
use crate::harness::{Client, H2, Modern, PATIENCE, Request, Tidegate, Upstream, config, eventually, within};

async fn to_http1(route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", route)).await;
    (upstream, tidegate)
}

async fn to_http2(route: &str) -> (Modern, Tidegate) {
    let upstream = Modern::plain().await;
    let rest = config::one_pool_at(&[upstream.address], "protocol = \"h2\"", route);
    (upstream, Tidegate::start(&config::with(&rest)).await)
}

#[tokio::test]
async fn both_protocols_on_one_port_however_slowly_they_begin() {
    let (_upstream, tidegate) = to_http1("").await;
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
    let mut h2 = H2::plain(tidegate.web()).await;
    let echo = h2.ask(&Request::get("/?do=echo").header("cookie", "a=1").header("cookie", "b=2")).await;
    assert_eq!(echo.echoed("host").as_deref(), Some("shop.test"));
    assert_eq!(echo.echoed("cookie").as_deref(), Some("a=1; b=2"), "one line for HTTP/1.1");
    assert_eq!(echo.echoed("via").as_deref(), Some("2.0 tidegate"));
    // A request that is shorter than the preface, and one that begins like it.
    for request in ["GET / HTTP/1.0\r\n\r\n", "PRINT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"] {
        let raw = crate::harness::client::raw(tidegate.web(), request.as_bytes(), PATIENCE).await;
        assert_eq!(raw.status(), 200, "{request}");
    }
}

#[tokio::test]
async fn a_listener_without_http_2_does_not_speak_it() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::with_listener("http2 = false", "", &rest)).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let raw = crate::harness::client::raw(tidegate.web(), preface, PATIENCE).await;
    assert!(raw.closed && raw.status() >= 400, "{:?}", String::from_utf8_lossy(&raw.bytes));
}

#[tokio::test]
async fn streams_share_connections_on_both_sides() {
    let (upstream, tidegate) = to_http2("").await;
    let h2 = H2::plain(tidegate.web()).await;
    let asks = (0..50).map(|number| {
        let send = h2.send.clone();
        async move {
            let uri = format!("http://shop.test/{number}");
            let request = http::Request::get(uri).body(()).unwrap();
            let (answer, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
            let (_, body) = answer.await.unwrap().into_parts();
            let (body, _) = download(body).await.unwrap();
            let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&seen["version"], &seen["target"]),
                (&"HTTP/2.0".into(), &format!("/{number}").into())
            );
        }
    });
    within(PATIENCE, "fifty streams", join_all(asks)).await;
    assert_eq!(upstream.requests(), 50);
    assert!(upstream.connections() <= 10, "{} connections for 50 streams", upstream.connections());
}

#[tokio::test]
async fn large_bodies_both_ways_between_all_protocols() {
    let body: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let (_one, to_one) = to_http1("").await;
    let (_two, to_two) = to_http2("").await;
    let request = Request::post("/?do=reflect", &body);
    for tidegate in [&to_one, &to_two] {
        let by_two = H2::plain(tidegate.web()).await.ask(&request).await;
        let by_one = Client::new(tidegate.web()).ask(&request).await;
        for answer in [by_one, by_two] {
            assert_eq!((answer.status, sum(&answer.body)), (200, sum(&body)), "{}", answer.body.len());
        }
    }
}

#[tokio::test]
async fn trailers_of_an_answer_pass_and_te_is_told() {
    let (_upstream, tidegate) = to_http2("").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    let (answer, trailers) = h2.send(&Request::get("/?trailer=42").header("te", "trailers")).await.unwrap();
    assert_eq!(answer.echoed("te").as_deref(), Some("trailers"));
    assert_eq!(trailers["x-end"], "42");
    let by_one = ask(tidegate.web(), &Request::get("/?trailer=42")).await;
    assert_eq!(by_one.status, 200, "HTTP/1.1 clients get the answer without them");
}

#[tokio::test]
async fn a_body_that_ends_with_nothing_leaves_the_upstream_connection_whole() {
    let (upstream, tidegate) = to_http1("").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    for _ in 0..5 {
        let (answer, mut body) = h2.begin(&Request::post("/?do=echo", b"x"), false).await.unwrap();
        body.send_data(Bytes::from_static(b"x"), false).unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        let (_, body) = within(PATIENCE, "an answer", answer).await.unwrap().into_parts();
        let (body, _) = download(body).await.unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(seen["body_bytes"], 1);
        assert_eq!(h2.ask(&Request::get("/")).await.text(), "app");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_and_not_an_end() {
    let (_upstream, tidegate) = to_http1("").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    for act in ["truncate", "truncate-chunked", "reset-mid"] {
        let (answer, _) = h2.begin(&Request::get(&format!("/?do={act}")), true).await.unwrap();
        // The head may have been under way still.
        if let Ok(answer) = within(PATIENCE, act, answer).await {
            assert_eq!(answer.status(), 200, "{act}");
            assert!(within(PATIENCE, act, download(answer.into_body())).await.is_err(), "{act}");
        }
    }
    assert_eq!(h2.ask(&Request::get("/")).await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn an_early_answer_arrives_and_the_rest_of_the_body_is_let_go() {
    let (_upstream, tidegate) = to_http1("").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    let (answer, mut body) = h2.begin(&Request::post("/?do=early:413", b"x"), false).await.unwrap();
    let uploading = upload(&mut body, Bytes::from(vec![7; 4 << 20]));
    let (answer, ()) = within(PATIENCE, "an early answer", async { tokio::join!(answer, uploading) }).await;
    assert_eq!(answer.unwrap().status(), 413);
    assert_eq!(h2.ask(&Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn a_stream_that_is_reset_frees_the_upstream() {
    let (upstream, tidegate) = to_http1("").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    for _ in 0..20 {
        let (answer, mut body) = h2.begin(&Request::get("/?do=hang"), false).await.unwrap();
        eventually("the upstream is asked", async || (upstream.active() == 1).then_some(())).await;
        body.send_reset(h2::Reason::CANCEL);
        drop(answer);
        eventually("the upstream is free", async || (upstream.active() == 0).then_some(())).await;
    }
    assert_eq!(tidegate.api().in_flight("app").await, 0);
    assert_eq!(h2.ask(&Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn deadlines_hold_for_streams() {
    let (_upstream, tidegate) = to_http1("timeout = \"300ms\"\nretry = { attempts = 0 }").await;
    let mut h2 = H2::plain(tidegate.web()).await;
    let late = h2.ask(&Request::get("/?do=hang")).await;
    assert_eq!((late.status, late.header("x-tidegate-error")), (504, Some("upstream_timeout")));
    let (answer, _) = h2.begin(&Request::get("/?do=stream:100:100"), true).await.unwrap();
    let (_, body) = within(PATIENCE, "a head", answer).await.unwrap().into_parts();
    assert!(within(PATIENCE, "the end", download(body)).await.is_err(), "its head was sent: a reset");
    assert_eq!(h2.ask(&Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn a_body_that_stalls_is_the_clients_fault() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::with_listener("idle_timeout = \"500ms\"", "", &rest)).await;
    let mut h2 = H2::plain(tidegate.web()).await;
    let (answer, mut body) = h2.begin(&Request::post("/", b"x"), false).await.unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(within(PATIENCE, "an answer", answer).await.unwrap().status(), 408);
    let charged = crate::harness::api::metric(
        &tidegate.api().metrics().await,
        "tidegate_attempts_total",
        &[("pool", "app"), ("outcome", "timeout")],
    );
    assert_eq!(charged, Some(0.0));
}

#[tokio::test]
async fn an_idle_connection_is_told_before_it_ends() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::with_listener("idle_timeout = \"1s\"", "", &rest)).await;
    let mut h2 = H2::plain(tidegate.web()).await;
    assert_eq!(h2.ask(&Request::get("/")).await.status, 200);
    let ended = within(PATIENCE, "the end of an idle connection", h2.driving).await.unwrap();
    assert!(ended.is_ok(), "GOAWAY came first: {ended:?}");
}

#[tokio::test]
async fn at_a_drain_streams_finish_and_the_connection_is_told() {
    let (_upstream, mut tidegate) = to_http1("").await;
    let mut busy = H2::plain(tidegate.web()).await;
    let mut idle = H2::plain(tidegate.web()).await;
    assert_eq!(idle.ask(&Request::get("/")).await.status, 200);
    let (answer, _) = busy.begin(&Request::get("/?do=stream:20:50"), true).await.unwrap();
    let (_, body) = within(PATIENCE, "a head", answer).await.unwrap().into_parts();
    tidegate.signal("TERM");
    let (got, _) = within(PATIENCE, "the whole answer", download(body)).await.unwrap();
    assert!(!got.is_empty());
    for connection in [busy.driving, idle.driving] {
        let ended = within(PATIENCE, "the end of a connection", connection).await.unwrap();
        assert!(ended.is_ok(), "GOAWAY, and no more: {ended:?}");
    }
    assert!(tidegate.ended(PATIENCE).await.success());
}

#[tokio::test]
async fn an_upstream_that_resets_a_stream_is_charged_and_a_get_is_repeated() {
    let (upstream, tidegate) =
        to_http2("retry = { attempts = 1, on = [\"reset\"], budget_percent = 100 }").await;
    let answer = ask(tidegate.web(), &Request::get("/?reset")).await;
    assert_eq!((answer.status, answer.header("x-tidegate-error")), (502, Some("upstream_reset")));
    assert_eq!(upstream.requests(), 2);
    let post = ask(tidegate.web(), &Request::post("/?reset", b"x")).await;
    assert_eq!((post.status, upstream.requests()), (502, 3));
}
