//! The guard: from what was counted of two pools to whether a rollout may go on.
//!
//! Pure statistics, with no clock: a [`Tick`] is what was counted since the last look, [`State`] the
//! evidence so far, and [`State::assess`] says what to do about it. Each test is a file of its own. It
//! may be looked at as often as one likes: an e-value is a product of factors whose expectation is at
//! most 1 while all is well, so its chance of ever reaching `1/α` is at most `α` (Ville's inequality).
//! Evidence is never reset inside a rollout, and the error allowed is divided among the tests.
//!
//! Not here: what counts as a failure and whose it is ([`crate::decide`], and the ledger, the stage
//! before), and what a rollout does with a verdict (the stage after).

mod budget;
mod explain;
mod failure_rate;
mod failure_ratio;
mod interval;
mod latency;
mod mixture;
mod overall;
mod settings;

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

pub use interval::interval;
pub use mixture::Mixture;
pub use settings::{LatencySettings, Settings, TestName};

/// Where a split has a key, so many distinct keys must be behind a finding that counts requests: else
/// one user with a broken page and much patience would stop a rollout.
pub const LEAST_KEYS: u64 = 5;

/// So many timed requests must the baseline have before a candidate is held to its durations: a high
/// quantile of fewer is noise.
pub const LEAST_TIMED: u64 = 1_000;

/// What was counted of one pool: in a tick, or in all.
///
/// A request without a key counts as a key of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests that ended, or were in flight for too long.
    pub requests: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Keys active in a tick that had not failed before, in whichever pool.
    pub users: u64,
    /// Of these, keys whose first failure falls in the tick.
    pub failed_users: u64,
    /// Keys that failed in this pool for the first time.
    pub failed_keys: u64,
    /// Requests whose duration counts: served by this very pool.
    pub timed: u64,
    /// Of `timed`, longer than the limit of `latency.max`.
    pub over_max: u64,
    /// Of `timed_ratio`, longer than the limit of `latency.ratio`.
    pub over_ratio: u64,
    /// Of `timed`, those while there was a limit of `latency.ratio`.
    pub timed_ratio: u64,
    /// Distinct keys behind `over_max`.
    pub slow_max_keys: u64,
    /// Distinct keys behind `over_ratio`.
    pub slow_ratio_keys: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.users += other.users;
        self.failed_users += other.failed_users;
        self.failed_keys += other.failed_keys;
        self.timed += other.timed;
        self.over_max += other.over_max;
        self.over_ratio += other.over_ratio;
        self.timed_ratio += other.timed_ratio;
        self.slow_max_keys += other.slow_max_keys;
        self.slow_ratio_keys += other.slow_ratio_keys;
    }
}

/// What was counted since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Of the pool to move to.
    pub candidate: Counts,
    /// Of the pool that served before.
    pub baseline: Counts,
}

/// The evidence of a rollout so far. Read back from where it was kept, it goes on exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// All ticks of the candidate, added up.
    pub candidate: Counts,
    /// All ticks of the baseline, added up.
    pub baseline: Counts,
    failure_ratio: Mixture,
    failure_rate: Mixture,
    latency_max: Mixture,
    latency_ratio: Mixture,
    overall: Mixture,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Give the candidate's share to the baseline.
    Abort,
    /// Stay at this share and ask a person.
    Pause,
}

/// Where one test stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Which.
    pub name: TestName,
    /// The logarithm of its e-value, to base 10; absent for the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log10_e: Option<f64>,
    /// What that must reach; absent for the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log10_boundary: Option<f64>,
    /// Of the budget: failed requests of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
    /// Of the budget: how many spend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Whether it has reached what it must.
    pub crossed: bool,
    /// Whether it has, but too few distinct keys are behind it to act.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_keys: bool,
}

/// What the evidence says.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Every test that is on.
    pub tests: Vec<Test>,
    /// What to do, and which test says so. An abort goes before a pause.
    pub action: Option<(Action, TestName)>,
    /// Whether no test is above half its boundary, so that a step may pass.
    pub calm: bool,
}

impl State {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what was counted since the last look, while the candidate had this `share` of what it
    /// and the baseline have together, as a fraction of 1.
    pub fn observe(&mut self, settings: &Settings, tick: &Tick, share: f64) {
        self.candidate += tick.candidate;
        self.baseline += tick.baseline;
        failure_ratio::observe(&mut self.failure_ratio, settings, tick, share);
        failure_rate::observe(&mut self.failure_rate, settings, tick);
        latency::observe_max(&mut self.latency_max, settings, tick);
        latency::observe_ratio(&mut self.latency_ratio, settings, tick);
        overall::observe(&mut self.overall, settings, tick);
    }

    /// Says what the evidence so far asks for.
    pub fn assess(&self, settings: &Settings) -> Assessment {
        let ln_boundary = settings.ln_boundary();
        let mut calm = true;
        let mut tests = Vec::with_capacity(TestName::ALL.len());
        for name in settings.tests() {
            let test = match self.evidence(name) {
                Some((mixture, keys)) => {
                    let ln_e = mixture.ln_e();
                    let few_keys = settings.keyed && keys < LEAST_KEYS;
                    // What a few users have met neither stops a candidate nor holds it up.
                    calm &= few_keys || ln_e <= ln_boundary / 2.0;
                    statistical(name, ln_e, ln_boundary, few_keys)
                }
                None => self.budget(name, settings.failure_budget),
            };
            tests.push(test);
        }
        let acting = |action| {
            let mut crossed = tests.iter().filter(|test| test.crossed && !test.waits_for_keys);
            crossed.find(|test| action_of(test.name) == action).map(|test| (action, test.name))
        };
        let action = acting(Action::Abort).or_else(|| acting(Action::Pause));
        Assessment { tests, action, calm }
    }

    /// A test's evidence, and how many distinct keys are behind it; none for the budget.
    fn evidence(&self, name: TestName) -> Option<(&Mixture, u64)> {
        let (candidate, baseline) = (&self.candidate, &self.baseline);
        Some(match name {
            // It counts keys by itself, or was told not to.
            TestName::FailureRatio => (&self.failure_ratio, LEAST_KEYS),
            TestName::FailureRate => (&self.failure_rate, candidate.failed_keys),
            TestName::LatencyMax => (&self.latency_max, candidate.slow_max_keys),
            TestName::LatencyRatio => (&self.latency_ratio, candidate.slow_ratio_keys),
            TestName::Overall => (&self.overall, candidate.failed_keys + baseline.failed_keys),
            TestName::Budget => return None,
        })
    }

    fn budget(&self, name: TestName, budget: u64) -> Test {
        Test {
            name,
            log10_e: None,
            log10_boundary: None,
            failures: Some(self.candidate.failures),
            budget: Some(budget),
            crossed: budget::is_spent(budget, &self.candidate),
            waits_for_keys: false,
        }
    }
}

fn statistical(name: TestName, ln_e: f64, ln_boundary: f64, few_keys: bool) -> Test {
    let crossed = ln_e >= ln_boundary;
    Test {
        name,
        log10_e: Some(if ln_e.abs() < 1e-12 { 0.0 } else { ln_e / std::f64::consts::LN_10 }),
        log10_boundary: Some(ln_boundary / std::f64::consts::LN_10),
        failures: None,
        budget: None,
        crossed,
        waits_for_keys: crossed && few_keys,
    }
}

fn action_of(name: TestName) -> Action {
    if name == TestName::Overall { Action::Pause } else { Action::Abort }
}

#[cfg(test)]
mod tests;
