//! WebSockets, with a real client and a real server library at the two ends.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::api::metric;
use crate::harness::client::raw;
use crate::harness::echo::{self, Echo, Socket};
use crate::harness::{PATIENCE, Tidegate, Upstream, config, eventually, within};

async fn connect(tidegate: &Tidegate) -> Socket {
    echo::connect(tidegate.web()).await.unwrap()
}

async fn start(keys: &str) -> (Echo, Tidegate) {
    let echo = Echo::start().await;
    let tidegate = Tidegate::start(&config::with(&config::one_pool_at(&[echo.address], keys, ""))).await;
    (echo, tidegate)
}

async fn say(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let heard = within(PATIENCE, "an echo", socket.next()).await.unwrap().unwrap();
    assert!(heard == message, "something else came back");
}

/// How the server said goodbye.
async fn goodbye(socket: &mut Socket) -> Option<CloseFrame> {
    loop {
        match within(PATIENCE, "a goodbye", socket.next()).await {
            Some(Ok(Message::Close(frame))) => return frame,
            Some(Ok(_)) => {}
            other => panic!("cut without a word: {other:?}"),
        }
    }
}

#[tokio::test]
async fn messages_of_all_sizes_come_back_as_they_were() {
    let (echo, tidegate) = start("").await;
    let mut socket = connect(&tidegate).await;
    say(&mut socket, Message::text("hello")).await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 12 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0].wrapping_mul(31)).collect();
        say(&mut socket, Message::binary(bytes)).await;
    }
    let count = metric(&tidegate.api().metrics().await, "tidegate_tunnels", &[("pool", "app")]);
    assert_eq!(count, Some(1.0));
    let frame = CloseFrame { code: CloseCode::Library(4_001), reason: "enough".into() };
    socket.close(Some(frame)).await.unwrap();
    assert_eq!(goodbye(&mut socket).await.map(|frame| u16::from(frame.code)), Some(4_001));
    eventually("the tunnel is over", async || {
        let metrics = tidegate.api().metrics().await;
        metric(&metrics, "tidegate_tunnels", &[("pool", "app")]).filter(|count| *count == 0.0)
    })
    .await;
    assert_eq!(*echo.goodbyes.lock(), [Some(4_001)]);
}

#[tokio::test]
async fn a_thousand_handshakes_and_each_is_heard() {
    let (_echo, tidegate) = start("").await;
    for number in 0..1_000 {
        let mut socket = connect(&tidegate).await;
        say(&mut socket, Message::text(format!("{number}"))).await;
    }
}

#[tokio::test]
async fn idling_has_a_limit_of_its_own_and_ends_with_a_word() {
    let (echo, tidegate) =
        start("tunnel_idle_timeout = \"1s\"\nread_timeout = \"200ms\"\nidle_timeout = \"100ms\"").await;
    let mut socket = connect(&tidegate).await;
    let began = Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        say(&mut socket, Message::text("still here")).await;
    }
    let frame = goodbye(&mut socket).await.expect("a code");
    assert_eq!(frame.code, CloseCode::Away);
    assert!(began.elapsed() >= Duration::from_millis(2_900), "{:?}", began.elapsed());
    eventually("the server was told, too", async || (*echo.goodbyes.lock() == [Some(1_001)]).then_some(()))
        .await;
}

#[tokio::test]
async fn when_a_drains_time_is_over_both_sides_are_told() {
    let (echo, tidegate) = start("").await;
    let mut socket = connect(&tidegate).await;
    say(&mut socket, Message::text("hello")).await;
    let api = tidegate.api();
    api.post("/v1/pools/app/drain", &json!({ "timeout": "2s" })).await.ok();
    say(&mut socket, Message::text("within the drain's time it goes on")).await;
    assert_eq!(goodbye(&mut socket).await.map(|frame| frame.code), Some(CloseCode::Away));
    eventually("the server was told, too", async || (*echo.goodbyes.lock() == [Some(1_001)]).then_some(()))
        .await;
    eventually("the pool has drained", async || {
        (api.get("/v1/pools/app").await.ok()["state"] == "drained").then_some(())
    })
    .await;
}

#[tokio::test]
async fn at_the_end_of_the_process_clients_are_told_even_behind_a_flood() {
    let echo = Echo::start().await;
    let rest = config::one_pool_at(&[echo.address], "", "");
    let text = config::server("shutdown_timeout = \"2s\"", &config::with(&rest));
    let mut tidegate = Tidegate::start(&text).await;
    let mut quiet = connect(&tidegate).await;
    let busy = connect(&tidegate).await;
    say(&mut quiet, Message::text("hello")).await;
    let (mut sending, mut hearing) = busy.split();
    let flood =
        tokio::spawn(async move { while sending.send(Message::binary(vec![7; 50_000])).await.is_ok() {} });
    tidegate.signal("TERM");
    let told = async {
        while let Some(heard) = hearing.next().await {
            match heard {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(error) => panic!("cut within a frame: {error}"),
            }
        }
        None
    };
    assert_eq!(within(PATIENCE, "the busy one is told", told).await, Some(CloseCode::Away));
    assert_eq!(goodbye(&mut quiet).await.map(|frame| frame.code), Some(CloseCode::Away));
    flood.abort();
    assert!(tidegate.ended(PATIENCE).await.success());
}

#[tokio::test]
async fn a_reload_and_a_shift_leave_it_alone() {
    let (echo, tidegate) = start("").await;
    let mut socket = connect(&tidegate).await;
    for round in 0..5 {
        let route = format!("timeout = \"{}s\"", round + 1);
        tidegate.replace_config(&config::with(&config::one_pool_at(&[echo.address], "", &route)));
        tidegate.signal("HUP");
        say(&mut socket, Message::text(format!("{round}"))).await;
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer_like_any_other() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    for status in [403, 200, 503] {
        let stream = TcpStream::connect(tidegate.web()).await.unwrap();
        let url = format!("ws://{}/?do=status:{status}", tidegate.web());
        match client_async(url, stream).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_served_as_if_it_had_not_been_asked_for() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    for (upgrade, connection) in
        [("h2c", "upgrade, http2-settings"), ("websocket", "close"), ("a, b", "upgrade")]
    {
        let request = format!(
            "GET /?do=echo HTTP/1.1\r\nhost: a\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\
             connection: {connection}\r\n\r\nGET /?do=vanish HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let got = raw(tidegate.web(), request.as_bytes(), PATIENCE).await;
        let text = String::from_utf8_lossy(&got.bytes).to_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        assert!(!text.contains("[\"upgrade\"") && !text.contains("[\"http2-settings\""), "{text}");
    }
}
