//! What was decided on evidence, with all that explains it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guard::{Counts, Test};
use crate::ledger::FailedRequest;
use crate::units::Generation;

/// What a verdict came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// The candidate is worse: its share goes to the baseline.
    Abort,
    /// Somebody must look.
    Pause,
    /// A step, or the bake, has passed.
    Pass,
}

impl Decided {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Pass => "pass",
        }
    }
}

/// Durations of a pool's requests, in microseconds, over the whole rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50_us: Option<u64>,
    /// The 99th percentile.
    pub p99_us: Option<u64>,
}

/// One decision on evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The generation in force when it was found.
    pub generation: Generation,
    /// What it came to.
    pub decided: Decided,
    /// The test that decided, or `plan`.
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// The step, from 1.
    pub step: usize,
    /// The candidate's part of what it and the baseline had together, in percent.
    pub percent: f64,
    /// Counted of the candidate since the start.
    pub candidate: Counts,
    /// Counted of the baseline since the start.
    pub baseline: Counts,
    /// How long the candidate took.
    #[serde(default)]
    pub candidate_us: Quantiles,
    /// How long the baseline took.
    #[serde(default)]
    pub baseline_us: Quantiles,
    /// Requests that were left out, by reason.
    pub excluded: BTreeMap<String, u64>,
    /// Each test, with its e-value and boundary.
    pub tests: Vec<Test>,
    /// The candidate's last failed requests, oldest first.
    pub failures: Vec<FailedRequest>,
    /// How many of them came from which endpoint.
    pub endpoints: BTreeMap<String, u64>,
}
