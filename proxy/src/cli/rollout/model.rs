//! What is read of `GET /v1/splits/{split}/rollout` and `GET /v1/pools/{pool}/rollout`, and the phrases
//! that all views of it share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use tidegate_core::units::Span;

use crate::cli::paint::Tone;
use crate::cli::words::percent;

/// A rollout of a split, or of a pool: the fields of the other are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rollout {
    pub(crate) split: String,
    pub(crate) pool: String,
    pub(crate) id: u64,
    pub(crate) generation: u64,
    pub(crate) strategy: String,
    pub(crate) baseline: String,
    pub(crate) candidate: String,
    pub(crate) state: String,
    pub(crate) step: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) percent: f64,
    pub(crate) held: Option<Held>,
    pub(crate) paused: Option<Said>,
    pub(crate) ended: Option<Said>,
    pub(crate) started: Said,
    pub(crate) elapsed: String,
    pub(crate) time_left: Option<String>,
    pub(crate) step_requests: u64,
    pub(crate) min_requests: u64,
    pub(crate) evidence: Evidence,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) plan: Plan,
    /// Of a pool.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Of a pool that is recreated: so many wait for it.
    pub(crate) waiting_requests: u64,
    pub(crate) durable: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) percent: f64,
    pub(crate) hold: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Held {
    pub(crate) by: String,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    pub(crate) by: String,
    pub(crate) why: Option<String>,
    pub(crate) at: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plan {
    pub(crate) bake: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Evidence {
    pub(crate) unit: String,
    pub(crate) candidate: Side,
    pub(crate) baseline: Side,
    pub(crate) excluded: BTreeMap<String, u64>,
    pub(crate) unwatched: u64,
    pub(crate) tests: Vec<Test>,
    pub(crate) failures: Vec<FailedRequest>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Side {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) interval: [f64; 2],
    pub(crate) users: u64,
    pub(crate) failed_users: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) log10_e: Option<f64>,
    pub(crate) log10_boundary: Option<f64>,
    pub(crate) failures: Option<u64>,
    pub(crate) budget: Option<u64>,
    pub(crate) crossed: bool,
    pub(crate) waits_for_keys: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FailedRequest {
    pub(crate) time: String,
    pub(crate) route: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) request_id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    pub(crate) time: String,
    pub(crate) action: String,
    pub(crate) by: String,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) state: String,
}

/// Who, and why if they said so: `alice: release 7`.
pub(crate) fn who(by: &str, why: Option<&str>) -> String {
    match why.filter(|why| !why.is_empty()) {
        Some(why) => format!("{by}: {why}"),
        None => by.to_owned(),
    }
}

impl Rollout {
    pub(crate) fn is_pool(&self) -> bool {
        !self.pool.is_empty()
    }

    /// `rollout 12 of shop`.
    pub(crate) fn name(&self) -> String {
        let of = if self.is_pool() { &self.pool } else { &self.split };
        format!("rollout {} of {of}", self.id)
    }

    /// What a command calls it: `shop`, or `--pool stable`.
    pub(crate) fn subject(&self) -> String {
        if self.is_pool() { format!("--pool {}", self.pool) } else { self.split.clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "aborted")
    }

    pub(crate) fn tone(&self) -> Tone {
        match self.state.as_str() {
            "running" if self.held.is_some() => Tone::Warn,
            "paused" => Tone::Warn,
            "aborted" => Tone::Bad,
            _ => Tone::Good,
        }
    }

    /// The part of what it and the baseline have together that the candidate has.
    pub(crate) fn part(&self) -> String {
        percent(self.percent / 100.0)
    }

    /// How far it is: `step 2 of 5, canary at 5.0 %`.
    pub(crate) fn place(&self) -> String {
        if self.is_pool() {
            return self.endpoints_done();
        }
        let part = format!("{} at {}", self.candidate, self.part());
        match (self.state.as_str(), self.step) {
            ("baking" | "succeeded" | "aborted", _) => part,
            (_, 0) => format!("before its first step, {part}"),
            (_, step) => format!("step {step} of {}, {part}", self.steps.len()),
        }
    }

    fn endpoints_done(&self) -> String {
        let in_state = |state: &str| self.endpoints.iter().filter(move |e| e.state == state).count();
        let mut text = format!("{} of {} endpoints replaced", in_state("replaced"), self.endpoints.len());
        for (state, words) in ENDPOINT_STATES {
            if *state != "replaced" && *state != "waiting" && in_state(state) > 0 {
                let _ = write!(text, ", {} {words}", in_state(state));
            }
        }
        text
    }

    /// Why it is where it is, or for how long: `held by gate: step 2 has passed and waits for promote`.
    pub(crate) fn because(&self) -> Option<String> {
        if let Some(ended) = &self.ended {
            return Some(format!("by {}", who(&ended.by, ended.why.as_deref())));
        }
        if let Some(paused) = &self.paused {
            return Some(format!("by {}", who(&paused.by, paused.why.as_deref())));
        }
        if let Some(held) = &self.held {
            return Some(format!("held by {}", who(&held.by, Some(&held.why))));
        }
        self.time_left.as_ref().map(|left| format!("at least {left} left"))
    }

    /// All of it in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{}: {}, {}", self.name(), self.state, self.place());
        if let Some(because) = self.because() {
            line.push_str("; ");
            line.push_str(&because);
        }
        line
    }

    /// What is worth a new line in a log: not the time, nor numbers that grow.
    pub(crate) fn landmark(&self) -> String {
        let said = |said: &Option<Said>| said.as_ref().map(|said| said.at.clone()).unwrap_or_default();
        let held = self.held.as_ref().map(|held| held.by.as_str()).unwrap_or_default();
        format!("{} {} {held} {} {}", self.state, self.place(), said(&self.paused), said(&self.ended))
    }

    /// How much of the present step, or of the bake, is behind it: both time and requests are needed.
    pub(crate) fn progress(&self) -> f64 {
        let span = |text: &str| text.parse::<Span>().map_or(0.0, |span| span.0.as_secs_f64());
        let lasts = match self.state.as_str() {
            "baking" => self.plan.bake.as_deref(),
            _ => self.step.checked_sub(1).and_then(|at| self.steps.get(at)).map(|step| step.hold.as_str()),
        };
        let part = |done: f64, whole: f64| if whole > 0.0 { (done / whole).clamp(0.0, 1.0) } else { 1.0 };
        let lasts = lasts.map_or(0.0, span);
        if self.strategy == "ab" {
            // Its time is all that it waits for; without one it waits to be stopped.
            return if lasts > 0.0 { part(span(&self.elapsed), lasts) } else { 0.0 };
        }
        let time = part(span(&self.elapsed), lasts);
        time.min(part(self.step_requests as f64, self.min_requests as f64))
    }
}

/// States of an endpoint of a pool's rollout, in words.
pub(crate) const ENDPOINT_STATES: &[(&str, &str)] = &[
    ("draining", "draining"),
    ("replacing", "being replaced"),
    ("waiting_healthy", "waiting to be healthy"),
    ("failed", "failed"),
    ("replaced", "replaced"),
    ("waiting", "waiting"),
];
