//! Checks of rollout plans, of splits and of pools.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::status::StatusSet;
use super::url::{BadUrl, Url};
use super::{condition, path};
use crate::config::{
    Guard, Hook, HookOn, LatencyGuard, PoolRollout, PoolStrategy, Rollout, SplitStrategy, Unit,
};

pub(super) fn check(
    plan: &Rollout,
    weights: &BTreeMap<String, u32>,
    keyed: bool,
    at: &str,
    findings: &mut Findings,
) {
    let pools: BTreeSet<&str> = weights.keys().map(String::as_str).collect();
    for (key, pool) in [("baseline", &plan.baseline), ("candidate", &plan.candidate)] {
        findings.known(&path::key(at, key), "pool in this split named", pool, &pools);
    }
    if plan.baseline == plan.candidate {
        findings.add(path::key(at, "candidate"), "`candidate` is the baseline");
    }
    check_steps(plan, at, findings);
    if plan.min_requests == 0 {
        findings.add(path::key(at, "min_requests"), "must be at least 1: no step passes without evidence");
    }
    if plan.max_step_time.limit().is_none() {
        findings.add(path::key(at, "max_step_time"), "`max_step_time` must be longer than 0");
    }
    check_guard(&plan.guard, keyed, &path::key(at, "guard"), findings);
    check_hooks(&plan.hooks, false, at, findings);
    for (index, check) in plan.checks.iter().enumerate() {
        let at = path::index(&path::key(at, "checks"), index);
        let at_path = path::key(&at, "path");
        let (before, query) = check.path.split_once('?').unwrap_or((&check.path, ""));
        condition::plain_path(before, &at_path, findings);
        if !query.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            findings.add(at_path, "must have its query written as it is sent, with percent-encoding");
        }
        if let Err(message) = check.status.parse::<StatusSet>() {
            findings.add(path::key(&at, "status"), message);
        }
    }
}

fn check_steps(plan: &Rollout, at: &str, findings: &mut Findings) {
    let at_steps = path::key(at, "steps");
    match plan.strategy {
        SplitStrategy::Canary if plan.steps.is_empty() => {
            findings.hinted(
                &at_steps,
                "a canary needs steps",
                "write steps = [{ percent = 5, hold = \"10m\" }]",
            );
        }
        SplitStrategy::BlueGreen | SplitStrategy::Ab if !plan.steps.is_empty() => {
            findings.add(&at_steps, "only a canary has steps");
        }
        _ => {}
    }
    if plan.strategy != SplitStrategy::Ab && plan.duration.is_some() {
        findings.add(path::key(at, "duration"), "only `strategy = \"ab\"` has a duration");
    }
    let mut before = 0.0;
    for (index, step) in plan.steps.iter().enumerate() {
        let at = path::index(&at_steps, index);
        let at_percent = path::key(&at, "percent");
        if !(0.0..=100.0).contains(&step.percent) {
            findings.add(at_percent, "must be from 0 to 100");
        } else if step.percent <= before {
            findings
                .add(at_percent, format!("must be above {before}: each step sends more to the candidate"));
        }
        before = step.percent;
        if step.hold > plan.max_step_time {
            let message =
                format!("is longer than max_step_time ({}), so the step can never pass", plan.max_step_time);
            findings.add(path::key(&at, "hold"), message);
        }
    }
}

fn check_guard(guard: &Guard, keyed: bool, at: &str, findings: &mut Findings) {
    let mut above = |key: &str, value: f64, least: f64| {
        if value.is_nan() || value <= least {
            findings.add(path::key(at, key), format!("must be above {least}"));
        }
    };
    above("overall_ratio", guard.overall_ratio, 1.0);
    above("false_alarm", guard.false_alarm, 0.0);
    // 1 asks for a candidate that is no worse at all.
    if guard.failure_ratio.is_nan() || guard.failure_ratio < 1.0 {
        findings.add(path::key(at, "failure_ratio"), "must be at least 1");
    }
    if guard.false_alarm >= 0.5 {
        findings.add(path::key(at, "false_alarm"), "must be below 0.5");
    }
    if let Some(rate) = guard.max_failure_rate
        && !(rate > 0.0 && rate < 1.0)
    {
        findings.hinted(
            path::key(at, "max_failure_rate"),
            "must be above 0 and below 1",
            "it is a share: 0.01 is one in a hundred",
        );
    }
    if guard.stuck_after.limit().is_none() {
        findings.add(path::key(at, "stuck_after"), "`stuck_after` must be longer than 0");
    }
    if guard.unit == Unit::User && !keyed {
        findings.hinted(
            path::key(at, "unit"),
            "users cannot be counted: the split has no key",
            "set the split's `key` or `assign`",
        );
    }
    if let Some(latency) = &guard.latency {
        check_latency(latency, &path::key(at, "latency"), findings);
        if latency.max.is_some_and(|max| max >= guard.stuck_after) {
            let message =
                format!("must be below stuck_after ({}), which counts as a failure", guard.stuck_after);
            findings.add(path::key(&path::key(at, "latency"), "max"), message);
        }
    }
}

fn check_latency(latency: &LatencyGuard, at: &str, findings: &mut Findings) {
    if !(latency.quantile > 0.0 && latency.quantile < 1.0) {
        findings.hinted(
            path::key(at, "quantile"),
            "must be above 0 and below 1",
            "the 99th percentile is 0.99",
        );
    }
    if latency.max.is_none() && latency.ratio.is_none() {
        findings.add(at, "one of `max`, `ratio` is required");
    }
    if latency.max.is_some_and(|max| max.limit().is_none()) {
        findings.add(path::key(at, "max"), "`max` must be longer than 0");
    }
    if latency.ratio.is_some_and(|ratio| ratio <= 1.0) {
        findings.add(path::key(at, "ratio"), "must be above 1");
    }
}

/// Checks a plan that replaces what runs behind a pool.
pub(super) fn check_pool(plan: &PoolRollout, at: &str, findings: &mut Findings) {
    check_hooks(&plan.hooks, true, at, findings);
    if plan.hooks.is_empty() {
        findings.hinted(at, "nothing replaces the endpoints", "add a hook with on = \"replace\"");
    }
    if plan.healthy_timeout.limit().is_none() {
        findings.add(path::key(at, "healthy_timeout"), "`healthy_timeout` must be longer than 0");
    }
    match plan.strategy {
        PoolStrategy::Rolling if plan.max_unavailable == 0 => {
            findings.add(path::key(at, "max_unavailable"), "must be at least 1");
        }
        PoolStrategy::Recreate if plan.queue_timeout.limit().is_none() => {
            findings.add(path::key(at, "queue_timeout"), "`queue_timeout` must be longer than 0");
        }
        _ => {}
    }
}

fn check_hooks(hooks: &[Hook], of_pool: bool, at: &str, findings: &mut Findings) {
    for (index, hook) in hooks.iter().enumerate() {
        let at = path::index(&path::key(at, "hooks"), index);
        if (hook.on == HookOn::Replace) != of_pool {
            let message = if of_pool {
                "a pool's rollout calls its hooks only on `replace`"
            } else {
                "only a pool's rollout calls hooks on `replace`"
            };
            findings.add(path::key(&at, "on"), message);
        }
        if let Err(BadUrl { message, hint }) = hook.url.parse::<Url>() {
            let at = path::key(&at, "url");
            match hint {
                Some(hint) => findings.hinted(at, message, hint),
                None => findings.add(at, message),
            }
        }
        if hook.timeout.limit().is_none() {
            findings.add(path::key(&at, "timeout"), "`timeout` must be longer than 0");
        }
    }
}
