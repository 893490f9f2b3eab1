//! From what was typed, and a plan in a file, to a scenario.

use std::path::Path;

use tidegate_core::config::read::read;
use tidegate_core::config::{Config, Guard, Rollout, SplitStrategy};
use tidegate_core::guard::Settings;
use tidegate_core::simulate::{Scenario, Stage, Users};
use tidegate_core::units::Span;

use super::super::failure::Failure;
use super::Arguments;

/// The share where nothing else is said, in percent.
const SHARE: f64 = 5.0;
/// How long a run lasts where nothing else is said.
const MAX_TIME: Span = Span::secs(600);
/// How unevenly users ask: as is usual of visitors of a site (Zipf's law).
const SKEW: f64 = 1.0;

/// What is simulated.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) guard: Guard,
    /// With a candidate that is as good as the baseline.
    pub(super) scenario: Scenario,
    /// Without the steps after the end.
    pub(super) max_time: Span,
}

/// What a file says.
struct Written {
    plan: Rollout,
    keyed: bool,
    /// The candidate's share by the weights in the file, in percent.
    percent: f64,
}

impl Plan {
    pub(super) fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let written = match (&arguments.config, &arguments.split) {
            (Some(file), Some(split)) => Some(written(file, split)?),
            _ => None,
        };
        if arguments.users.is_some() && written.as_ref().is_some_and(|written| !written.keyed) {
            return Err(Failure::usage(
                "the split has no key, so it does not know its users",
                "leave out --users, or give the split a `key`",
            ));
        }
        let mut guard = written.as_ref().map(|written| written.plan.guard.clone()).unwrap_or_default();
        guard.false_alarm = arguments.false_alarm.unwrap_or(guard.false_alarm);
        guard.failure_ratio = arguments.failure_ratio.unwrap_or(guard.failure_ratio);
        let keyed = written.as_ref().map_or(arguments.users.is_some(), |written| written.keyed);
        let settings = Settings::compile(&guard, keyed, arguments.baseline_failures);
        let (schedule, planned) = match (arguments.share, &written) {
            (None, Some(written)) => steps(written),
            (share, _) => (vec![forever(share.unwrap_or(SHARE))], None),
        };
        let max_time = arguments.max_time.or(planned).unwrap_or(MAX_TIME);
        let (rps, failures) = (arguments.rps, arguments.baseline_failures);
        let base = Scenario::new(rps, 0.0, failures, settings, max_time.as_ms());
        let users = arguments.users.map(|number| Users::new(number, SKEW, 0.0));
        Ok(Self { guard, scenario: Scenario { schedule, users, ..base }, max_time })
    }
}

fn forever(percent: f64) -> Stage {
    Stage { share: percent / 100.0, for_ms: u64::MAX }
}

/// A plan's shares, and how long it holds them.
fn steps(written: &Written) -> (Vec<Stage>, Option<Span>) {
    let plan = &written.plan;
    match plan.strategy {
        SplitStrategy::Canary => {
            let stage = |step: &tidegate_core::config::Step| Stage {
                share: step.percent / 100.0,
                for_ms: step.hold.as_ms(),
            };
            let total: u64 = plan.steps.iter().map(|step| step.hold.as_ms()).sum();
            (plan.steps.iter().map(stage).collect(), Span::ms(total).limit().map(Span))
        }
        SplitStrategy::BlueGreen => (vec![forever(100.0)], plan.bake.limit().map(Span)),
        SplitStrategy::Ab => (vec![forever(written.percent)], plan.duration),
    }
}

fn written(file: &Path, name: &str) -> Result<Written, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(format!("{shown} cannot be read: {error}"), "name a configuration file with --config")
    })?;
    let config = read(&text, &|name| std::env::var(name).ok()).map_err(|problems| {
        let first = problems.first().map(|problem| format!(": {}: {}", problem.path, problem.message));
        Failure::new(
            format!("{shown} is not good{}", first.unwrap_or_default()),
            format!("`tidegate check {shown}` shows every problem with its line"),
        )
    })?;
    of_split(&config, name)
        .ok_or_else(|| Failure::new(format!("{shown} has no rollout for a split `{name}`"), plans(&config)))
}

fn of_split(config: &Config, name: &str) -> Option<Written> {
    let split = config.splits.get(name)?;
    let plan = split.rollout.clone()?;
    let weight = |pool: &str| f64::from(split.weights.get(pool).copied().unwrap_or_default());
    let (candidate, baseline) = (weight(&plan.candidate), weight(&plan.baseline));
    let percent = 100.0 * candidate / (candidate + baseline).max(1.0);
    Some(Written { plan, keyed: !split.key.is_empty() || split.assign.is_some(), percent })
}

/// Which plans there are.
fn plans(config: &Config) -> String {
    let with_plan = config.splits.iter().filter(|(_, split)| split.rollout.is_some());
    let names: Vec<&str> = with_plan.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        "no split has one; write [splits.NAME.rollout]".into()
    } else {
        format!("splits with one: {}", names.join(", "))
    }
}
