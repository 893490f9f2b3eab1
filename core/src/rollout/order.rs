//! Orders: what an operator, the plan or the guard wants of a rollout, and what comes of it.
//!
//! Pure: `(rollout, weights, order) → (rollout, weights)`, or a sentence that says why not. Abort is
//! never refused. Everything else of the change (who may, journal, swap) is [`crate::change`]'s.

use super::step::PLAN;
use super::{
    Act, Decided, End, Known, Progress, Quantiles, Rollout, Said, Stage, VERDICT_LIMIT, Verdict,
    all_to_baseline, hooks_before, share_percent, with_percent,
};
use crate::config::{self, SplitStrategy};
use crate::guard::{self, TestName};
use crate::state::Weights;
use crate::units::Generation;

/// What is wanted of a rollout.
#[derive(Clone, Debug)]
pub enum Order {
    /// Stay at the present share until resumed.
    Pause,
    /// Go on after a pause, or without the hook or check that holds it.
    Resume,
    /// Go on to the next step at once, or to all of the traffic.
    Promote {
        /// To all of the traffic.
        full: bool,
    },
    /// Give the candidate's share to the baseline.
    Abort,
    /// What a look at it came to.
    Found(Box<Found>),
}

/// What a look came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is to be done.
    pub act: Act,
    /// The evidence, if it decided.
    pub verdict: Option<Verdict>,
    /// The rollout looked at.
    pub id: Generation,
    /// Its revision; unless it aborts, a finding about an earlier one is no longer true.
    pub revision: u64,
}

impl Order {
    /// The action's name, for the history.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Pause => "rollout_pause",
            Self::Resume => "rollout_resume",
            Self::Promote { .. } => "rollout_promote",
            Self::Abort => "rollout_abort",
            Self::Found(found) => match found.act {
                Act::Enter(_) => "rollout_step",
                Act::Bake => "rollout_bake",
                Act::Succeed => "rollout_succeed",
                Act::Pause { .. } => "rollout_pause",
                Act::Abort => "rollout_abort",
            },
        }
    }

    /// Whether it takes the candidate's share away, and so must not wait for anything.
    pub fn is_abort(&self) -> bool {
        match self {
            Self::Abort => true,
            Self::Found(found) => found.act == Act::Abort,
            Self::Pause | Self::Resume | Self::Promote { .. } => false,
        }
    }
}

/// A rollout that begins, and the weights that it begins with.
///
/// The candidate's share is 0 until hooks and checks agree and one of its endpoints is healthy; with
/// nothing to wait for, the first step is entered at once. An A/B test leaves the weights alone.
pub(crate) fn start(
    plan: config::Rollout,
    started: Said,
    id: Generation,
    weights: &Weights,
    rate_before: f64,
    healthy: usize,
) -> (Rollout, Weights) {
    let (baseline, candidate) = (&plan.baseline, &plan.candidate);
    let is_ab = plan.strategy == SplitStrategy::Ab;
    let percent = if is_ab { share_percent(weights, baseline, candidate) } else { 0.0 };
    let begun = if is_ab { weights.clone() } else { with_percent(weights, baseline, candidate, 0.0) };
    let rollout = Rollout {
        id,
        revision: 1,
        started,
        before: weights.clone(),
        rate_before,
        stage: Stage::Steps,
        step: 0,
        percent,
        passed: false,
        waived: false,
        overall_muted: false,
        paused: None,
        ended: None,
        progress: Progress {
            guard: guard::State::new(),
            elapsed_ms: 0,
            requests: 0,
            held: None,
            asking: None,
            candidate_us: Quantiles::default(),
            baseline_us: Quantiles::default(),
            doubted_ms: 0,
        },
        verdicts: Vec::new(),
        plan,
    };
    let asks = hooks_before(&rollout, 1).next().is_some() || !rollout.plan.checks.is_empty();
    if asks || healthy == 0 {
        return (rollout, begun);
    }
    let said = rollout.started.clone();
    rollout.enter(1, &begun, said)
}

/// What an order comes to. What is `known` is newer than what the rollout itself knows, unless the
/// rollout has moved on since: then only the evidence is.
pub(crate) fn apply(
    rollout: &Rollout,
    known: Option<&Known>,
    weights: &Weights,
    order: &Order,
    said: Said,
) -> Result<(Rollout, Weights), String> {
    let mut next = rollout.clone();
    next.revision += 1;
    match known {
        Some(known) if known.revision == rollout.revision => next.progress = known.progress.clone(),
        Some(known) => next.progress.guard = known.progress.guard.clone(),
        None => {}
    }
    let is_over = !rollout.is_active();
    match order {
        Order::Abort => return Ok(next.abort(weights, said)),
        _ if is_over => return Err(format!("{} has ended", rollout.describe())),
        Order::Pause => {
            next.paused.get_or_insert(said);
        }
        Order::Resume => next.resume()?,
        Order::Promote { full } => return Ok(next.promote(*full, weights, said)),
        Order::Found(found) => {
            next.remember(found.verdict.clone());
            return Ok(next.act(found.act, weights, said));
        }
    }
    Ok((next, weights.clone()))
}

impl Rollout {
    fn remember(&mut self, verdict: Option<Verdict>) {
        self.verdicts.extend(verdict);
        // The history has each verdict with all its failures; here the last two are enough.
        let old = self.verdicts.len().saturating_sub(2);
        self.verdicts.iter_mut().take(old).for_each(|verdict| verdict.failures.clear());
        if self.verdicts.len() > VERDICT_LIMIT {
            // The first ones tell how it began, the last ones how it ended.
            self.verdicts.remove(VERDICT_LIMIT / 2);
        }
    }

    fn act(mut self, act: Act, weights: &Weights, said: Said) -> (Self, Weights) {
        match act {
            Act::Enter(step) => self.enter(step, weights, said),
            Act::Bake => {
                // Its last step has shown what the bake, too, would ask for.
                let requests = self.progress.requests;
                let mut next = self.bake();
                next.progress.requests = requests;
                (next, weights.clone())
            }
            Act::Succeed => (self.end(End::Succeeded, said), weights.clone()),
            Act::Pause { passed } => {
                self.passed = passed;
                self.paused = Some(said);
                (self, weights.clone())
            }
            Act::Abort => self.abort(weights, said),
        }
    }

    fn resume(&mut self) -> Result<(), String> {
        let Some(paused) = self.paused.take() else {
            return match &self.progress.held {
                Some(held) if held.by == "hook" || held.by == "check" => {
                    self.waived = true;
                    Ok(())
                }
                Some(held) => Err(format!("it is not paused; it is held: {}", held.why)),
                None => Err(format!("{} is not paused", self.describe())),
            };
        };
        let last = self.verdicts.last().filter(|verdict| verdict.decided == Decided::Pause);
        match last.map(|verdict| verdict.by.as_str()) {
            // It had waited long enough; it is given that time again.
            Some(PLAN) if paused.by == super::ACTOR => self.progress.elapsed_ms = 0,
            // The evidence stays: without this the next look would pause it again.
            Some(by) if by == TestName::Overall.as_str() => self.overall_muted = true,
            _ => {}
        }
        Ok(())
    }

    fn promote(mut self, full: bool, weights: &Weights, said: Said) -> (Self, Weights) {
        self.paused = None;
        let is_ab = self.plan.strategy == SplitStrategy::Ab;
        if self.stage == Stage::Bake || (is_ab && !full) {
            return (self.end(End::Succeeded, said), weights.clone());
        }
        let next = self.step + 1;
        if !full && next <= self.steps().len() {
            return self.enter(next, weights, said);
        }
        let weights = if full { self.set_percent(100.0, weights) } else { weights.clone() };
        self.step = self.step.max(self.steps().len());
        (self.bake_or_end(said), weights)
    }

    fn enter(mut self, step: usize, weights: &Weights, said: Said) -> (Self, Weights) {
        let percent = self.steps().get(step.wrapping_sub(1)).map_or(self.percent, |step| step.percent);
        self.step = step;
        self.begin_part();
        match self.plan.strategy {
            SplitStrategy::Ab => (self, weights.clone()),
            SplitStrategy::Canary => {
                let weights = self.set_percent(percent, weights);
                (self, weights)
            }
            SplitStrategy::BlueGreen => {
                let weights = self.set_percent(percent, weights);
                (self.bake_or_end(said), weights)
            }
        }
    }

    fn set_percent(&mut self, percent: f64, weights: &Weights) -> Weights {
        self.percent = percent;
        with_percent(weights, &self.plan.baseline, &self.plan.candidate, percent)
    }

    /// Counts time and requests anew; what the guard knows stays.
    fn begin_part(&mut self) {
        (self.passed, self.waived) = (false, false);
        let progress = &mut self.progress;
        (progress.elapsed_ms, progress.requests) = (0, 0);
        (progress.held, progress.asking, progress.doubted_ms) = (None, None, 0);
    }

    fn bake(mut self) -> Self {
        self.stage = Stage::Bake;
        self.begin_part();
        self
    }

    fn bake_or_end(self, said: Said) -> Self {
        if self.plan.bake.limit().is_some() { self.bake() } else { self.end(End::Succeeded, said) }
    }

    fn end(mut self, end: End, said: Said) -> Self {
        self.paused = None;
        (self.progress.held, self.progress.asking) = (None, None);
        self.ended = Some((end, said));
        self
    }

    /// Gives the candidate's share to the baseline, beside what others had before; what has been
    /// aborted already stays as it is.
    fn abort(mut self, weights: &Weights, said: Said) -> (Self, Weights) {
        if matches!(self.ended, Some((End::Aborted, _))) {
            return (self, weights.clone());
        }
        self.percent = 0.0;
        let weights = all_to_baseline(&self.before, &self.plan.baseline, &self.plan.candidate);
        (self.end(End::Aborted, said), weights)
    }

    /// The rollout, ended because something else decides over the split's traffic now.
    #[must_use]
    pub fn give_way(&self, said: Said) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next.percent = 0.0;
        next.end(End::Aborted, said)
    }

    /// The rollout as a new process finds it: it goes on only when an operator says so.
    pub(crate) fn after_restart(&self, at_ms: u64) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        let why = Some("the process has restarted; resume to go on".to_owned());
        next.paused.get_or_insert(Said { by: "restart".into(), why, at_ms });
        next
    }
}
