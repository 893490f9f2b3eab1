//! A deployment behind a hook with `on = "replace"`: it kills upstreams and brings them back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::Upstream;
use super::hooks::{Answer, Hooks};

const PATH: &str = "/replace";

/// A deployer with the upstreams that it may replace.
pub(crate) struct Deployer {
    hooks: Hooks,
    works: Answer,
    brings_back: Arc<AtomicBool>,
}

impl Deployer {
    /// One that takes `away` to bring an upstream back.
    pub(crate) async fn start(upstreams: &[&Arc<Upstream>], away: Duration) -> Self {
        let upstreams: Vec<Arc<Upstream>> = upstreams.iter().map(|one| Arc::clone(one)).collect();
        let brings_back = Arc::new(AtomicBool::new(true));
        let comes_back = Arc::clone(&brings_back);
        let works = Answer::after(move |call| {
            replace(upstreams.clone(), addresses(&call), away, Arc::clone(&comes_back))
        });
        let hooks = Hooks::start().await;
        hooks.answer(PATH, works.clone());
        Self { hooks, works, brings_back }
    }

    /// A hook that calls it, as a plan has it.
    pub(crate) fn hook(&self) -> String {
        format!("hooks = [{{ on = \"replace\", url = \"{}\", timeout = \"20s\" }}]", self.hooks.url(PATH))
    }

    /// Replace nothing from now on, and answer with 500.
    pub(crate) fn refuses(&self) {
        self.hooks.answer(PATH, Answer::Status(500));
    }

    /// Do as one is told again.
    pub(crate) fn works(&self) {
        self.hooks.answer(PATH, self.works.clone());
    }

    /// Leave away what is killed from now on.
    pub(crate) fn brings_nothing_back(&self) {
        self.brings_back.store(false, Ordering::SeqCst);
    }

    /// What it was sent so far.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.hooks.calls(PATH).into_iter().map(|call| call.body).collect()
    }
}

async fn replace(
    upstreams: Vec<Arc<Upstream>>,
    addresses: Vec<SocketAddr>,
    away: Duration,
    comes_back: Arc<AtomicBool>,
) -> u16 {
    let named: Vec<_> = upstreams.iter().filter(|one| addresses.contains(&one.address())).collect();
    for upstream in &named {
        upstream.kill().await;
    }
    tokio::time::sleep(away).await;
    for upstream in named.iter().filter(|_| comes_back.load(Ordering::SeqCst)) {
        upstream.revive().await;
    }
    200
}

fn addresses(call: &Value) -> Vec<SocketAddr> {
    let many = call["endpoints"].as_array().into_iter().flatten();
    let all = many.chain(call.get("endpoint"));
    all.filter_map(|address| address.as_str()?.parse().ok()).collect()
}
