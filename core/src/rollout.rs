//! Rollouts: a plan that moves a split from a baseline pool to a candidate in guarded steps.
//!
//! A [`Rollout`] is part of the runtime [`crate::state::State`]: journaled with each change of it, kept
//! over reloads and restarts. Between its changes the controller looks at it every 100 ms with
//! [`step`]: `(rollout, progress, what was seen) → (progress, what to do)`. What is to be done comes back
//! as an [`Order`], like an operator's, through [`crate::change`], so that a rollout has no way of its own
//! to move traffic.
//!
//! ```text
//!   start ─► step 0 ─ hooks, checks ─► step 1 ─ hold, evidence, gate, hooks ─► … ─► bake ─► succeeded
//!             (share 0)                  │                                          │
//!                                        └── guard · abort · revert · reload ───────┴──► aborted
//! ```
//!
//! By itself a rollout raises the candidate's share only as its plan says; the guard only lowers it.

mod order;
mod step;
mod verdict;
mod weights;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::config::{self, SplitStrategy, Step};
use crate::guard;
use crate::state::Weights;
use crate::units::{Generation, Span};

pub use order::{Found, Order};
pub(crate) use order::{apply, start};
pub use step::{Act, Answer, Finding, Look, Seen, hooks_before, step};
pub use verdict::{Decided, Quantiles, Verdict};
pub(crate) use weights::{all_to_baseline, share_percent, with_percent};

/// So many verdicts are kept of a rollout; the first and the last are what people look for.
pub const VERDICT_LIMIT: usize = 16;

/// The actor of changes that a rollout makes by itself.
pub const ACTOR: &str = "rollout";
/// The actor of changes that the guard makes.
pub const GUARD: &str = "guard";

/// Who did something, why and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who: an operator's name, `guard`, `rollout`, `restart`, `file`.
    pub by: String,
    /// Why, in words.
    pub why: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What keeps a running rollout from going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// `gate`, `hook`, `check`, `evidence`, `health` or `state`.
    pub by: String,
    /// Why, in words.
    pub why: String,
}

/// How far a rollout has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In its steps, or before the first.
    Steps,
    /// After the last: the baseline is kept warm.
    Bake,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The plan was carried out.
    Succeeded,
    /// It was called off, by an operator, the guard or the file.
    Aborted,
}

/// The state that people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Goes on by itself, unless held.
    Running,
    /// Waits for an operator.
    Paused,
    /// After the last step.
    Baking,
    /// Done.
    Succeeded,
    /// Called off.
    Aborted,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::Baking, Self::Succeeded, Self::Aborted];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::Aborted => "aborted",
        }
    }
}

/// What a rollout has seen since it began and in its current step; the controller carries it on.
///
/// Journaled with each change of the rollout, so that a restart loses only what came after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What the guard knows.
    pub guard: guard::State,
    /// How long the current step, or the bake, has lasted; pauses do not count. In milliseconds.
    pub elapsed_ms: u64,
    /// The candidate's requests in it.
    pub requests: u64,
    /// What keeps it from going on.
    pub held: Option<Held>,
    /// The step whose hooks and checks are to be asked, from 1.
    pub asking: Option<usize>,
    /// How long the candidate takes.
    #[serde(default)]
    pub candidate_us: Quantiles,
    /// How long the baseline takes.
    #[serde(default)]
    pub baseline_us: Quantiles,
    /// How long a test has asked for a pause, in milliseconds.
    #[serde(default)]
    pub doubted_ms: u64,
}

/// A rollout's progress, as somebody has seen it by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The revision of the rollout that it was seen of.
    pub revision: u64,
    /// What was seen.
    pub progress: Progress,
}

impl Progress {
    /// How long the current step, or the bake, has lasted, as it is told.
    pub fn elapsed(&self) -> Span {
        Span::told_ms(self.elapsed_ms)
    }
}

/// A rollout of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The generation of its start, which names it.
    pub id: Generation,
    /// Counts its changes, so that a finding that is no longer true is refused.
    pub revision: u64,
    /// The plan, as it was when it started.
    pub plan: config::Rollout,
    /// Who started it.
    pub started: Said,
    /// The split's weights before it.
    pub before: Weights,
    /// The share of the baseline's requests that failed before it.
    pub rate_before: f64,
    /// How far it has come.
    pub stage: Stage,
    /// Steps entered: 0 = before the first.
    pub step: usize,
    /// The candidate's part of what it and the baseline have together, in percent.
    pub percent: f64,
    /// Whether the current step has passed, though the rollout was paused after it.
    pub passed: bool,
    /// Whether an operator lets it go on without the hooks and checks before the next step.
    pub waived: bool,
    /// Whether an operator has looked at the failures of both pools and let it go on all the same.
    pub overall_muted: bool,
    /// Set while it is paused.
    pub paused: Option<Said>,
    /// Set once it has ended.
    pub ended: Option<(End, Said)>,
    /// As of its last change.
    pub progress: Progress,
    /// What was decided on evidence, oldest first.
    pub verdicts: Vec<Verdict>,
}

impl Rollout {
    /// The state that people see.
    pub fn status(&self) -> Status {
        match (&self.ended, &self.paused, self.stage) {
            (Some((End::Succeeded, _)), ..) => Status::Succeeded,
            (Some((End::Aborted, _)), ..) => Status::Aborted,
            (None, Some(_), _) => Status::Paused,
            (None, None, Stage::Bake) => Status::Baking,
            (None, None, Stage::Steps) => Status::Running,
        }
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// The plan's steps: a blue-green's is one to all of the traffic, an A/B test's to what the split has.
    pub fn steps(&self) -> Cow<'_, [Step]> {
        let one = |percent, hold| Cow::Owned(vec![Step { percent, hold, gate: None }]);
        match self.plan.strategy {
            SplitStrategy::Canary => Cow::Borrowed(&self.plan.steps),
            SplitStrategy::BlueGreen => one(100.0, Span::default()),
            SplitStrategy::Ab => one(self.percent, self.plan.duration.unwrap_or_default()),
        }
    }

    /// In a word or two, for refusals and logs.
    pub fn describe(&self) -> String {
        let (baseline, candidate) = (&self.plan.baseline, &self.plan.candidate);
        format!("rollout {} from `{baseline}` to `{candidate}` ({})", self.id, self.status().as_str())
    }

    /// What the guard looks for.
    pub fn guard_settings(&self, keyed: bool) -> guard::Settings {
        let mut settings = guard::Settings::compile(&self.plan.guard, keyed, self.rate_before);
        if self.overall_muted {
            settings.overall_limit = None;
        }
        settings
    }
}

#[cfg(test)]
mod tests;
