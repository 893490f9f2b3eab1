//! Limits on what a client may send.

use std::time::Duration;

use crate::harness::client::{ask, raw};
use crate::harness::{Client, Request, Tidegate, Upstream, config};

const LIMIT: Duration = Duration::from_secs(10);

async fn start(listener: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::with_listener(listener, "", &rest)).await;
    (upstream, tidegate)
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let (upstream, tidegate) = start("max_body_size = \"1KiB\"").await;
    let within = ask(tidegate.web(), &Request::post("/?do=echo", &[b'x'; 1024])).await;
    assert_eq!((within.status, within.json()["body_bytes"].as_u64()), (200, Some(1024)));
    let before = upstream.requests();
    let over = ask(tidegate.web(), &Request::post("/?do=echo", &[b'x'; 1025])).await;
    assert_eq!((over.status, upstream.requests()), (413, before));
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /?do=echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = raw(tidegate.web(), format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes(), LIMIT).await;
    assert_eq!((chunked.status(), chunked.closed), (413, true));
    let announced = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", u64::from(u32::MAX));
    assert_eq!(
        raw(tidegate.web(), announced.as_bytes(), LIMIT).await.status(),
        413,
        "at once, before the body"
    );
}

#[tokio::test]
async fn a_target_or_a_head_over_the_limit_is_refused() {
    let (upstream, tidegate) = start("max_header_size = \"4KiB\"").await;
    let mut client = Client::new(tidegate.web());
    assert_eq!(client.ask(&Request::get(&format!("/{}", "x".repeat(2000)))).await.status, 200);
    assert_eq!(client.ask(&Request::get("/").header("x", &"x".repeat(3000))).await.status, 200);
    let before = upstream.requests();
    let long = ask(tidegate.web(), &Request::get(&format!("/{}", "x".repeat(5000)))).await;
    assert!([414, 431].contains(&long.status), "{}", long.status);
    let large = ask(tidegate.web(), &Request::get("/").header("x", &"x".repeat(5000))).await;
    assert_eq!((large.status, upstream.requests()), (431, before));
}
