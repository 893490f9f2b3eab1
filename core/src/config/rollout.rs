//! `[splits.*.rollout]` and `[pools.*.rollout]`: a plan that moves traffic in guarded steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// A plan that moves a split from a baseline pool to a candidate pool in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// How the split is moved.
    #[serde(default)]
    pub strategy: SplitStrategy,
    /// The pool that serves now.
    pub baseline: String,
    /// The pool to move to.
    pub candidate: String,
    /// Shares of the candidate, one after the other.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// For `ab`: how long; absent = until stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// Requests of the candidate, per step, before it may pass.
    #[serde(default = "two_hundred")]
    pub min_requests: u64,
    /// Then the rollout pauses as inconclusive.
    #[serde(default = "one_hour")]
    pub max_step_time: Span,
    /// What follows a step that passed.
    #[serde(default)]
    pub on_success: OnSuccess,
    /// After 100 %: how long the baseline is kept warm and the guard watches.
    #[serde(default = "half_an_hour")]
    pub bake: Span,
    /// The analysis that stops the rollout.
    #[serde(default)]
    pub guard: Guard,
    /// Calls to other systems.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// Smoke tests against the candidate, before any user sees it.
    #[serde(default)]
    pub checks: Vec<Check>,
}

impl Rollout {
    /// The default of `max_step_time`.
    pub const MAX_STEP_TIME: Span = Span::secs(3_600);
}

fn two_hundred() -> u64 {
    200
}

fn one_hour() -> Span {
    Rollout::MAX_STEP_TIME
}

fn half_an_hour() -> Span {
    Span::secs(1_800)
}

/// How a split is moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitStrategy {
    /// In steps.
    #[default]
    Canary,
    /// In one step, checks first, a bake after.
    BlueGreen,
    /// Fixed shares, compared.
    Ab,
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The candidate's share, in percent; fractions allowed.
    #[schemars(range(min = 0, max = 100))]
    pub percent: f64,
    /// How long the step lasts at least.
    #[serde(default)]
    pub hold: Span,
    /// `manual`: wait for promote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// For promote.
    Manual,
}

/// What follows a step that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnSuccess {
    /// The next step.
    #[default]
    Advance,
    /// A pause.
    Pause,
}

/// `rollout.guard`: the analysis that stops a rollout when the candidate is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Abort after so many failed candidate requests; 0 = off.
    pub failure_budget: u64,
    /// Abort on evidence that the candidate fails more than this many times as often as the baseline.
    pub failure_ratio: f64,
    /// Abort on evidence that the candidate's failure rate is above this. Absent = off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failure_rate: Option<f64>,
    /// Abort on evidence that the candidate is slow. Absent = off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyGuard>,
    /// Pause when the split's whole failure rate passes this many times its rate before.
    pub overall_ratio: f64,
    /// A request in flight for longer counts as failed.
    pub stuck_after: Span,
    /// What is counted.
    pub unit: Unit,
    /// The chance, over the whole rollout, of aborting a candidate that is no worse.
    pub false_alarm: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            failure_budget: 0,
            failure_ratio: 1.5,
            max_failure_rate: None,
            latency: None,
            overall_ratio: 3.0,
            stuck_after: Span::secs(10),
            unit: Unit::Auto,
            false_alarm: 0.001,
        }
    }
}

/// `guard.latency`: bounds on a quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyGuard {
    /// Which quantile.
    pub quantile: f64,
    /// The candidate's quantile may be no longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// The candidate's quantile may be no more than this many times the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// What the guard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Users when the split has a key, else requests.
    #[default]
    Auto,
    /// Requests.
    Request,
    /// Users.
    User,
}

/// `rollout.hooks`: a call to another system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// When it is called.
    pub on: HookOn,
    /// Where the JSON is POSTed.
    pub url: String,
    /// How long an answer may take.
    #[serde(default = "five_seconds")]
    pub timeout: Span,
    /// File with a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
}

fn five_seconds() -> Span {
    Span::secs(5)
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookOn {
    /// Before the first step.
    Start,
    /// Before each further step.
    Step,
    /// Before the last step.
    BeforePromote,
    /// After an abort.
    Abort,
    /// After success.
    Success,
    /// To replace what runs behind a pool or an endpoint.
    Replace,
}

impl HookOn {
    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Step => "step",
            Self::BeforePromote => "before_promote",
            Self::Abort => "abort",
            Self::Success => "success",
            Self::Replace => "replace",
        }
    }
}

/// `rollout.checks`: a smoke test against the candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `GET` this path.
    pub path: String,
    /// Statuses that pass.
    #[serde(default = "two_xx")]
    #[schemars(extend("format" = "status"))]
    pub status: String,
}

fn two_xx() -> String {
    "200-299".into()
}

/// A plan that replaces what runs behind one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolRollout {
    /// How the pool is replaced.
    pub strategy: PoolStrategy,
    /// For `rolling`: endpoints away at once.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub max_unavailable: u32,
    /// How long it may take from the first call of the hook until what was replaced is healthy.
    #[serde(default = "five_minutes")]
    pub healthy_timeout: Span,
    /// For `recreate`: requests that may wait.
    #[serde(default = "one_thousand")]
    pub queue: u32,
    /// For `recreate`: how long a request may wait.
    #[serde(default = "thirty_seconds")]
    pub queue_timeout: Span,
    /// Calls to the deployer, with `on = "replace"`.
    #[serde(default)]
    pub hooks: Vec<Hook>,
}

fn one() -> u32 {
    1
}

fn five_minutes() -> Span {
    Span::secs(300)
}

fn one_thousand() -> u32 {
    1_000
}

fn thirty_seconds() -> Span {
    Span::secs(30)
}

/// How a pool is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolStrategy {
    /// Endpoint after endpoint.
    Rolling,
    /// All at once, while requests wait.
    Recreate,
}
