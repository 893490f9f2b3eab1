//! The other end of a rollout's hooks: a server that notes each call and answers as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;

use super::scripted::until_closed;
use super::wire::{Framing, Head, Wire};
use super::{Scripted, eventually};

/// A call that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) head: Head,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

type Work = Arc<dyn Fn(Value) -> Pin<Box<dyn Future<Output = u16> + Send>> + Send + Sync>;

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Answer {
    Status(u16),
    /// Never.
    Hang,
    /// Bytes that are no HTTP.
    Garbage,
    /// The status that this work ends with.
    After(Work),
}

impl Answer {
    /// Do something with the body of the call first.
    pub(crate) fn after<F>(work: impl Fn(Value) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = u16> + Send + 'static,
    {
        Self::After(Arc::new(move |body| Box::pin(work(body))))
    }
}

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    calls: Mutex<BTreeMap<String, Vec<Call>>>,
}

/// A running server. Dropping it closes everything.
pub(crate) struct Hooks {
    server: Scripted,
    shared: Arc<Shared>,
}

impl Hooks {
    /// Every path answers 200 until it is told otherwise.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_server = Arc::clone(&shared);
        let server = Scripted::start(move |wire| serve(wire, Arc::clone(&of_server))).await;
        Self { server, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL of a path such as `/approve`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// What this path answers from now on.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().insert(path.to_owned(), answer);
    }

    /// What this path was called with.
    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.shared.calls.lock().get(path).cloned().unwrap_or_default()
    }

    /// Wait until this path has been called so many times; the last of these calls.
    pub(crate) async fn called(&self, path: &str, times: usize) -> Call {
        eventually(&format!("{path} is called {times} times"), async || {
            self.calls(path).get(times - 1).cloned()
        })
        .await
    }
}

async fn serve(mut wire: Wire, shared: Arc<Shared>) {
    while let Ok(Some(head)) = wire.head().await {
        let at = Instant::now();
        let mut body = Vec::new();
        let framing = head.framing().unwrap_or(Framing::Length(0));
        if wire.body(framing, |piece| body.extend_from_slice(piece)).await.is_err() {
            return;
        }
        let path = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let call = Call { head, body: body.clone(), at };
        shared.calls.lock().entry(path.clone()).or_default().push(call);
        let answer = shared.answers.lock().get(&path).cloned().unwrap_or(Answer::Status(200));
        let status = match answer {
            Answer::Status(status) => status,
            Answer::Hang => return until_closed(&mut wire).await,
            Answer::Garbage => {
                let _ = wire.write(b"\x16\x03\x01 this is no answer\r\n\r\n").await;
                return;
            }
            Answer::After(work) => work(body).await,
        };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\n{{}}");
        if wire.write(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
