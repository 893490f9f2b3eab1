//! The harness, without a proxy between: that it notices what the other tests say does not happen.

use std::time::Duration;

use crate::golden;
use crate::harness::client::{ask, raw, sum};
use crate::harness::hooks::{Answer, Hooks};
use crate::harness::load::Load;
use crate::harness::nginx::Nginx;
use crate::harness::upstream::{black_hole, refusing};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Client, Fail, Request, Tidegate, Upstream, config, eventually};

#[tokio::test]
async fn the_client_tells_a_whole_answer_from_a_lost_or_cut_one() {
    let upstream = Upstream::start("a").await;
    let mut client = Client::new(upstream.address());
    assert_eq!(client.ask(&Request::get("/")).await.text(), "a");
    assert_eq!(client.ask(&Request::get("/?do=chunked:100000")).await.body.len(), 100_000);
    assert_eq!(client.connects, 1, "kept alive");
    assert!(matches!(client.send(&Request::get("/?do=truncate")).await, Err(Fail::Cut(_))));
    assert!(matches!(client.send(&Request::get("/?do=truncate-chunked")).await, Err(Fail::Cut(_))));
    assert!(matches!(client.send(&Request::get("/?do=reset-mid")).await, Err(Fail::Cut(_))));
    assert!(matches!(client.send(&Request::get("/?do=reset")).await, Err(Fail::Lost(_))));
    let late = client.send_within(&Request::get("/?do=hang"), Duration::from_millis(200)).await;
    assert_eq!(late.err(), Some(Fail::Late));
    assert_eq!(client.ask(&Request::get("/?do=vanish")).await.status, 200);
    assert!(matches!(client.send(&Request::get("/")).await, Err(Fail::Lost(_))), "closed without notice");
}

#[tokio::test]
async fn an_upstream_dies_and_comes_back_on_its_port() {
    let upstream = Upstream::start("a").await;
    let mut client = Client::new(upstream.address());
    client.ask(&Request::get("/")).await;
    upstream.kill().await;
    assert!(matches!(client.send(&Request::get("/")).await, Err(Fail::Lost(_))));
    assert!(matches!(client.send(&Request::get("/")).await, Err(Fail::Connect(_))));
    upstream.revive().await;
    assert_eq!(client.ask(&Request::get("/")).await.text(), "a");
    assert_eq!((upstream.requests(), upstream.connections()), (2, 2));
    eventually("no connection is left", async || (upstream.open() <= 1).then_some(())).await;
}

#[tokio::test]
async fn an_echo_tells_head_and_body() {
    let upstream = Upstream::start("a").await;
    let request = Request::post("/x?do=echo", b"some bytes").header("X-One", "1");
    let answer = ask(upstream.address(), &request).await;
    let json = answer.json();
    assert_eq!((json["method"].as_str(), json["target"].as_str()), (Some("POST"), Some("/x?do=echo")));
    assert_eq!(
        (json["body_bytes"].as_u64(), json["body_sum"].as_str()),
        (Some(10), Some(&*sum(b"some bytes")))
    );
    assert_eq!(answer.echoed("x-one").as_deref(), Some("1"));
    let raw = raw(
        upstream.address(),
        b"GET /?do=status:503 HTTP/1.1\r\nconnection: close\r\n\r\n",
        Duration::from_secs(5),
    );
    let raw = raw.await;
    assert!(raw.closed && raw.status() == 503);
}

#[tokio::test]
async fn a_load_counts_what_fails() {
    let upstream = Upstream::start("a").await;
    let load = Load::start(upstream.address(), 4, &Request::get("/"));
    load.flows(100).await;
    load.stop().await.assert_clean(100);
    let load = Load::start(upstream.address(), 4, &Request::get("/"));
    load.flows(100).await;
    upstream.close_idle();
    upstream.kill().await;
    upstream.revive().await;
    load.flows(100).await;
    let tally = load.stop().await;
    assert!(!tally.failures.is_empty() && tally.of("a") >= 200, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_come_at_their_rate_whoever_hangs() {
    let upstream = Upstream::start("a").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let visitors = Visitors::start(tidegate.web(), &Crowd { connections: 192, ..Crowd::of(1000) });
    visitors.flow(100).await;
    visitors.take();
    upstream.behave("fail:100");
    visitors.flow(2000).await;
    let tally = visitors.take();
    println!("{:.0} a second, p99 {:?}, {:?}", tally.rate(), tally.quantile(990), tally.answers);
    assert!((900.0..1200.0).contains(&tally.rate()), "{}", tally.rate());
    let failed = tally.errors();
    assert!((130..270).contains(&failed), "a tenth of 2000: {failed}");
    assert_eq!((tally.hurt_beside("a"), tally.of("")), (0, 0));
    assert!(tally.hurt_beside("b") > 100 && tally.first_error.is_some());
    // What has hung is answered when the upstream is gone, if by an error.
    upstream.forget();
    upstream.behave("hang");
    eventually("a hundred hang", async || (upstream.active() >= 100).then_some(())).await;
    let (first, last) = upstream.span().unwrap();
    let rate = upstream.requests() as f64 / (last - first).as_secs_f64();
    println!("{rate:.0} a second while they hang");
    assert!(rate > 700.0, "an open loop does not slow down: {rate}");
    upstream.kill().await;
    let tally = visitors.stop().await;
    assert!(tally.errors() > 0);
}

#[tokio::test]
async fn times_that_are_drawn_are_exponential() {
    let upstream = Upstream::start("a").await;
    upstream.behave("spread:5");
    let visitors = Visitors::start(upstream.address(), &Crowd::of(400));
    visitors.flow(400).await;
    let tally = visitors.stop().await;
    let [half, most] = [500, 990].map(|of_thousand| tally.quantile(of_thousand));
    println!("half {half:?}, 99 of 100 {most:?}");
    assert!(half < Duration::from_millis(9) && most > Duration::from_millis(15), "{half:?} {most:?}");
}

#[tokio::test]
async fn hooks_answer_as_told_and_note_who_called() {
    let hooks = Hooks::start().await;
    let call = Request::post("/a", b"{\"on\":\"start\"}").header("x-one", "1");
    assert_eq!(ask(hooks.address(), &call).await.status, 200);
    hooks.answer("/a", Answer::Status(403));
    assert_eq!(ask(hooks.address(), &call).await.status, 403);
    hooks.answer("/a", Answer::after(async |body| if body["on"] == "start" { 204 } else { 500 }));
    assert_eq!(ask(hooks.address(), &call).await.status, 204);
    let seen = hooks.called("/a", 3).await;
    assert_eq!((seen.head.header("x-one"), &seen.body["on"]), (Some("1"), &serde_json::json!("start")));
    hooks.answer("/a", Answer::Garbage);
    assert!(matches!(Client::new(hooks.address()).send(&call).await, Err(Fail::Lost(_) | Fail::Cut(_))));
}

#[tokio::test]
async fn nginx_is_installed_and_starts() {
    let nginx = Nginx::start("location /x { return 200 \"x\"; }\n").await;
    assert_eq!(ask(nginx.address(), &Request::get("/x")).await.text(), "x");
    assert_eq!(ask(nginx.address(), &Request::get("/page.txt")).await.status, 200);
}

#[tokio::test]
async fn a_black_hole_neither_takes_nor_refuses() {
    let (address, _held, _listener) = black_hole().await;
    let mut client = Client::new(address);
    let late = client.send_within(&Request::get("/"), Duration::from_millis(500)).await;
    assert_eq!(late.err(), Some(Fail::Late));
    let refused = Client::new(refusing().await).send(&Request::get("/")).await;
    assert!(matches!(refused, Err(Fail::Connect(_))));
}

#[test]
fn the_hash_is_the_published_one() {
    // Of short texts, as other implementations of XXH3 give them.
    for (text, seed, hash) in [
        ("", 0, 0x2d06_8005_38d3_94c2_u64),
        ("a", 0, 0xe6c6_32b6_1e96_4e1f),
        ("abc", 0, 0x78af_5f94_892f_3950),
        ("user-1", 42, 0x944a_60dd_2e20_4847),
        ("0123456789abcdef", 7, 0xb5c9_aa9d_3ebd_6770),
    ] {
        assert_eq!(golden::xxh3(text.as_bytes(), seed), hash, "{text:?} with seed {seed}");
    }
    // Of so many times `x`, with the length as the seed: both sides of each change of method.
    for (length, hash) in [
        (3, 0x5920_8e92_ae51_9c46_u64),
        (8, 0xcf3b_58f6_4196_9a34),
        (17, 0xbf76_6a33_d6ef_1aae),
        (32, 0x506d_ca87_fb31_41b3),
        (33, 0xa06b_e1b9_1d64_cb67),
        (64, 0xf675_ff6f_2f6b_bc68),
        (65, 0x9921_506f_3683_cd89),
        (96, 0xcc2f_4735_e72f_750f),
        (97, 0xf587_4efa_e61d_9655),
        (128, 0x186e_2ae9_6e93_b103),
        (129, 0xebf4_affc_6838_1ed4),
        (240, 0x4416_fb6b_2e8b_3b09),
    ] {
        assert_eq!(golden::xxh3(&vec![b'x'; length], length as u64), hash, "{length} bytes");
    }
}
