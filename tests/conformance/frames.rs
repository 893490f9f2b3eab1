//! HTTP/2 cases: frames as bytes, against the same port that speaks HTTP/1.1 (RFC 9113, prior knowledge).
//!
//! The client is raw on purpose. A library would refuse to send most of what is sent here, and would hide
//! how exactly it was refused.

mod client;
mod script;

use serde::Deserialize;

use crate::case::{Forwarded, Level, Script};
use crate::conversation::Talk;
use crate::harness::api::metric;
use crate::harness::eventually;
use crate::run::{self, Account, Place};
use crate::upstream::Seen;
use client::{Heard, converse};

/// A case over HTTP/2.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameCase {
    /// Unique over all files.
    pub(crate) id: String,
    /// In a few words.
    pub(crate) what: String,
    /// The rule, such as `RFC 9113 6.9`.
    pub(crate) rule: String,
    pub(crate) level: Level,
    /// Why this rule is not kept; never for a MUST.
    pub(crate) unmet: Option<String>,
    /// The listener that is asked.
    #[serde(default = "web")]
    listener: String,
    /// The frames, in the notation of [`script`]; the preface and an empty SETTINGS come before them.
    send: String,
    /// Whether these are the very first bytes of the connection.
    #[serde(default)]
    bare: bool,
    /// What must come, each with its alternatives: `status 1 400|reset 1 PROTOCOL_ERROR|goaway
    /// PROTOCOL_ERROR|closed`. An error's name may be left out.
    expect: Vec<String>,
    /// What must not come.
    #[serde(default)]
    never: Vec<String>,
    /// Whether another stream is served on the connection afterwards.
    #[serde(default)]
    alive: bool,
    /// What reaches the upstream.
    #[serde(default)]
    forwarded: Forwarded,
    /// At most so many requests reach it, when `forwarded` says nothing.
    at_most: Option<usize>,
    /// The body of stream 1's answer.
    body: Option<String>,
    #[serde(default)]
    upstream: Script,
    #[serde(default)]
    charged: Vec<String>,
}

fn web() -> String {
    "web".to_owned()
}

impl FrameCase {
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }
}

/// Plays a case; what was not as it must be.
pub(crate) async fn run(case: &FrameCase, place: &Place<'_>) -> Vec<String> {
    quiet(place).await;
    place.upstream.begin(run::play(&case.id, place, &case.upstream));
    let account = Account::open(place).await;
    let bytes = script::bytes(&case.send, case.bare).unwrap_or_else(|e| panic!("case {}: {e}", case.id));
    let heard = converse(place.web, &bytes, case).await;
    let mut wrong = told(case, &heard);
    if let Err(why) = Talk::connect(place.web).await.probe(place.host).await {
        wrong.push(format!("expected another client to be served, saw {why}"));
    }
    wrong.extend(account.charged(place, &case.charged).await);
    let seen: Vec<Seen> = place.upstream.seen().into_iter().filter(|seen| !seen.is_probe()).collect();
    match (case.at_most, &case.forwarded) {
        (Some(most), _) if seen.len() > most => {
            wrong.push(format!("upstream: expected at most {most} requests, saw {}", seen.len()));
        }
        (Some(_), _) => {}
        (None, forwarded) => {
            let answered = heard.statuses.iter().filter(|(_, status)| **status >= 200).count();
            wrong.extend(run::forwarded(&case.id, forwarded, place, &seen, answered));
        }
    }
    wrong
}

/// Waits until nothing of the case before is under way: of a flood, requests may still reach the upstream.
async fn quiet(place: &Place<'_>) {
    let mut before = None;
    eventually("the case before is over", async || {
        let metrics = place.api.metrics().await;
        let in_flight = metric(&metrics, "tidegate_requests_in_flight", &[("pool", place.pool)]);
        let total = place.upstream.total();
        let is_still = before.replace(total) == Some(total);
        (is_still && in_flight.is_none_or(|count| count < 1.0)).then_some(())
    })
    .await;
}

/// What the client was told.
fn told(case: &FrameCase, heard: &Heard) -> Vec<String> {
    let mut wrong = Vec::new();
    for wanted in &case.expect {
        if !wanted.split('|').any(|one| heard.has(one)) {
            wrong.push(format!("client: expected {wanted}, saw {heard}"));
        }
    }
    for unwanted in case.never.iter().filter(|one| heard.has(one)) {
        wrong.push(format!("client: expected no {unwanted}, saw {heard}"));
    }
    if case.alive && !heard.is_alive {
        wrong.push(format!("client: expected another stream to be served, saw {heard}"));
    }
    if let Some(body) = &case.body
        && heard.body != crate::notation::bytes(body).unwrap_or_default()
    {
        wrong.push(format!(
            "client: expected the body {body:?}, saw {:?}",
            heard.body.escape_ascii().to_string()
        ));
    }
    wrong
}
