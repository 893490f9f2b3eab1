//! The stream of events: every change, health transition, drain and reload, as it happens.

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::client::status;
use crate::harness::wire::{Framing, Wire};
use crate::harness::{PATIENCE, Tidegate, Upstream, config, within};

/// An open stream of events.
struct Events {
    wire: Wire,
    framing: Framing,
    text: String,
}

impl Events {
    async fn open(tidegate: &Tidegate) -> Self {
        let mut wire = Wire::new(TcpStream::connect(tidegate.admin()).await.unwrap());
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            tidegate.admin()
        );
        wire.write(request.as_bytes()).await.unwrap();
        let head = within(PATIENCE, "the head of the stream", wire.head()).await.unwrap().unwrap();
        assert_eq!(status(&head), 200);
        assert!(head.header("content-type").unwrap().starts_with("text/event-stream"));
        Self { wire, framing: head.framing().unwrap_or(Framing::UntilClose), text: String::new() }
    }

    /// The next event of that kind; others are passed over.
    async fn next(&mut self, kind: &str) -> Value {
        within(PATIENCE, &format!("an event {kind}"), async {
            loop {
                if let Some(data) = self.one(kind) {
                    return data;
                }
                let piece = match self.framing {
                    Framing::Chunked => self.wire.chunk().await.unwrap().expect("the stream goes on"),
                    _ => self.wire.some(usize::MAX).await.unwrap(),
                };
                assert!(!piece.is_empty(), "the stream has ended");
                self.text.push_str(&String::from_utf8_lossy(&piece));
            }
        })
        .await
    }

    fn one(&mut self, kind: &str) -> Option<Value> {
        while let Some(end) = self.text.find("\n\n") {
            let block: String = self.text.drain(..end + 2).collect();
            let of = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if of("event:") == Some(kind) {
                let data: Value = serde_json::from_str(of("data:").expect("data")).expect("JSON");
                assert_eq!(data["kind"], kind);
                for key in ["time", "generation", "actor"] {
                    assert!(data.get(key).is_some(), "{key} in {data}");
                }
                return Some(data);
            }
        }
        None
    }
}

#[tokio::test]
async fn what_happens_is_told() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let text = config::canary(&[&stable], &[&canary], [90, 10], config::QUICK_HEALTH);
    let tidegate = Tidegate::start(&text).await;
    let api = tidegate.api();
    let mut events = Events::open(&tidegate).await;
    let mut second = Events::open(&tidegate).await;
    let change = json!({ "weights": { "stable": 1, "canary": 1 }, "reason": "to be told" });
    let split = api.put("/v1/splits/shop/weights", &change).await.ok();
    let told = events.next("change").await;
    assert_eq!(told["generation"], split["generation"]);
    assert!(told.to_string().contains("to be told"), "{told}");
    assert_eq!(second.next("change").await["generation"], split["generation"], "to everyone who listens");
    canary.set_healthy(false);
    let told = events.next("health").await;
    assert!(told.to_string().contains(&canary.address().to_string()), "{told}");
    api.post("/v1/pools/stable/drain", &Value::Null).await.ok();
    assert!(events.next("drain").await.to_string().contains("stable"));
    tidegate.replace_config(&text.replace("90", "80"));
    api.post("/v1/config/reload", &Value::Null).await.ok();
    events.next("reload").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_does_not_read_holds_nobody_up() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    let _deaf = Events::open(&tidegate).await;
    let api = tidegate.api();
    let shifts: JoinHandle<()> = tokio::spawn(async move {
        for number in 1..500 {
            let reason = "x".repeat(1000);
            let body = json!({ "weights": { "stable": number, "canary": 1 }, "reason": reason });
            api.put("/v1/splits/shop/weights", &body).await.ok();
        }
    });
    within(PATIENCE * 3, "500 changes", shifts).await.unwrap();
}
