//! Changes of rollouts: starting one, ordering one about, and what happens to one when something else
//! changes its split's weights.
//!
//! One rollout at a time decides over a split's weights. Whoever else wants to change them is refused,
//! unless they insist: then the rollout is aborted by the same change.

use super::{By, Context, Next, Rejected, Request, check_generation, check_split, not_found};
use crate::config;
use crate::config::{Guard, OnSuccess, SplitStrategy};
use crate::rollout::{self, End, Known, Order, Rollout, Said};
use crate::snapshot::Snapshot;
use crate::state::{Weights, file_weights, split_names};
use crate::units::Span;
use crate::validate::{self, Problem};

/// With fewer requests than this, the rate of failures before a rollout is not known well enough to be
/// taken as it is: one failure of three requests is not a split that fails a third of the time.
const ENOUGH_REQUESTS: u64 = 100;

/// Starts a rollout: of this plan, or of the file's.
pub(super) fn start(
    next: &mut Next,
    request: &Request,
    context: Context<'_>,
    split: &str,
    sent: Option<&config::Rollout>,
    by: By<'_>,
) -> Result<(), Rejected> {
    check_split(request, context, split)?;
    let of_file = || context.config.splits.get(split)?.rollout.as_ref();
    let Some(plan) = sent.or_else(of_file) else {
        return Err(Rejected::Invalid(vec![Problem {
            path: String::new(),
            line: None,
            message: format!("split `{split}` has no plan in the file"),
            hint: Some(format!("send one, or write [splits.{split}.rollout]")),
        }]));
    };
    if let Some(first) = context.state.active_rollout(split) {
        return Err(Rejected::Conflict(format!(
            "split `{split}` has {} already; abort it first",
            first.describe()
        )));
    }
    let weights = context.state.weights(context.config, split).cloned().unwrap_or_default();
    let mut problems = validate::rollout(plan, &weights, is_keyed(context.snapshot, split), "");
    if sent.is_some() {
        problems.extend(validate::sent_hooks(&plan.hooks));
    }
    if !problems.is_empty() {
        return Err(Rejected::Invalid(problems));
    }
    let healthy = check_candidate(context, split, plan, &weights)?;
    let rate = rate_before(context.snapshot, split, plan);
    let id = context.state.generation + 1;
    let (rollout, weights) = rollout::start(plan.clone(), by.said(), id, &weights, rate, healthy);
    next.keep_rollout(split, rollout, weights, by);
    Ok(())
}

/// Whether the candidate can take traffic at all; how many of its endpoints are healthy.
fn check_candidate(
    context: Context<'_>,
    split: &str,
    plan: &config::Rollout,
    weights: &Weights,
) -> Result<usize, Rejected> {
    let config::Rollout { baseline, candidate, .. } = plan;
    let refuse = |why: String| Err(Rejected::Conflict(why));
    let Some(pool) = context.snapshot.pool_named(candidate) else {
        return Err(not_found("pool", candidate, context.config.pools.keys().map(String::as_str)));
    };
    if pool.endpoints.is_empty() {
        return refuse(format!("pool `{candidate}` has no endpoints; put some first"));
    }
    if pool.is_draining() {
        return refuse(format!("pool `{candidate}` is being drained; undrain it first"));
    }
    let weight = |pool: &String| weights.get(pool).copied().unwrap_or(0);
    if weight(baseline) == 0 {
        return refuse(format!("pool `{baseline}` has no share of split `{split}` that could be moved"));
    }
    if plan.strategy == SplitStrategy::Ab && weight(candidate) == 0 {
        return refuse(format!("pool `{candidate}` has no share of split `{split}`; shift some to it first"));
    }
    Ok(pool.healthy(context.now.mono_ms))
}

/// The share of the baseline's requests that failed before the rollout. The candidate's do not count:
/// they may be those of an earlier attempt.
fn rate_before(snapshot: &Snapshot, split: &str, plan: &config::Rollout) -> f64 {
    let split = snapshot.split_named(split);
    let baseline = split.and_then(|split| split.members.iter().find(|m| *m.name == *plan.baseline));
    let Some(charges) = baseline.map(|member| &member.charges) else { return 0.0 };
    charges.failed() as f64 / charges.total().max(ENOUGH_REQUESTS) as f64
}

fn is_keyed(snapshot: &Snapshot, split: &str) -> bool {
    snapshot.split_named(split).is_some_and(|split| split.is_keyed())
}

/// An order, with what the rollout has seen by now.
pub(super) type Wanted<'a> = (&'a Order, Option<&'a Known>);

/// Carries out an order.
pub(super) fn order(
    next: &mut Next,
    request: &Request,
    context: Context<'_>,
    split: &str,
    (order, known): Wanted<'_>,
    by: By<'_>,
) -> Result<(), Rejected> {
    let Some(current) = context.snapshot.split_named(split) else {
        return Err(not_found("split", split, split_names(context.config)));
    };
    let Some(rollout) = context.state.rollouts.get(split) else {
        return Err(not_found("rollout of split", split, std::iter::empty()));
    };
    if !order.is_abort() {
        check_generation(request, current.generation)?;
    }
    if let Order::Found(found) = order {
        let is_same = found.id == rollout.id && rollout.is_active();
        if !is_same || (found.revision != rollout.revision && !order.is_abort()) {
            return Err(Rejected::Stale { current: current.generation });
        }
        next.verdict = found.verdict.clone().map(Box::new);
    }
    next.is_urgent = order.is_abort();
    let weights = context.state.weights(context.config, split).cloned().unwrap_or_default();
    let others_decide = !rollout.is_active() && !still_holds(context, split);
    let (rollout, mut after) =
        rollout::apply(rollout, known, &weights, order, by.said()).map_err(Rejected::Conflict)?;
    if others_decide {
        after = without_candidate(&rollout, &weights);
    }
    if after == weights {
        next.state.rollouts.insert(split.to_owned(), rollout);
        next.splits.insert(split.to_owned());
    } else {
        next.keep_rollout(split, rollout, after, by);
    }
    Ok(())
}

/// What an abort makes of weights that somebody has put since the rollout ended.
fn without_candidate(rollout: &Rollout, weights: &Weights) -> Weights {
    let config::Rollout { baseline, candidate, .. } = &rollout.plan;
    // A pool that is no longer in the split may no longer be there at all.
    let has_both = weights.contains_key(baseline) && weights.contains_key(candidate);
    if has_both { rollout::all_to_baseline(weights, baseline, candidate) } else { weights.clone() }
}

/// Sees to it that nothing else decides over a split's weights, or refuses.
///
/// `force` is absent where a caller cannot insist.
pub(super) fn give_way(
    next: &mut Next,
    split: &str,
    force: Option<bool>,
    by: By<'_>,
) -> Result<(), Rejected> {
    let (may_force, force) = (force.is_some(), force == Some(true));
    let Some(rollout) = next.state.active_rollout(split) else { return Ok(()) };
    if !force {
        return Err(Rejected::Conflict(format!(
            "split `{split}` has {}, which decides over its weights; abort it first{}",
            rollout.describe(),
            if may_force { ", or send \"force\": true" } else { "" }
        )));
    }
    let given = rollout.give_way(by.said());
    next.state.rollouts.insert(split.to_owned(), given);
    Ok(())
}

/// Whether a split's weights are those that its rollout has put.
fn still_holds(context: Context<'_>, split: &str) -> bool {
    context.state.weights.get(split).is_some_and(|kept| kept.by_rollout)
}

/// A revert of a split whose rollout still decides over it, or has just succeeded, is its end.
///
/// Whether it was one.
pub(super) fn revert(
    next: &mut Next,
    request: &Request,
    context: Context<'_>,
    split: &str,
    by: By<'_>,
) -> Result<bool, Rejected> {
    let Some(rollout) = context.state.rollouts.get(split) else { return Ok(false) };
    if rollout.is_active() {
        order(next, request, context, split, (&Order::Abort, None), by)?;
        return Ok(true);
    }
    if still_holds(context, split) && matches!(rollout.ended, Some((End::Succeeded, _))) {
        next.state.rollouts.insert(split.to_owned(), rollout.give_way(by.said()));
    }
    Ok(false)
}

/// A cutover that keeps the pool that had most of the traffic warm: a blue-green that bakes.
pub(super) fn cutover(
    next: &mut Next,
    context: Context<'_>,
    split: &str,
    to: &str,
    bake: Span,
    by: By<'_>,
) -> Result<(), Rejected> {
    let weights = context.state.weights(context.config, split).cloned().unwrap_or_default();
    let others = weights.iter().filter(|(pool, weight)| *pool != to && **weight > 0);
    let Some((baseline, _)) = others.max_by_key(|(_, weight)| **weight) else {
        return Err(Rejected::Conflict(format!("pool `{to}` has all of split `{split}` already")));
    };
    let of_file = context.config.splits.get(split).and_then(|s| s.rollout.as_ref());
    let of_file = of_file.filter(|plan| plan.candidate == to && plan.baseline == *baseline);
    let plan = config::Rollout {
        strategy: SplitStrategy::BlueGreen,
        baseline: baseline.clone(),
        candidate: to.to_owned(),
        steps: Vec::new(),
        duration: None,
        min_requests: 1,
        max_step_time: of_file.map_or(config::Rollout::MAX_STEP_TIME, |plan| plan.max_step_time),
        on_success: OnSuccess::Advance,
        bake,
        guard: of_file.map_or_else(Guard::default, |plan| plan.guard.clone()),
        hooks: Vec::new(),
        checks: Vec::new(),
    };
    let pair: Weights = weights
        .iter()
        .map(|(pool, w)| (pool.clone(), if pool == to || pool == baseline { *w } else { 0 }))
        .collect();
    let rate = rate_before(context.snapshot, split, &plan);
    let id = context.state.generation + 1;
    let (mut rollout, after) = rollout::start(plan, by.said(), id, &pair, rate, 1);
    rollout.before = weights;
    next.keep_rollout(split, rollout, after, by);
    Ok(())
}

impl By<'_> {
    pub(super) fn said(self) -> Said {
        Said { by: self.actor.to_owned(), why: self.reason.map(str::to_owned), at_ms: self.now.wall_ms }
    }
}

impl Next {
    fn keep_rollout(&mut self, split: &str, rollout: Rollout, weights: Weights, by: By<'_>) {
        let base = file_weights(&self.config, split).cloned().unwrap_or_default();
        let mut kept = by.keep(base, weights, None);
        kept.by_rollout = true;
        self.state.weights.insert(split.to_owned(), kept);
        self.state.rollouts.insert(split.to_owned(), rollout);
        self.splits.insert(split.to_owned());
    }
}
