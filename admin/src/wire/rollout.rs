//! Rollouts of splits, as answered and as told to hooks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tidegate_core::config;
use tidegate_core::guard::{self, Counts};
use tidegate_core::ledger;
use tidegate_core::rollout;
use utoipa::ToSchema;

use super::{DryRun, RolloutPlan};
use crate::clock::rfc3339;

/// A rollout of a split.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rollout {
    /// The split.
    pub split: String,
    /// Its number: the generation of its start.
    pub id: u64,
    /// The generation in which the split last changed, which is its `ETag`.
    pub generation: u64,
    /// `canary`, `blue_green` or `ab`.
    #[schema(value_type = String)]
    pub strategy: config::SplitStrategy,
    /// The pool to move from.
    pub baseline: String,
    /// The pool to move to.
    pub candidate: String,
    /// `running`, `paused`, `baking`, `succeeded` or `aborted`.
    pub state: &'static str,
    /// The step, from 1; 0 = before the first.
    pub step: usize,
    /// All steps.
    pub steps: Vec<Step>,
    /// The candidate's part of what it and the baseline have together, in percent.
    pub percent: f64,
    /// The candidate's share of the split, a fraction of 1.
    pub share: f64,
    /// What keeps a running rollout from going on.
    pub held: Option<Held>,
    /// Who has paused it.
    pub paused: Option<Said>,
    /// Who has ended it: `rollout` when the plan was carried out.
    pub ended: Option<Said>,
    /// Who has started it.
    pub started: Said,
    /// How long the step, or the bake, has lasted; pauses do not count.
    pub elapsed: String,
    /// How long the step, or the bake, lasts at least from now; null when no time is what it waits for.
    pub time_left: Option<String>,
    /// The candidate's requests in the step.
    pub step_requests: u64,
    /// So many are needed for it to pass.
    pub min_requests: u64,
    /// What has been seen since the start.
    pub evidence: Evidence,
    /// What was decided on evidence, oldest first.
    pub verdicts: Vec<Verdict>,
    /// The plan, with its defaults.
    #[schema(value_type = RolloutPlan)]
    pub plan: config::Rollout,
    /// False when it is in force but could not be written down: a restart would undo the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Only in the answer of a dry run.
    #[serde(flatten)]
    pub dry_run: DryRun,
}

/// A step of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct Step {
    /// The candidate's part, in percent.
    pub percent: f64,
    /// How long it lasts at least.
    pub hold: String,
    /// `manual`: it waits for promote.
    #[schema(value_type = Option<String>)]
    pub gate: Option<config::Gate>,
}

impl Step {
    pub(crate) fn of(step: &config::Step) -> Self {
        Self { percent: step.percent, hold: step.hold.to_string(), gate: step.gate }
    }
}

/// What keeps a running rollout from going on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Held {
    /// `gate`, `hook`, `check`, `evidence`, `health` or `state`.
    pub by: String,
    /// Why, in words.
    pub why: String,
}

impl Held {
    pub(crate) fn of(held: &rollout::Held) -> Self {
        Self { by: held.by.clone(), why: held.why.clone() }
    }
}

/// Who did something, why and when.
#[derive(Debug, Serialize, ToSchema)]
pub struct Said {
    /// Who: an operator's name, `guard`, `rollout`, `restart` or `file`.
    pub by: String,
    /// Why.
    pub why: Option<String>,
    /// When.
    pub at: String,
}

impl Said {
    pub(crate) fn of(said: &rollout::Said) -> Self {
        Self { by: said.by.clone(), why: said.why.clone(), at: rfc3339(said.at_ms) }
    }
}

/// What has been seen since the start.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Evidence {
    /// What `failure_ratio` compares: `user` or `request`.
    pub unit: &'static str,
    /// The pool to move to.
    pub candidate: Side,
    /// The pool to move from.
    pub baseline: Side,
    /// Requests that were left out, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// Requests that began while too many were in flight to be watched for getting stuck.
    pub unwatched: u64,
    /// Each test of the guard.
    pub tests: Vec<Test>,
    /// The candidate's last failed requests, oldest first.
    pub failures: Vec<FailedRequest>,
}

/// What has been seen of a pool.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Side {
    /// Requests that ended, or were stuck.
    pub requests: u64,
    /// Of these, failures.
    pub failures: u64,
    /// The part that failed; null before the first request.
    pub failure_rate: Option<f64>,
    /// Where the true rate lies with 95 % confidence, however often one looks.
    pub interval: [f64; 2],
    /// Users active who had not failed before, added up over the ticks.
    pub users: u64,
    /// Users who failed.
    pub failed_users: u64,
    /// The median duration, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of durations, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// How sure the intervals are: they miss the true rate with this chance.
const INTERVAL_ALPHA: f64 = 0.05;

impl Side {
    pub(crate) fn of(counts: &Counts, took: rollout::Quantiles) -> Self {
        let (low, high) = guard::interval(counts.failures, counts.requests, INTERVAL_ALPHA);
        let ms = |us: Option<u64>| us.map(|us| us as f64 / 1e3);
        Self {
            requests: counts.requests,
            failures: counts.failures,
            failure_rate: (counts.requests > 0).then(|| counts.failures as f64 / counts.requests as f64),
            interval: [low, high],
            users: counts.users,
            failed_users: counts.failed_users,
            p50_ms: ms(took.p50_us),
            p99_ms: ms(took.p99_us),
        }
    }
}

/// A test of the guard.
#[derive(Debug, Serialize, ToSchema)]
pub struct Test {
    /// The key of the guard that it belongs to, as `failure_ratio`; `latency_max` and `latency_ratio`.
    pub name: &'static str,
    /// The logarithm of its e-value, to base 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log10_e: Option<f64>,
    /// What that must reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log10_boundary: Option<f64>,
    /// For `failure_budget`: failed requests of the candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
    /// For `failure_budget`: how many spend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Whether it has reached what it must.
    pub crossed: bool,
    /// Whether it has, but too few users are behind it to act.
    pub waits_for_keys: bool,
}

impl Test {
    pub(crate) fn of(test: &guard::Test) -> Self {
        Self {
            name: test.name.as_str(),
            log10_e: test.log10_e,
            log10_boundary: test.log10_boundary,
            failures: test.failures,
            budget: test.budget,
            crossed: test.crossed,
            waits_for_keys: test.waits_for_keys,
        }
    }
}

/// A failed request of the candidate.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedRequest {
    /// When.
    pub time: String,
    /// The route that took it.
    pub route: String,
    /// What was answered; 0 for a request that is stuck.
    pub status: u16,
    /// Why it counts as failed, as in `tidegate_failures_total`, or `stuck`.
    pub reason: String,
    /// The endpoint last tried.
    pub endpoint: Option<String>,
    /// Its id, as in the access log; empty for one that is stuck.
    pub request_id: String,
}

impl FailedRequest {
    pub(crate) fn of(failed: &ledger::FailedRequest) -> Self {
        Self {
            time: rfc3339(failed.time_ms),
            route: failed.route.clone(),
            status: failed.status,
            reason: failed.reason.clone(),
            endpoint: failed.endpoint.clone(),
            request_id: failed.request_id.clone(),
        }
    }
}

/// One decision on evidence.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// When.
    pub time: String,
    /// The generation that it was found in.
    pub generation: u64,
    /// `abort`, `pause` or `pass`.
    pub action: &'static str,
    /// The test that decided, or `plan`.
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// The step, from 1.
    pub step: usize,
    /// The candidate's part, in percent.
    pub percent: f64,
    /// The candidate, since the start.
    pub candidate: Side,
    /// The baseline, since the start.
    pub baseline: Side,
    /// Requests that were left out, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// Each test, with its e-value and boundary.
    pub tests: Vec<Test>,
    /// The candidate's last failed requests, oldest first.
    pub failures: Vec<FailedRequest>,
    /// How many of them came from which endpoint.
    pub endpoints: BTreeMap<String, u64>,
}

impl Verdict {
    pub(crate) fn of(verdict: &rollout::Verdict) -> Self {
        Self {
            time: rfc3339(verdict.time_ms),
            generation: verdict.generation,
            action: verdict.decided.as_str(),
            by: verdict.by.clone(),
            why: verdict.why.clone(),
            step: verdict.step,
            percent: verdict.percent,
            candidate: Side::of(&verdict.candidate, verdict.candidate_us),
            baseline: Side::of(&verdict.baseline, verdict.baseline_us),
            excluded: verdict.excluded.clone(),
            tests: verdict.tests.iter().map(Test::of).collect(),
            failures: verdict.failures.iter().map(FailedRequest::of).collect(),
            endpoints: verdict.endpoints.clone(),
        }
    }

    /// As events and the log have it.
    pub(crate) fn json(verdict: &rollout::Verdict) -> Value {
        serde_json::to_value(Self::of(verdict)).unwrap_or(Value::Null)
    }
}
