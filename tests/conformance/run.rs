//! One case over HTTP/1.1: played against the real process, and what it came to held against the file.

use std::net::SocketAddr;
use std::time::Duration;

use crate::case::{Case, Expected, Forwarded, Part, Script, bytes};
use crate::conversation::{Heard, Talk, Turn, converse};
use crate::harness::Api;
use crate::harness::api::metric;
use crate::message::Message;
use crate::notation::{self, shown};
use crate::upstream::{Play, Seen, Upstream, What};

/// Reasons that a pool can be charged for.
const REASONS: [&str; 7] = ["no_endpoint", "connect", "reset", "timeout", "truncated", "5xx", "protocol"];

/// Where a case is played.
pub(crate) struct Place<'a> {
    pub(crate) web: SocketAddr,
    /// A host that is routed to the pool.
    pub(crate) host: &'a str,
    pub(crate) pool: &'a str,
    pub(crate) upstream: &'a Upstream,
    pub(crate) api: &'a Api,
}

/// Plays a case; what was not as it must be.
pub(crate) async fn run(case: &Case, place: &Place<'_>) -> Vec<String> {
    let text = |text: &str| bytes(&case.id, place.host, text);
    place.upstream.begin(play(&case.id, place, &case.upstream));
    let account = Account::open(place).await;
    let turn = Turn {
        send: text(&case.send),
        then: case.then.as_deref().map(text).unwrap_or_default(),
        half_close: case.half_close,
        answers: case.answers.len(),
        until_closed: case.closed,
    };
    let mut heard = converse(place.web, turn).await;
    let mut wrong = told(case, place, &heard);
    if let Some(talk) = &mut heard.open
        && let Err(why) = talk.probe(place.host).await
    {
        wrong.push(format!("connection: expected to serve another request, saw {why}"));
    }
    wrong.extend(account.charged(place, &case.charged).await);
    let seen: Vec<Seen> = place.upstream.seen().into_iter().filter(|seen| !seen.is_probe()).collect();
    let finals = heard.answers.iter().filter(|answer| answer.status() >= 200).count();
    let answered = finals + usize::from(heard.cut.is_some());
    wrong.extend(forwarded(&case.id, &case.forwarded, place, &seen, answered));
    if let Some(expected) = case.reused {
        wrong.extend(reused(expected, case, place, &seen).await);
    }
    wrong
}

/// What the client was told.
fn told(case: &Case, place: &Place<'_>, heard: &Heard) -> Vec<String> {
    let mut wrong = Vec::new();
    let whole = heard.answers.iter().map(|answer| answer.status().to_string());
    let statuses: Vec<String> = whole.chain(heard.cut.map(|status| format!("{status} cut"))).collect();
    let fits = statuses.len() == case.answers.len()
        && statuses.iter().zip(&case.answers).all(|(status, any)| any.split('|').any(|one| one == status));
    if !fits || heard.trouble.is_some() {
        let trouble = heard.trouble.as_deref().unwrap_or("nothing else");
        let last = heard.answers.last().map(ToString::to_string).unwrap_or_default();
        wrong.push(format!("answers: expected {:?}, saw {statuses:?} and {trouble}; {last}", case.answers));
    }
    if let Some(answer) = heard.answers.last() {
        wrong.extend(message(&case.id, place, "client", &case.client, answer));
    }
    wrong
}

/// What is wrong with a message.
fn message(id: &str, place: &Place<'_>, to: &str, expected: &Expected, seen: &Message) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(line) = &expected.line
        && seen.line != String::from_utf8_lossy(&bytes(id, place.host, line))
    {
        wrong.push(format!("{to}: expected the line {line:?}, saw {:?}", seen.line));
    }
    for field in &expected.has {
        let (name, value) = field.split_once(": ").map_or((field.as_str(), None), |(n, v)| (n, Some(v)));
        let values = seen.all(name).join(", ");
        // As the messages have them: a character for each byte.
        let value = value.map(|v| bytes(id, place.host, v).into_iter().map(char::from).collect::<String>());
        if seen.all(name).is_empty() || value.as_ref().is_some_and(|value| *value != values) {
            wrong.push(format!("{to}: expected {field:?}, saw {values:?}"));
        }
    }
    for name in &expected.lacks {
        if !seen.all(name).is_empty() {
            wrong.push(format!("{to}: expected no {name:?}, saw {:?}", seen.all(name)));
        }
    }
    if let Some(body) = &expected.body
        && seen.body != notation::bytes(body).unwrap_or_default()
    {
        wrong.push(format!("{to}: expected the body {body:?}, saw {:?}", shown(&seen.body)));
    }
    wrong
}

/// What is wrong with what reached the upstream.
pub(crate) fn forwarded(
    id: &str,
    forwarded: &Forwarded,
    place: &Place<'_>,
    seen: &[Seen],
    answered: usize,
) -> Vec<String> {
    let anything = Expected::default();
    let expected: Vec<&Expected> = match forwarded {
        Forwarded::Part(Part::Cut) => {
            let is_whole = |seen: &&Seen| matches!(seen.what, What::Request(_));
            let whole = seen.iter().find(is_whole);
            return whole
                .map(|seen| format!("upstream: expected no whole request, saw {seen}"))
                .into_iter()
                .collect();
        }
        Forwarded::Any(false) => Vec::new(),
        Forwarded::Any(true) => vec![&anything; answered],
        Forwarded::One(expected) => vec![expected],
        Forwarded::All(expected) => expected.iter().collect(),
    };
    let mut wrong = Vec::new();
    if seen.len() != expected.len() {
        wrong.push(format!("upstream: expected {} requests, saw {}", expected.len(), all(seen)));
    }
    for (seen, expected) in seen.iter().zip(expected) {
        match &seen.what {
            What::Request(request) => wrong.extend(message(id, place, "upstream", expected, request)),
            What::Cut(_) | What::Broken(..) => wrong.push(format!("upstream: saw {seen}")),
        }
    }
    wrong
}

fn all(seen: &[Seen]) -> String {
    seen.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether the connection that the case used serves another request, in the case's version: connections of
/// plain requests are kept apart from all others.
async fn reused(expected: bool, case: &Case, place: &Place<'_>, seen: &[Seen]) -> Option<String> {
    const TIMES: u32 = 5;
    let version = if case.send.contains(" HTTP/1.0") { "HTTP/1.0" } else { "HTTP/1.1" };
    let used = seen.last().map(|seen| seen.connection);
    let mut connections = Vec::new();
    for _ in 0..TIMES {
        // A connection is given back, or not, a moment after the answer.
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Err(why) = Talk::connect(place.web).await.probe_in(version, place.host).await {
            return Some(format!("upstream: expected it to serve a client after this one, saw {why}"));
        }
        connections = place.upstream.seen().iter().filter(|s| s.is_probe()).map(|s| s.connection).collect();
        if expected && connections.iter().any(|number| Some(*number) == used) {
            return None;
        }
    }
    let was = connections.iter().any(|number| Some(*number) == used);
    (was != expected).then(|| {
        format!("upstream: expected its connection {used:?} to be kept: {expected}, saw later ones on {connections:?}")
    })
}

/// What an upstream is to do, as bytes.
pub(crate) fn play(id: &str, place: &Place<'_>, script: &Script) -> Play {
    let text = |text: &str| bytes(id, place.host, text);
    Play { at_once: text(&script.at_once), answer: text(&script.answer), then: script.then }
}

/// A pool's account of failures, from the moment that it is opened.
pub(crate) struct Account {
    before: [f64; REASONS.len()],
}

impl Account {
    pub(crate) async fn open(place: &Place<'_>) -> Self {
        Self { before: charges(place).await.0 }
    }

    /// What the pool was charged with, when it is not what it must be.
    pub(crate) async fn charged(self, place: &Place<'_>, expected: &[String]) -> Option<String> {
        let mut last = Vec::new();
        for _ in 0..200 {
            let (now, counted) = charges(place).await;
            let rises = REASONS.iter().zip(now.iter().zip(&self.before));
            last = rises.filter(|(_, (now, then))| now > then).map(|(reason, _)| *reason).collect();
            // A request is counted once its answer has gone out.
            if counted >= place.upstream.total() as f64 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let fits = last.len() == expected.len()
            && last.iter().zip(expected).all(|(seen, any)| any.split('|').any(|one| one == *seen));
        (!fits).then(|| format!("pool: expected to be charged {expected:?}, saw {last:?}"))
    }
}

/// How often the pool has been charged, by reason, and how many requests have been counted.
async fn charges(place: &Place<'_>) -> ([f64; REASONS.len()], f64) {
    let text = place.api.metrics().await;
    let of = |name, labels: &[_]| metric(&text, name, labels).unwrap_or(0.0);
    let pool = ("pool", place.pool);
    let failures = REASONS.map(|reason| of("tidegate_failures_total", &[pool, ("reason", reason)]));
    (failures, of("tidegate_requests_total", &[pool]))
}
