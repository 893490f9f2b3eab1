//! Conformance: HTTP as RFC 9110, 9112 and 9113 have it, in cases that are data.
//!
//! Three kinds. *Requests* are what clients send, *answers* what upstreams send, both as raw bytes over
//! HTTP/1.1; *frames* are HTTP/2. Each case is played against the real process, between a raw client and
//! a raw upstream that keeps what it got to the byte. All cases run; all that fail are told at once, and
//! `docs/conformance.md` must say what was found. How to write a case: [`case`] and [`notation`].
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

mod case;
mod conversation;
mod differential;
mod frames;
mod generate;
mod message;
mod notation;
mod report;
mod run;
mod upstream;

/// Of the end-to-end tests, as much as the cases need: the real process and the sockets.
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/harness"]
mod harness {
    pub(crate) mod api;
    pub(crate) mod client;
    mod dice;
    mod logs;
    mod names;
    mod patience;
    mod tidegate;
    mod wire;

    pub(crate) use api::Api;
    pub(crate) use dice::Dice;
    pub(crate) use patience::{PATIENCE, eventually, within};
    pub(crate) use tidegate::Tidegate;
}

use std::fmt::Write as _;

use case::{Case, cases};
use frames::FrameCase;
use futures::StreamExt as _;
use harness::Tidegate;
use report::Outcome;
use run::{Place, run};
use upstream::Upstream;

/// Listeners for the cases; the second has small limits.
const LISTENERS: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"

[[listeners]]
name = "small"
address = "127.0.0.1:0"
header_timeout = "300ms"
idle_timeout = "300ms"
max_header_size = "1KiB"
max_body_size = "16"

[admin]
address = "127.0.0.1:0"
"#;

/// A pool and a route to it; a failure is told, not retried.
fn pool(name: &str, upstream: &Upstream, hosts: &str) -> String {
    format!(
        "[pools.{name}]\nendpoints = [\"{}\"]\n\n[[routes]]\nname = \"{name}\"\npool = \"{name}\"\n{hosts}\
         retry = {{ attempts = 0 }}\n\n",
        upstream.address
    )
}

/// One pool for all, since any host and any target must reach it; so one case after the other.
async fn requests(lane: &str) -> Vec<Outcome> {
    let upstream = Upstream::start().await;
    let tidegate = Tidegate::start(&format!("{lane}{LISTENERS}{}", pool("app", &upstream, ""))).await;
    let api = tidegate.api();
    let mut outcomes = Vec::new();
    for case in cases::<Case>("requests") {
        let web = tidegate.listener(&case.listener);
        let place = Place { web, host: "a", pool: "app", upstream: &upstream, api: &api };
        let wrong = run(&case, &place).await;
        outcomes.push(outcome("Requests", case, wrong));
    }
    outcomes
}

/// A pool for each, so that no case finds another's connections; several at once.
async fn answers(lane: &str) -> Vec<Outcome> {
    const AT_ONCE: usize = 8;
    let mut played = Vec::new();
    let mut config = format!("{lane}{LISTENERS}");
    for case in cases::<Case>("answers") {
        let upstream = Upstream::start().await;
        let hosts = format!("hosts = [\"{}\"]\n", case.id);
        let _ = write!(config, "{}", pool(&case.id, &upstream, &hosts));
        played.push((case, upstream));
    }
    let tidegate = Tidegate::start(&config).await;
    let api = tidegate.api();
    let each = played.into_iter().map(async |(case, upstream)| {
        let web = tidegate.listener(&case.listener);
        let place = Place { web, host: &case.id, pool: &case.id, upstream: &upstream, api: &api };
        let wrong = run(&case, &place).await;
        outcome("Upstream answers", case, wrong)
    });
    futures::stream::iter(each).buffered(AT_ONCE).collect().await
}

/// As the requests, and on the same port; one after the other, since some of them are floods.
async fn frames() -> Vec<Outcome> {
    let upstream = Upstream::start().await;
    let tidegate = Tidegate::start(&format!("{LISTENERS}{}", pool("app", &upstream, ""))).await;
    let api = tidegate.api();
    let mut outcomes = Vec::new();
    for case in cases::<FrameCase>("frames") {
        let web = tidegate.listener(case.listener());
        let place = Place { web, host: "a", pool: "app", upstream: &upstream, api: &api };
        let wrong = frames::run(&case, &place).await;
        let FrameCase { id, what, rule, level, unmet, .. } = case;
        outcomes.push(Outcome { kind: "HTTP/2 frames", id, what, rule, level, unmet, wrong });
    }
    outcomes
}

fn outcome(kind: &'static str, case: Case, wrong: Vec<String>) -> Outcome {
    let Case { id, what, rule, level, unmet, .. } = case;
    Outcome { kind, id, what, rule, level, unmet, wrong }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_comes_to_what_its_file_says() {
    const OFF: &str = "[server]\nexpress = false\n";
    let (requests, answers, frames) = tokio::join!(requests(OFF), answers(OFF), frames());
    report::conclude(&[requests, answers, frames].concat());
}

/// Nothing is left out there: the lane is our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_is_kept_in_the_express_lane() {
    let (requests, answers) = tokio::join!(requests(""), answers(""));
    let mut outcomes = [requests, answers].concat();
    for outcome in &mut outcomes {
        outcome.unmet = None;
    }
    report::assert_kept(&outcomes);
}
