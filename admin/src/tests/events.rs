//! Server-sent events.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::harness::{Admin, config};

type Lines = tokio::io::Lines<BufReader<TcpStream>>;

async fn listen(admin: &Admin) -> Lines {
    let mut stream = TcpStream::connect(admin.address).await.expect("it listens");
    let call = b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(call).await.expect("sent");
    let mut lines = BufReader::new(stream).lines();
    let mut head = String::new();
    while let Some(line) = next(&mut lines).await.filter(|line| !line.is_empty()) {
        head.push_str(&line);
        head.push('\n');
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    lines
}

async fn next(lines: &mut Lines) -> Option<String> {
    let line = tokio::time::timeout(Duration::from_secs(5), lines.next_line()).await;
    line.expect("something in time").ok().flatten()
}

/// The next event's kind and data.
async fn event(lines: &mut Lines) -> Option<(String, Value)> {
    let mut kind = String::new();
    loop {
        let line = next(lines).await?;
        if let Some(named) = line.strip_prefix("event: ") {
            kind = named.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Some((kind, serde_json::from_str(data).expect("JSON")));
        }
    }
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let admin = Admin::start(&config(""));
    let mut lines = listen(&admin).await;
    admin.put("/v1/splits/checkout/weights", r#"{"weights":{"stable":1},"reason":"r"}"#).await.ok();
    admin.post("/v1/pools/canary/drain", "").await.ok();
    let (kind, data) = event(&mut lines).await.expect("an event");
    assert_eq!(kind, "change");
    assert_eq!((&data["kind"], &data["actor"]), (&"change".into(), &"api".into()));
    assert_eq!((&data["generation"], &data["reason"]), (&2.into(), &"r".into()));
    assert_eq!(data["after"]["splits"]["checkout"]["weights"]["stable"], 1);
    assert!(data["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    let (kind, data) = event(&mut lines).await.expect("an event");
    assert_eq!((&*kind, &data["action"]), ("drain", &"drain".into()));
    admin.stop().await;
    assert!(event(&mut lines).await.is_none(), "the stream ends with the process");
}

#[tokio::test]
async fn readers_are_limited() {
    let admin = Admin::start(&config(""));
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(listen(&admin).await);
    }
    admin.get("/v1/events").await.refused(503);
    readers.clear();
    super::harness::eventually("places are free again", async || {
        admin.control.events().publish(tidegate_core::event::Event {
            kind: tidegate_core::event::Kind::Health,
            time_ms: 0,
            generation: 1,
            actor: "health".into(),
            message: "to notice who is gone".into(),
            detail: serde_json::Map::new(),
        });
        let mut stream = TcpStream::connect(admin.address).await.expect("it listens");
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
        let mut lines = BufReader::new(stream).lines();
        next(&mut lines).await.is_some_and(|line| line.contains(" 200 "))
    })
    .await;
}
