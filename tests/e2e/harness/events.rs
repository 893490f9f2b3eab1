//! The stream of events, as a program would read it.

use serde_json::Value;
use tokio::net::TcpStream;

use super::client::status;
use super::wire::{Framing, Wire};
use super::{PATIENCE, Tidegate, within};

/// An open stream of events.
pub(crate) struct Events {
    wire: Wire,
    framing: Framing,
    text: String,
}

impl Events {
    pub(crate) async fn open(tidegate: &Tidegate) -> Self {
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
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
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
