//! The access log: what is written of one request.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tidegate_core::address::Address;
use tidegate_core::config::OnOff;
use tidegate_core::record::Failure;
use tidegate_core::snapshot::Snapshot;

use super::Sink;
use crate::context::Context;
use crate::gateway::Asked;

/// A client's words are cut to so many bytes.
const MAX_TEXT: usize = 2_048;

/// Writes access lines, or does not.
pub(crate) struct AccessLog {
    sink: Option<Arc<Sink>>,
}

/// One request, as one line of JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'a> {
    time: &'a str,
    message: &'static str,
    request_id: &'a str,
    trace_id: &'a str,
    client: Client,
    method: &'a str,
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    route: Option<&'a str>,
    split: Option<&'a str>,
    pool: Option<&'a str>,
    reason: Option<&'static str>,
    endpoint: Option<&'a Address>,
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

/// The client's address, or nothing.
#[derive(Debug, Default)]
struct Client(Option<IpAddr>);

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(client) => client.serialize(serializer),
            None => serializer.serialize_str(""),
        }
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
            with_now(|time| {
                sink.access(&Line {
                    time,
                    message: "request",
                    client: Client(Some(peer.ip().to_canonical())),
                    status,
                    error: Some(error),
                    generation: table.generation,
                    ..Line::default()
                });
            });
        }
    }

    /// Writes a request's line, if it is to be logged.
    pub(crate) fn request<'a>(&self, asked: impl FnOnce() -> Asked<'a>, bytes: u64, context: &mut Context) {
        let log = &context.snapshot.settings.log;
        let Some(sink) = self.sink.as_ref().filter(|_| log.access == OnOff::On) else { return };
        let sample = log.access_sample;
        let failed = context.failure.is_some() || context.error_code.is_some() || context.status >= 500;
        let drawn = context.entropy.next_u64() >> 11;
        if failed || (drawn as f64) < sample * (1u64 << 53) as f64 {
            with_now(|time| sink.access(&line(time, &asked(), bytes, context)));
        }
    }
}

/// Gives the time as text, of which only the fraction is new with each line of the same second.
fn with_now(write: impl FnOnce(&str)) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WRITTEN.with_borrow_mut(|(second, text)| {
        if *second != since_epoch.as_secs() {
            *second = since_epoch.as_secs();
            let at = i64::try_from(*second).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
            *text = at.map(|at| format!("{at:.6}")).unwrap_or_default();
        }
        let mut left = since_epoch.subsec_micros();
        let mut digits = [b'0'; 6];
        for digit in digits.iter_mut().rev() {
            *digit += (left % 10).to_le_bytes()[0];
            left /= 10;
        }
        let fraction = text.len().saturating_sub(DIGITS_FROM_END)..text.len().saturating_sub(1);
        if let Ok(digits) = std::str::from_utf8(&digits) {
            text.replace_range(fraction, digits);
        }
        write(text);
    });
}

/// The fraction's six digits and the Z.
const DIGITS_FROM_END: usize = 7;

fn line<'a>(time: &'a str, asked: &Asked<'a>, bytes: u64, context: &'a Context) -> Line<'a> {
    let decision = context.decision;
    let serving = decision.map(|d| d.serving(&context.snapshot));
    let facts = context.facts.as_ref();
    Line {
        time,
        message: "request",
        request_id: facts.map(|facts| facts.ids.request()).unwrap_or_default(),
        trace_id: facts.map(|facts| facts.ids.trace()).unwrap_or_default(),
        client: Client(facts.map(|facts| facts.client)),
        method: asked.method.as_str(),
        host: text(asked.authority),
        path: text(asked.path),
        status: context.status_told(),
        bytes,
        duration_ms: (context.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        route: context.route().map(|r| &*r.name),
        split: context.split().map(|s| &*s.name).filter(|name| !name.is_empty()),
        pool: serving.map(|m| &*m.name),
        reason: decision.map(|d| d.reason.as_str()),
        endpoint: context.last_endpoint(),
        attempts: context.tries.count,
        grpc_status: context.grpc_status,
        failure: context.failure.map(Failure::as_str),
        error: context.error_code,
        rollout: context.split().filter(|s| s.watch.is_some()).and_then(|s| Some(s.rollout.as_ref()?.id)),
        generation: context.snapshot.generation,
    }
}

/// A client's words, of bounded length.
fn text(words: &str) -> Cow<'_, str> {
    String::from_utf8_lossy(&words.as_bytes()[..words.len().min(MAX_TEXT)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_now_and_in_order() {
        let mut last = String::new();
        for _ in 0..1_000 {
            with_now(|time| {
                assert!(*time >= *last, "{last} before {time}");
                last = time.to_owned();
            });
        }
        let at: jiff::Timestamp = last.parse().expect("a time");
        assert!(at.duration_until(jiff::Timestamp::now()).as_secs() < 60, "{last}");
        assert_eq!(last.len(), "2026-01-01T00:00:00.000000Z".len());
    }
}
