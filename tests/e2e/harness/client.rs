//! A keep-alive HTTP/1.1 client that knows a lost response when it sees one.
//!
//! It never repeats a request and never hides a closed connection: a connection that ends without a
//! `Connection: close` before it, or in the middle of a body, is a [`Fail`]. What a browser would paper over
//! is what these tests are for.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use super::PATIENCE;
use super::wire::{Framing, Head, Sum, Wire};

/// A request, built up by its own methods.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// Why there is no whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// No connection.
    Connect(String),
    /// The connection ended before the response began, without having been announced.
    Lost(String),
    /// The response began and did not end.
    Cut(String),
    /// Nothing in time.
    Late,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target, host) = (method.to_owned(), target.to_owned(), "shop.test".to_owned());
        Self { method, target, host, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::new("POST", target) }
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !self.body.is_empty() || self.method == "POST" || self.method == "PUT" {
            let _ = write!(text, "content-length: {}\r\n", self.body.len());
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The name of the upstream that answered; empty when the proxy did.
    pub(crate) fn upstream(&self) -> &str {
        self.header("x-upstream").unwrap_or_default()
    }

    /// The value of the echoed request header, all of that name joined with `, `.
    pub(crate) fn echoed(&self, name: &str) -> Option<String> {
        let json = self.json();
        let pairs = json["headers"].as_array().expect("an echo has headers");
        let own =
            pairs.iter().filter(|pair| pair[0].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name)));
        let values: Vec<&str> = own.filter_map(|pair| pair[1].as_str()).collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }
}

/// One connection at a time, made when needed.
pub(crate) struct Client {
    address: SocketAddr,
    wire: Option<Wire>,
    /// Connections made so far.
    pub(crate) connects: usize,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, wire: None, connects: 0 }
    }

    /// On a connection that has been made.
    pub(crate) fn on(stream: TcpStream) -> Self {
        Self { address: stream.peer_addr().unwrap(), wire: Some(Wire::new(stream)), connects: 1 }
    }

    /// Where the next connection goes.
    pub(crate) fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Send, and read the whole response.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Response, Fail> {
        self.send_within(request, PATIENCE).await
    }

    pub(crate) async fn send_within(&mut self, request: &Request, limit: Duration) -> Result<Response, Fail> {
        let outcome = tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or(Err(Fail::Late));
        if outcome.is_err() {
            self.wire = None;
        }
        outcome
    }

    /// A response that must be there.
    pub(crate) async fn ask(&mut self, request: &Request) -> Response {
        let sent = self.send(request).await;
        sent.unwrap_or_else(|fail| panic!("{} {}: {fail:?}", request.method, request.target))
    }

    async fn exchange(&mut self, request: &Request) -> Result<Response, Fail> {
        let mut wire = if let Some(wire) = self.wire.take() {
            wire
        } else {
            self.connects += 1;
            Wire::new(TcpStream::connect(self.address).await.map_err(|e| Fail::Connect(e.to_string()))?)
        };
        let mut bytes = request.head();
        bytes.extend_from_slice(&request.body);
        // A server may answer and close before it has read everything: then the answer counts.
        let written = wire.write(&bytes).await;
        let head = loop {
            let head = wire.head().await.map_err(|error| lost(&written, &error.to_string()))?;
            let head = head.ok_or_else(|| lost(&written, "closed before the response"))?;
            if status(&head) >= 200 {
                break head;
            }
        };
        let status = status(&head);
        let framing = match status {
            204 | 304 => Framing::Length(0),
            _ if request.method == "HEAD" => Framing::Length(0),
            _ => head.framing().unwrap_or(Framing::UntilClose),
        };
        let mut body = Vec::new();
        let read = wire.body(framing, |piece| body.extend_from_slice(piece)).await;
        read.map_err(|error| Fail::Cut(error.to_string()))?;
        if !head.connection_has("close") && framing != Framing::UntilClose {
            self.wire = Some(wire);
        }
        Ok(Response { status, head, body })
    }
}

fn lost(written: &std::io::Result<()>, why: &str) -> Fail {
    match written {
        Ok(()) => Fail::Lost(why.to_owned()),
        Err(error) => Fail::Lost(format!("{why}, after writing failed: {error}")),
    }
}

/// The status of a response's head; 0 when there is none.
pub(crate) fn status(head: &Head) -> u16 {
    head.first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// One request on a connection of its own, which must be answered.
pub(crate) async fn ask(address: SocketAddr, request: &Request) -> Response {
    Client::new(address).ask(request).await
}

/// What came back for bytes sent as they are.
pub(crate) struct Raw {
    pub(crate) bytes: Vec<u8>,
    /// Whether the peer closed the connection, orderly or not, within the time given.
    pub(crate) closed: bool,
}

impl Raw {
    /// The status of the first response; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        let text = String::from_utf8_lossy(&self.bytes);
        let word = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// Send these bytes and collect what comes until the peer closes or `limit` has passed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8], limit: Duration) -> Raw {
    let mut wire = Wire::new(TcpStream::connect(address).await.unwrap());
    let mut got = Vec::new();
    let closed = tokio::time::timeout(limit, async {
        // The peer may close while we still write; what it answered can be read nevertheless.
        let _ = wire.write(bytes).await;
        while let Ok(piece) = wire.some(usize::MAX).await {
            if piece.is_empty() {
                break;
            }
            got.extend_from_slice(&piece);
        }
    });
    let closed = closed.await.is_ok();
    Raw { bytes: got, closed }
}

/// The sum of these bytes, as the upstreams' echo tells it.
pub(crate) fn sum(bytes: &[u8]) -> String {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.0.to_string()
}
