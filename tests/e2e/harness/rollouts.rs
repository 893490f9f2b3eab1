//! Rollouts as a program would drive them: plans, calls, and waiting for what they lead to.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::api::Answer;
use super::{Api, Upstream, config, eventually};

/// The split of [`config::canary_rest`], all of whose users are in `stable`, with more keys for the split.
pub(crate) fn config(stable: &[&Upstream], canary: &[&Upstream], admin: &str, split_keys: &str) -> String {
    let pool = "read_timeout = \"2s\"";
    config::with_listener("", admin, &config::canary_rest(stable, canary, [100, 0], pool, split_keys))
}

/// A plan from `stable` to `canary` with these steps (percent and hold), which a test with little traffic can
/// pass; `more` is put over it.
pub(crate) fn plan(steps: &[(f64, &str)], more: Value) -> Value {
    let steps: Vec<Value> =
        steps.iter().map(|(percent, hold)| json!({ "percent": percent, "hold": hold })).collect();
    let plan = json!({ "baseline": "stable", "candidate": "canary", "steps": steps, "min_requests": 10, "bake": "0s" });
    over(plan, more)
}

/// A plan of another strategy than in steps.
pub(crate) fn plan_of(strategy: &str, more: Value) -> Value {
    let plan = json!({ "strategy": strategy, "baseline": "stable", "candidate": "canary", "min_requests": 10, "bake": "0s" });
    over(plan, more)
}

fn over(mut plan: Value, more: Value) -> Value {
    if let Value::Object(more) = more {
        plan.as_object_mut().unwrap().extend::<Map<String, Value>>(more);
    }
    plan
}

/// The split that all these tests move.
pub(crate) const ROLLOUT: &str = "/v1/splits/shop/rollout";

impl Api {
    /// Start a rollout of `shop`.
    pub(crate) async fn start(&self, plan: &Value) -> Answer {
        self.post(ROLLOUT, plan).await
    }

    /// `pause`, `resume`, `promote` or `abort`.
    pub(crate) async fn verb(&self, verb: &str) -> Answer {
        self.post(&format!("{ROLLOUT}/{verb}"), &Value::Null).await
    }

    pub(crate) async fn rollout(&self) -> Value {
        self.get(ROLLOUT).await.ok()
    }

    /// Wait until the rollout of `shop` is as asked for, and give it.
    pub(crate) async fn rollout_until(&self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let end = Instant::now() + super::PATIENCE;
        while Instant::now() < end {
            last = self.rollout().await;
            if is(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in time: {what}; it is {last:#}");
    }

    /// Wait for a state of the rollout of `shop`.
    pub(crate) async fn state(&self, state: &str) -> Value {
        self.rollout_until(&format!("the rollout is {state}"), |rollout| rollout["state"] == state).await
    }

    /// Wait for the step of that number, counted from 1.
    pub(crate) async fn step(&self, step: u64) -> Value {
        self.rollout_until(&format!("it is at step {step}"), |rollout| rollout["step"] == step).await
    }

    /// The candidate's share in force, as the split tells it.
    pub(crate) async fn share(&self) -> f64 {
        let split = self.get("/v1/splits/shop").await.ok();
        split["shares"]["canary"].as_f64().unwrap_or(0.0)
    }

    /// The candidate has this share.
    pub(crate) async fn assert_share(&self, share: f64) {
        let split = self.get("/v1/splits/shop").await.ok();
        let now = split["shares"]["canary"].as_f64().unwrap_or(0.0);
        assert!((now - share).abs() < 1e-9, "the share is to be {share}: {split:#}");
    }

    /// Wait until the candidate has this share.
    pub(crate) async fn share_is(&self, share: f64) {
        eventually(&format!("the candidate's share is {share}"), async || {
            ((self.share().await - share).abs() < 1e-6).then_some(())
        })
        .await;
    }
}

/// Tests that measure time, or need the machine's whole strength, run one after the other.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// Figures of several runs, sorted, with a name for each.
pub(crate) struct Figures {
    name: String,
    sorted: Vec<f64>,
}

impl Figures {
    pub(crate) fn new(name: &str, mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self { name: name.to_owned(), sorted: figures }
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        if self.sorted.len().is_multiple_of(2) {
            f64::midpoint(self.sorted[middle - 1], self.sorted[middle])
        } else {
            self.sorted[middle]
        }
    }

    pub(crate) fn last(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    pub(crate) fn print(&self) {
        let (first, last) = (self.sorted[0], self.last());
        let (name, runs, median) = (&self.name, self.sorted.len(), self.median());
        println!("{name}: median {median:.3}, from {first:.3} to {last:.3}, of {runs} runs");
    }
}
