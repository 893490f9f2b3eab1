//! A rollout as people see it: the table's view of it, with what the last look has found.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_core::config::Unit;
use tidegate_core::ledger::{Excluded, Ledger};
use tidegate_core::rollout::{Known, Progress, Rollout, Stage};
use tidegate_core::snapshot::Split;
use tidegate_core::units::Span;

use crate::board::Watched;
use crate::control::Control;
use crate::wire;

/// A split's rollout, if it has or had one.
pub(crate) fn rollout(control: &Control, split: &Split) -> Option<wire::Rollout> {
    let rollout = split.rollout.as_deref()?;
    let watched = watched(control, &split.name, rollout);
    let progress = &watched.known.progress;
    let share = split.shares().find(|(m, _)| *m.name == *rollout.plan.candidate).map(|(_, share)| share);
    Some(wire::Rollout {
        split: split.name.to_string(),
        id: rollout.id,
        generation: split.generation,
        strategy: rollout.plan.strategy,
        baseline: rollout.plan.baseline.clone(),
        candidate: rollout.plan.candidate.clone(),
        state: rollout.status().as_str(),
        step: rollout.step,
        steps: rollout.steps().iter().map(wire::Step::of).collect(),
        percent: rollout.percent,
        share: share.unwrap_or(0.0),
        held: progress.held.as_ref().map(wire::Held::of),
        paused: rollout.paused.as_ref().map(wire::Said::of),
        ended: rollout.ended.as_ref().map(|(_, said)| wire::Said::of(said)),
        started: wire::Said::of(&rollout.started),
        elapsed: progress.elapsed().to_string(),
        time_left: time_left(rollout, progress).map(|left| left.to_string()),
        step_requests: progress.requests,
        min_requests: rollout.plan.min_requests,
        evidence: of_look(split, rollout, &watched),
        verdicts: rollout.verdicts.iter().map(wire::Verdict::of).collect(),
        plan: rollout.plan.clone(),
        durable: None,
        dry_run: wire::DryRun::default(),
    })
}

/// The evidence as a hook is sent it.
pub(crate) fn evidence(control: &Control, split: &str, rollout: &Rollout) -> Value {
    let table = control.live().snapshot();
    let Some(split) = table.split_named(split) else { return Value::Null };
    let evidence = of_look(split, rollout, &watched(control, &split.name, rollout));
    serde_json::to_value(evidence).unwrap_or(Value::Null)
}

/// What the last look has found; before the first, what the rollout itself knows.
fn watched(control: &Control, split: &str, rollout: &Rollout) -> Watched {
    let live = control.board().get(split, rollout.id).filter(|_| rollout.is_active());
    // After a change it says what was before until the next look.
    let live = live.filter(|live| live.known.revision == rollout.revision);
    live.unwrap_or_else(|| Watched {
        id: rollout.id,
        known: Known { revision: rollout.revision, progress: rollout.progress.clone() },
        tests: Vec::new(),
    })
}

fn of_look(split: &Split, rollout: &Rollout, watched: &Watched) -> wire::Evidence {
    let ledger = split.watch.as_ref().map(|watch| &*watch.ledger);
    let guard = &watched.known.progress.guard;
    let settings = rollout.guard_settings(split.is_keyed());
    // An ended one is shown as it was when it ended.
    let tests = if watched.tests.is_empty() { guard.assess(&settings).tests } else { watched.tests.clone() };
    let last = rollout.verdicts.last();
    let of_ledger = |ledger: &Ledger| ledger.failures().iter().map(wire::FailedRequest::of).collect();
    let of_verdict = || last.map(|v| v.failures.iter().map(wire::FailedRequest::of).collect());
    let excluded = ledger.map(|ledger| {
        ledger.excluded().into_iter().map(|(why, count)| (why.as_str().to_owned(), count)).collect()
    });
    wire::Evidence {
        unit: match rollout.plan.guard.unit {
            Unit::User => "user",
            Unit::Request => "request",
            Unit::Auto => {
                if split.is_keyed() {
                    "user"
                } else {
                    "request"
                }
            }
        },
        candidate: wire::Side::of(&guard.candidate, watched.known.progress.candidate_us),
        baseline: wire::Side::of(&guard.baseline, watched.known.progress.baseline_us),
        excluded: excluded.or_else(|| last.map(|v| v.excluded.clone())).unwrap_or_else(none_excluded),
        unwatched: ledger.map_or(0, Ledger::unwatched),
        tests: tests.iter().map(wire::Test::of).collect(),
        failures: ledger.map(of_ledger).or_else(of_verdict).unwrap_or_default(),
    }
}

fn none_excluded() -> BTreeMap<String, u64> {
    Excluded::ALL.into_iter().map(|why| (why.as_str().to_owned(), 0)).collect()
}

/// How long the step, or the bake, lasts at least from now.
fn time_left(rollout: &Rollout, progress: &Progress) -> Option<Span> {
    if !rollout.is_active() || rollout.step == 0 {
        return None;
    }
    let lasts = match rollout.stage {
        Stage::Bake => rollout.plan.bake,
        Stage::Steps => rollout.steps().get(rollout.step - 1)?.hold,
    };
    let left_ms = lasts.as_ms().checked_sub(progress.elapsed_ms).filter(|left| *left > 0)?;
    Some(Span::told_ms(left_ms))
}
