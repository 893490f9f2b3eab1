//! The typed client of the admin API, for the command line and the tests.
//!
//! JSON over HTTP/1.1, to an address or a Unix socket, one connection a call: calls are rare, and a
//! fresh connection never meets a restart half way. Every call has a deadline; only the event
//! stream ([`Client::events`]) may last. Paths are the caller's: [`segment`] makes a name safe in one.
//!
//! Deliberately no retries, no redirects and no TLS: a change must not be made twice, and the admin
//! API speaks plain HTTP on loopback or a socket.

mod events;
mod sse;
mod target;

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_MATCH, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub use events::Events;
pub use target::Target;

/// Who makes a change, as they say.
const ACTOR: &str = "x-tidegate-actor";
/// No answer is read beyond this.
const MAX_ANSWER_BYTES: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A change is answered after its journal is on disk, and disks can be slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to one Tidegate.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    authorization: Option<HeaderValue>,
    actor: Option<HeaderValue>,
    answer_timeout: Duration,
}

/// A good answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status, 200 to 299.
    pub status: u16,
    /// The `ETag`, quotes included, ready for `If-Match`.
    pub etag: Option<String>,
    /// The body; null when there is none.
    pub body: Value,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the connection broke before the answer.
    #[error("cannot reach Tidegate at {target}: {why}")]
    Unreachable {
        /// Where.
        target: Target,
        /// What the system said.
        why: String,
    },
    /// Tidegate, or what stands in its place, took too long.
    #[error("no answer from {target} within {} s", .after.as_secs_f64())]
    Timeout {
        /// Where.
        target: Target,
        /// The deadline.
        after: Duration,
    },
    /// Tidegate said no.
    #[error("{}", problem_text(*.status, .problem))]
    Refused {
        /// The status, 300 to 599.
        status: u16,
        /// The `application/problem+json` body; null when it was something else.
        problem: Value,
    },
    /// What answered is not Tidegate's admin API.
    #[error("{target} does not answer like Tidegate's admin API: {why}")]
    Strange {
        /// Where.
        target: Target,
        /// What was wrong.
        why: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token from {}: {why}", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// Whether nobody could be reached, as opposed to somebody who refused.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }
}

fn problem_text(status: u16, problem: &Value) -> String {
    let text = |key: &str| problem.get(key).and_then(Value::as_str);
    match text("detail").or_else(|| text("title")) {
        Some(said) => said.to_owned(),
        None => format!("refused with status {status}"),
    }
}

impl Client {
    /// A client for `target`, which sends no token.
    pub fn new(target: Target) -> Self {
        Self { target, authorization: None, actor: None, answer_timeout: ANSWER_TIMEOUT }
    }

    /// Sends the bearer token that `path` holds; white space around it is not part of it.
    pub fn with_token_file(self, path: &Path) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::Token { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        self.with_token(text.trim()).ok_or_else(|| bad("it holds no token of one line".into()))
    }

    /// Sends this bearer token; `None` if it is empty or cannot be sent in a header.
    pub fn with_token(mut self, token: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        self.authorization = (!token.is_empty()).then_some(value);
        self.authorization.is_some().then_some(self)
    }

    /// Says who makes the changes, for the history; a name that cannot be sent is left out.
    #[must_use]
    pub fn with_actor(mut self, name: &str) -> Self {
        self.actor = HeaderValue::from_str(name).ok();
        self
    }

    /// Waits this long for the answer of a call, instead of 30 s.
    #[must_use]
    pub fn with_answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Where it talks to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.call(Method::GET, path, None, None).await
    }

    /// Puts a value, if it is still the one of `if_match`.
    pub async fn put(&self, path: &str, body: &Value, if_match: Option<&str>) -> Result<Answer, ClientError> {
        self.call(Method::PUT, path, Some(body), if_match).await
    }

    /// Asks for something to be done.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// Everything that happens from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let request = self.request(Method::GET, "/v1/events", None, None)?;
        let response = self.within(self.answer_timeout, self.send(request)).await?;
        if response.status().is_success() {
            return Ok(Events::new(self.target.clone(), response.into_body()));
        }
        let refused = async { Err(self.refusal(response).await) };
        self.within(self.answer_timeout, refused).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let request = self.request(method, path, body, if_match)?;
        let exchange = async { self.read(self.send(request).await?).await };
        self.within(self.answer_timeout, exchange).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.authority())
            .header(ACCEPT, "application/json, application/problem+json, text/event-stream")
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(actor) = &self.actor {
            request = request.header(ACTOR, actor);
        }
        if let Some(etag) = if_match {
            request = request.header(IF_MATCH, etag);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |value| value.to_string().into());
        request.body(Full::new(body)).map_err(|error| self.strange(&error.to_string()))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, self.target.connect()).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.timeout(CONNECT_TIMEOUT)),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // Ends by itself when the answer has been read, or dropped.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, ClientError> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let status = response.status().as_u16();
        let etag = response.headers().get(ETAG).and_then(|tag| Some(tag.to_str().ok()?.to_owned()));
        let bytes = self.body(response).await?;
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let body = body.map_err(|error| self.strange(&format!("its answer is not JSON: {error}")))?;
        Ok(Answer { status, etag, body })
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status().as_u16();
        match self.body(response).await {
            Ok(bytes) => {
                ClientError::Refused { status, problem: serde_json::from_slice(&bytes).unwrap_or_default() }
            }
            Err(error) => error,
        }
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(self.strange(&format!("its answer broke off: {error}"))),
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(self.timeout(limit)))
    }

    fn timeout(&self, after: Duration) -> ClientError {
        ClientError::Timeout { target: self.target.clone(), after }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        ClientError::Unreachable { target: self.target.clone(), why: target::plain(error) }
    }

    /// A connection that was accepted and then came to nothing.
    fn broken(&self, error: &hyper::Error) -> ClientError {
        if error.is_parse() || error.is_parse_too_large() {
            return self.strange(&error.to_string());
        }
        ClientError::Unreachable { target: self.target.clone(), why: error.to_string() }
    }

    fn strange(&self, why: &str) -> ClientError {
        ClientError::Strange { target: self.target.clone(), why: why.to_owned() }
    }
}

/// A name as one segment of a path: everything but RFC 3986's unreserved characters is escaped.
pub fn segment(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
