//! A control plane on a free port, and a client that sends exactly what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::{Bound, Control, Options, bind, serve};

/// Two pools, a split and two routes; what follows is added at the end.
pub(super) fn config(more: &str) -> String {
    format!(
        r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[pools.stable]
endpoints = ["127.0.0.1:9001", {{ address = "127.0.0.1:9003", weight = 2 }}]
[pools.canary]
endpoints = ["127.0.0.1:9002"]
[splits.checkout]
weights = {{ stable = 95, canary = 5 }}
key = ["header:x-user-id", "cookie:uid"]
[[routes]]
name = "checkout"
hosts = ["shop.example.com"]
matches = [{{ path = {{ prefix = "/checkout" }}, methods = ["GET", "POST"] }}]
split = "checkout"
[[routes]]
name = "rest"
pool = "stable"
{more}
"#
    )
}

/// A running admin API; stops when dropped.
pub(super) struct Admin {
    pub(super) control: Arc<Control>,
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Admin {
    /// From the configuration's text.
    pub(super) fn start(text: &str) -> Self {
        Self::run(Control::open(Options::text(text.to_owned(), Clock::start())).expect("a good file"))
    }

    /// From a file.
    pub(super) fn start_file(path: &Path) -> Self {
        Self::run(Control::open(Options::file(path.to_owned(), Clock::start())).expect("a good file"))
    }

    fn run(control: Arc<Control>) -> Self {
        let bound = bind(&control, None).expect("a free port");
        let address = match &bound {
            Bound::Tcp(listener) => listener.local_addr().expect("bound"),
            Bound::Unix(..) => "127.0.0.1:0".parse().expect("an address"),
        };
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(Arc::clone(&control), bound, stop.clone().cancelled_owned()));
        Self { control, address, stop, server }
    }

    /// Stops, and gives up the state folder.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), &mut self.server).await;
        ended.expect("stops in time").expect("does not panic");
    }

    pub(super) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None).await
    }

    pub(super) async fn put(&self, path: &str, body: &str) -> Answer {
        self.call("PUT", path, &[], Some(body)).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[], Some(body)).await
    }

    /// A call with further headers; a body is JSON unless they say otherwise.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), "connection: close".to_owned()];
        if !has("host") {
            lines.push(format!("host: {}", self.address));
        }
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if let Some(body) = body {
            if !has("content-type") {
                lines.push("content-type: application/json".to_owned());
            }
            lines.push(format!("content-length: {}", body.len()));
        }
        let call = format!("{}\r\n\r\n{}", lines.join("\r\n"), body.unwrap_or_default());
        self.send(call.as_bytes()).await
    }

    /// These bytes, then whatever comes back until the end.
    pub(super) async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        // A refusal may come, and the connection go, before everything is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
        read.expect("an answer in time").ok();
        Answer::parse(&String::from_utf8(answer).expect("text"))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that must be a 200.
    pub(super) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The problem document of an answer that must have this status.
    pub(super) fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for key in ["type", "title", "detail"] {
            assert!(problem[key].is_string(), "{problem}");
        }
        problem
    }
}

/// Waits until something holds.
pub(super) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came about that {what}");
}
