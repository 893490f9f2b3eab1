//! Calls of Tidegate's admin API, over one connection that is kept.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{Reader, answer};
use crate::work::PATIENCE;

/// A connection to the API.
pub(super) struct Admin {
    address: SocketAddr,
    stream: TcpStream,
    reader: Reader,
}

impl Admin {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting to the admin API")?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, reader: Reader::new(64 * 1024) })
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value> {
        self.call("GET", path, "").await
    }

    /// A call; its answer. One that is refused is an error with what was said.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Value> {
        let text = self.text(method, path, body).await?;
        serde_json::from_slice(&text).with_context(|| format!("{method} {path}: not JSON"))
    }

    /// The same, of whatever kind the answer is.
    pub(super) async fn text(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let asked = self.exchange(method, path, body);
        let (status, text) = timeout(PATIENCE, asked)
            .await
            .context("no answer")
            .flatten()
            .with_context(|| format!("{method} {path}"))?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: status {status}: {}",
            String::from_utf8_lossy(&text)
        );
        Ok(text)
    }

    async fn exchange(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{kind}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let head = self.reader.head(&mut self.stream, answer).await?.context("the connection was closed")?;
        Ok((head.status, self.reader.text(&mut self.stream, head.framing).await?))
    }
}

/// A number at a place such as `/evidence/candidate/requests`.
pub(super) fn number(value: &Value, place: &str) -> Result<u64> {
    value.pointer(place).and_then(Value::as_u64).with_context(|| format!("no number at {place}: {value}"))
}
