//! The access log: what is written of one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::HOST;
use http::{HeaderValue, Method, Uri};
use pingora_http::RequestHeader;
use serde::Serialize;
use tidegate_core::address::Address;
use tidegate_core::config::OnOff;
use tidegate_core::snapshot::Snapshot;

use super::Sink;
use crate::context::Context;

/// A client's words are cut to so many bytes.
const MAX_TEXT: usize = 2_048;

/// Writes access lines, or does not.
pub(crate) struct AccessLog {
    sink: Option<Arc<Sink>>,
}

/// One request, as one line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    time: String,
    message: &'static str,
    request_id: String,
    trace_id: String,
    client: String,
    method: String,
    host: String,
    path: String,
    status: u16,
    bytes: usize,
    duration_ms: f64,
    route: Option<Arc<str>>,
    split: Option<Arc<str>>,
    pool: Option<Arc<str>>,
    reason: Option<&'static str>,
    endpoint: Option<Address>,
    attempts: u32,
    /// How a gRPC call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    failure: Option<&'static str>,
    error: Option<&'static str>,
    /// The rollout that counts the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<u64>,
    generation: u64,
}

/// What the log tells of a request's head, as the client sent it.
pub(crate) struct Seen {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

impl Seen {
    pub(crate) fn of(head: &RequestHeader) -> Self {
        let host = head.headers.get(HOST).cloned();
        Self { method: head.method.clone(), uri: head.uri.clone(), host }
    }
}

impl AccessLog {
    /// Writes to the sink; without one, nothing.
    pub(crate) fn new(sink: Option<Arc<Sink>>) -> Self {
        Self { sink }
    }

    /// Writes a line of a request that was refused before it was routed.
    pub(crate) fn refused(&self, table: &Snapshot, peer: SocketAddr, status: u16, error: &'static str) {
        if let Some(sink) = self.sink.as_ref().filter(|_| table.settings.log.access == OnOff::On) {
            sink.access(refused_line(peer, status, error, table.generation));
        }
    }

    /// Writes a request's line, if it is to be logged.
    pub(crate) fn request(&self, seen: &Seen, bytes: usize, context: &mut Context) {
        let log = &context.snapshot.settings.log;
        let Some(sink) = self.sink.as_ref().filter(|_| log.access == OnOff::On) else { return };
        let sample = log.access_sample;
        let failed = context.failure.is_some() || context.error_code.is_some() || context.status >= 500;
        let drawn = context.entropy.next_u64() >> 11;
        if failed || (drawn as f64) < sample * (1u64 << 53) as f64 {
            sink.access(line(seen, bytes, context));
        }
    }
}

/// A request that was refused before it was routed.
fn refused_line(peer: SocketAddr, status: u16, error: &'static str, generation: u64) -> Line {
    Line {
        time: now(),
        message: "request",
        request_id: String::new(),
        trace_id: String::new(),
        client: peer.ip().to_canonical().to_string(),
        method: String::new(),
        host: String::new(),
        path: String::new(),
        status,
        bytes: 0,
        duration_ms: 0.0,
        route: None,
        split: None,
        pool: None,
        reason: None,
        endpoint: None,
        attempts: 0,
        grpc_status: None,
        failure: None,
        error: Some(error),
        rollout: None,
        generation,
    }
}

fn now() -> String {
    jiff::Timestamp::try_from(SystemTime::now()).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn line(seen: &Seen, bytes: usize, context: &Context) -> Line {
    let decision = context.decision;
    let serving = decision.map(|d| d.serving(&context.snapshot));
    let facts = context.facts.as_ref();
    Line {
        time: now(),
        message: "request",
        request_id: facts.map(|f| text(f.ids.request.as_bytes())).unwrap_or_default(),
        trace_id: facts.map(|f| f.ids.trace().to_owned()).unwrap_or_default(),
        client: facts.map(|f| f.client.to_string()).unwrap_or_default(),
        method: seen.method.to_string(),
        host: text(seen.host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default()),
        path: text(seen.uri.path().as_bytes()),
        status: context.status_told(),
        bytes,
        duration_ms: (context.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        route: context.route().map(|r| Arc::clone(&r.name)),
        split: context.split().map(|s| Arc::clone(&s.name)).filter(|name| !name.is_empty()),
        pool: serving.map(|m| Arc::clone(&m.name)),
        reason: decision.map(|d| d.reason.as_str()),
        endpoint: context.last_endpoint().cloned(),
        attempts: context.tries.count,
        grpc_status: context.grpc_status,
        failure: context.failure.map(tidegate_core::record::Failure::as_str),
        error: context.error_code,
        rollout: context.split().filter(|s| s.watch.is_some()).and_then(|s| Some(s.rollout.as_ref()?.id)),
        generation: context.snapshot.generation,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned()
}
