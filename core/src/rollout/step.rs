//! One look at a rollout: what was seen in a tick, and what follows from it.
//!
//! Pure and total: the same rollout, progress and sight give the same finding. The guard is asked first,
//! whatever else happens, also while the rollout is paused or held; what it finds can only lower the
//! candidate's share. The stage before: the controller, which reads the ledger; next: the finding, as an
//! [`super::Order`], goes through [`crate::change`].

use super::{GUARD, Held, Progress, Rollout, Stage};
use crate::config::{self, Gate, Hook, HookOn, OnSuccess, SplitStrategy};
use crate::guard::{self, Action, Assessment, TestName, Tick};

/// What there is to see at a tick.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What was counted since the last tick.
    pub tick: Tick,
    /// The time since the last tick, in milliseconds.
    pub dt_ms: u64,
    /// What the guard looks for.
    pub settings: &'a guard::Settings,
    /// The candidate's endpoints that can serve.
    pub healthy: usize,
    /// Whether an operator drains the candidate.
    pub draining: bool,
    /// The candidate's part of what it and the baseline have together, a fraction of 1.
    pub share: f64,
    /// What hooks and checks have said, if they were asked.
    pub answer: Option<&'a Answer>,
}

/// What hooks and checks say before a step is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The step, from 1.
    pub step: usize,
    /// Whether they let it be entered.
    pub result: Result<(), Held>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Enter this step, from 1.
    Enter(usize),
    /// Go from the last step to the bake.
    Bake,
    /// The plan has been carried out.
    Succeed,
    /// Wait for an operator.
    Pause {
        /// Whether the step has passed, so that it goes on with the next once resumed.
        passed: bool,
    },
    /// Give the candidate's share to the baseline.
    Abort,
}

/// What follows from what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is to be done.
    pub act: Act,
    /// The test that decided, or `plan`, or `drain`.
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// Whether evidence decided, so that it is recorded.
    pub is_verdict: bool,
}

impl Finding {
    /// Who makes the change that follows.
    pub fn actor(&self) -> &'static str {
        let by_guard =
            self.is_verdict && matches!(self.act, Act::Abort | Act::Pause { .. }) && self.by != PLAN;
        if by_guard { GUARD } else { super::ACTOR }
    }
}

/// A look at a rollout.
#[derive(Clone, Debug)]
pub struct Look {
    /// What is known now.
    pub progress: Progress,
    /// What the guard makes of it.
    pub assessment: Assessment,
    /// What is to be done, if anything.
    pub finding: Option<Finding>,
}

/// What decides where no test of the guard does.
pub(super) const PLAN: &str = "plan";

/// Looks at a rollout that has not ended.
pub fn step(rollout: &Rollout, mut progress: Progress, seen: &Seen<'_>) -> Look {
    progress.guard.observe(seen.settings, &seen.tick, seen.share);
    progress.requests = progress.requests.saturating_add(seen.tick.candidate.requests);
    if rollout.paused.is_none() {
        progress.elapsed_ms = progress.elapsed_ms.saturating_add(seen.dt_ms);
    }
    let assessment = progress.guard.assess(seen.settings);
    (progress.held, progress.asking) = (None, None);
    let finding = find(rollout, &mut progress, seen, &assessment);
    Look { progress, assessment, finding }
}

fn find(
    rollout: &Rollout,
    progress: &mut Progress,
    seen: &Seen<'_>,
    assessment: &Assessment,
) -> Option<Finding> {
    let verdict = |act, test: TestName| Finding {
        act,
        by: test.as_str().into(),
        why: assessment.explain(test, &progress.guard, seen.settings),
        is_verdict: true,
    };
    match assessment.action {
        Some((Action::Abort, test)) => return Some(verdict(Act::Abort, test)),
        _ if rollout.paused.is_some() => return None,
        Some((Action::Pause, test)) => {
            progress.doubted_ms = progress.doubted_ms.saturating_add(seen.dt_ms);
            if progress.doubted_ms >= patience_ms(assessment) {
                return Some(verdict(Act::Pause { passed: false }, test));
            }
        }
        None => progress.doubted_ms = 0,
    }
    let candidate = &rollout.plan.candidate;
    if seen.draining {
        let why = format!("pool `{candidate}` is being drained");
        return Some(Finding {
            act: Act::Pause { passed: false },
            by: "drain".into(),
            why,
            is_verdict: false,
        });
    }
    match (rollout.stage, rollout.step) {
        (Stage::Bake, _) => bake(rollout, progress, assessment),
        (Stage::Steps, 0) if seen.healthy == 0 => {
            progress.held = Some(held("health", format!("no endpoint of pool `{candidate}` is healthy")));
            None
        }
        (Stage::Steps, 0) => enter(rollout, progress, seen, 1, Finding::begin()),
        (Stage::Steps, at) => in_step(rollout, progress, seen, assessment, at),
    }
}

/// How long a pause is put off. The share stays as it is in any case, and no step passes; but where it is
/// the candidate that fails, an abort is likely to follow, and should not be told as anybody's guess.
fn patience_ms(assessment: &Assessment) -> u64 {
    const MOST_MS: u64 = 5_000;
    const LEAST_MS: u64 = 1_000;
    let ratio = assessment.tests.iter().find(|test| test.name == TestName::FailureRatio);
    let points_at_candidate = ratio.and_then(|test| test.log10_e).is_some_and(|e| e > 0.0);
    if points_at_candidate { MOST_MS } else { LEAST_MS }
}

impl Finding {
    fn begin() -> Self {
        let why = "the rollout begins".into();
        Self { act: Act::Enter(1), by: PLAN.into(), why, is_verdict: false }
    }

    fn passed(act: Act, why: String) -> Self {
        Self { act, by: PLAN.into(), why, is_verdict: true }
    }
}

/// Whether the step that the rollout is in has passed, and what follows.
fn in_step(
    rollout: &Rollout,
    progress: &mut Progress,
    seen: &Seen<'_>,
    assessment: &Assessment,
    at: usize,
) -> Option<Finding> {
    let (plan, steps) = (&rollout.plan, rollout.steps());
    // A step that is not in the plan can only come from a state folder of another version: it is the last.
    let step = steps.get(at - 1).or(steps.last())?;
    if plan.strategy == SplitStrategy::Ab {
        let over = step.hold.limit().is_some() && progress.elapsed_ms >= step.hold.as_ms();
        return over.then(|| Finding::passed(Act::Succeed, "the time of the test is over".into()));
    }
    if !rollout.passed {
        if progress.elapsed_ms < step.hold.as_ms() {
            return None;
        }
        if let Some(missing) = missing(plan, progress, assessment) {
            return inconclusive(progress, plan.max_step_time.as_ms(), missing);
        }
        if step.gate == Some(Gate::Manual) {
            progress.held = Some(held("gate", format!("step {at} has passed and waits for promote")));
            return None;
        }
        if plan.on_success == OnSuccess::Pause {
            let why = format!("step {at} has passed, and on_success is \"pause\"");
            return Some(Finding::passed(Act::Pause { passed: true }, why));
        }
    } else if !assessment.calm {
        // It had passed before the pause; what was seen since is not in its favour.
        progress.held = Some(held("evidence", loud(assessment)?));
        return None;
    }
    let why = format!(
        "step {at} has passed: {} requests of `{}` in {}",
        progress.requests,
        plan.candidate,
        progress.elapsed()
    );
    if at < steps.len() {
        let passed = Finding::passed(Act::Enter(at + 1), why);
        return enter(rollout, progress, seen, at + 1, passed);
    }
    let act = if plan.bake.limit().is_some() { Act::Bake } else { Act::Succeed };
    Some(Finding::passed(act, why))
}

/// Whether the bake is over.
fn bake(rollout: &Rollout, progress: &mut Progress, assessment: &Assessment) -> Option<Finding> {
    let plan = &rollout.plan;
    if progress.elapsed_ms < plan.bake.as_ms() {
        return None;
    }
    if let Some(missing) = missing(plan, progress, assessment) {
        let patience_ms = plan.bake.as_ms().saturating_add(plan.max_step_time.as_ms());
        return inconclusive(progress, patience_ms, missing);
    }
    let why = format!("the bake of {} is over", progress.elapsed());
    Some(Finding::passed(Act::Succeed, why))
}

/// What is missing for a pass: no data never is one.
fn missing(plan: &config::Rollout, progress: &Progress, assessment: &Assessment) -> Option<String> {
    if progress.requests < plan.min_requests {
        return Some(format!(
            "{} of {} requests of `{}` so far",
            progress.requests, plan.min_requests, plan.candidate
        ));
    }
    if assessment.calm { None } else { loud(assessment) }
}

fn loud(assessment: &Assessment) -> Option<String> {
    let test = assessment.loudest()?;
    Some(format!("the evidence of {} has passed half of its boundary", test.as_str()))
}

/// Holds for want of evidence, and asks an operator when there was time enough for it.
fn inconclusive(progress: &mut Progress, patience_ms: u64, missing: String) -> Option<Finding> {
    if progress.elapsed_ms >= patience_ms {
        let why = format!("inconclusive after {}: {missing}", progress.elapsed());
        return Some(Finding::passed(Act::Pause { passed: false }, why));
    }
    progress.held = Some(held("evidence", missing));
    None
}

/// Enters a step, once hooks and checks agree.
fn enter(
    rollout: &Rollout,
    progress: &mut Progress,
    seen: &Seen<'_>,
    step: usize,
    finding: Finding,
) -> Option<Finding> {
    let plan = &rollout.plan;
    let checks = if step == 1 { plan.checks.len() } else { 0 };
    let hooks: Vec<&str> = hooks_before(rollout, step).map(|hook| hook.on.as_str()).collect();
    if rollout.waived || hooks.len() + checks == 0 {
        return Some(finding);
    }
    progress.asking = Some(step);
    match seen.answer.filter(|answer| answer.step == step).map(|answer| &answer.result) {
        Some(Ok(())) => return Some(finding),
        Some(Err(held)) => progress.held = Some(held.clone()),
        None => {
            let (by, asked) = match (checks, hooks.join(", ")) {
                (0, hooks) => ("hook", format!("hooks ({hooks})")),
                (_, hooks) if hooks.is_empty() => ("check", "checks".to_owned()),
                (_, hooks) => ("check", format!("checks and hooks ({hooks})")),
            };
            progress.held = Some(held(by, format!("{asked} have yet to answer")));
        }
    }
    None
}

/// The hooks that are asked before a step, from 1, is entered.
pub fn hooks_before(rollout: &Rollout, step: usize) -> impl Iterator<Item = &Hook> {
    let is_last = step >= rollout.steps().len();
    rollout.plan.hooks.iter().filter(move |hook| match hook.on {
        HookOn::Start => step == 1,
        HookOn::Step => step > 1,
        HookOn::BeforePromote => is_last,
        HookOn::Abort | HookOn::Success | HookOn::Replace => false,
    })
}

fn held(by: &str, why: String) -> Held {
    Held { by: by.into(), why }
}
