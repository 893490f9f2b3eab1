//! Plans as calls bring them.

use serde_json::json;

use super::*;
use crate::config::{Gate, Guard, HookOn, OnSuccess, PoolStrategy, SplitStrategy, Unit};
use crate::units::Span;

fn weights() -> BTreeMap<String, u32> {
    BTreeMap::from([("stable".to_owned(), 100), ("canary".to_owned(), 0)])
}

fn read(json: &Json) -> Result<Rollout, BadPlan> {
    rollout(json, &weights(), true)
}

/// The problems as `path: message`, hints left out.
fn told(problems: &[Problem]) -> Vec<String> {
    assert!(problems.iter().all(|p| p.line.is_none()), "a call has no lines: {problems:?}");
    problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect()
}

fn invalid(json: &Json) -> Vec<String> {
    match read(json) {
        Err(BadPlan::Invalid(problems)) => told(&problems),
        other => panic!("{json}: {other:?}"),
    }
}

/// A good plan with this in it.
fn with(more: Json) -> Json {
    let mut plan = json!({ "baseline": "stable", "candidate": "canary", "steps": [{ "percent": 5 }] });
    let (Some(plan), Json::Object(more)) = (plan.as_object_mut(), more) else { panic!("objects") };
    plan.extend(more);
    Json::Object(plan.clone())
}

#[test]
fn what_is_left_out_has_the_contracts_defaults() {
    let plan = read(&with(json!({}))).expect("a plan");
    assert_eq!(plan.strategy, SplitStrategy::Canary);
    assert_eq!(
        (plan.min_requests, plan.max_step_time, plan.bake),
        (200, Span::secs(3_600), Span::secs(1_800))
    );
    assert_eq!((plan.on_success, plan.guard), (OnSuccess::Advance, Guard::default()));
    assert_eq!((plan.steps[0].hold, plan.steps[0].gate), (Span::default(), None));
    assert!(plan.hooks.is_empty() && plan.checks.is_empty() && plan.duration.is_none());
}

#[test]
fn everything_can_be_said() {
    let plan = read(&json!({
        "strategy": "canary", "baseline": "stable", "candidate": "canary",
        "steps": [
            { "percent": 0.5, "hold": "2m" },
            { "percent": 5, "hold": "1h30m", "gate": "manual" },
            { "percent": 100.0, "gate": null },
        ],
        "duration": null, "min_requests": 10, "max_step_time": "2h", "on_success": "pause", "bake": "0s",
        "guard": {
            "failure_budget": 3, "failure_ratio": 2, "max_failure_rate": 0.01, "overall_ratio": 4.5,
            "latency": { "quantile": 0.99, "max": "500ms", "ratio": null },
            "stuck_after": "1s", "unit": "user", "false_alarm": 1e-4,
        },
        "hooks": [{ "on": "before_promote", "url": "https://ops/approve", "timeout": "1s", "token_file": "t" }],
        "checks": [{ "path": "/selftest?a=b", "status": "200,204" }],
    }));
    let plan = plan.expect("a plan");
    assert_eq!(plan.steps.iter().map(|s| s.percent).collect::<Vec<_>>(), [0.5, 5.0, 100.0]);
    assert_eq!((plan.steps[1].hold, plan.steps[1].gate), (Span::secs(5_400), Some(Gate::Manual)));
    assert_eq!((plan.guard.unit, plan.guard.failure_ratio), (Unit::User, 2.0));
    assert_eq!(plan.guard.latency.as_ref().and_then(|l| l.max), Some(Span::ms(500)));
    assert_eq!(plan.hooks[0].on, HookOn::BeforePromote);
    // What is answered can be sent again.
    let again = serde_json::to_value(&plan).expect("JSON");
    assert_eq!(read(&again), Ok(plan));
}

#[test]
fn every_mistake_is_told_at_once() {
    let problems = invalid(&json!({
        "baseline": "stable",
        "candidate": "green",
        "steps": [
            { "percent": 5, "hold": "-1s" },
            { "percent": 5 },
            { "percent": "ten" },
            { "percent": 101, "gate": "automatic" },
            { "hold": 10 },
        ],
        "min_requests": -1,
        "guard": { "failure_ratio": 0.5, "latency": { "quantile": 99, "max": "500ms" }, "false_alarm": 0 },
        "hooks": [{ "on": "later", "url": "http://ops/" }, { "on": "start", "url": "ops" }],
        "checks": [{ "path": "selftest", "status": "ok" }, 7],
    }));
    let mut problems: Vec<&str> = problems.iter().map(String::as_str).collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            "candidate: there is no pool in this split named `green`",
            "checks[0].path: `selftest` must start with `/`",
            "checks[0].status: `ok` is not a list of statuses such as \"200-299,301\"",
            "checks[1]: must be an object, not an integer",
            "guard.failure_ratio: must be at least 1",
            "guard.false_alarm: must be above 0",
            "guard.latency.quantile: must be above 0 and below 1",
            "hooks[0].on: `later` is not one of start, step, before_promote, abort, success, replace",
            "hooks[1].url: `ops` is not a URL such as \"http://127.0.0.1:9100/approve\"",
            "min_requests: must be at least 0, not -1",
            "steps[0].hold: `-1s` is not a duration such as \"250ms\", \"10s\" or \"5m\"",
            "steps[1].percent: must be above 5: each step sends more to the candidate",
            "steps[2].percent: must be a number, not a string",
            "steps[3].gate: `automatic` is not one of manual",
            "steps[3].percent: must be at most 100, not 101",
            "steps[4].hold: must be a string, not an integer",
            "steps[4].percent: `percent` is required",
        ]
    );
}

#[test]
fn mistakes_one_by_one() {
    for (plan, expected) in [
        (with(json!({ "candidate": "stable" })), "candidate: `candidate` is the baseline"),
        (with(json!({ "candidate": null })), "candidate: must be a string, not null"),
        (with(json!({ "steps": [] })), "steps: a canary needs steps"),
        (with(json!({ "steps": {} })), "steps: must be a list, not an object"),
        (
            with(json!({ "steps": [{ "percent": 0 }] })),
            "steps[0].percent: must be above 0: each step sends more to the candidate",
        ),
        (
            with(json!({ "steps": [{ "percent": -5 }, { "percent": 0.5 }] })),
            "steps[0].percent: must be at least 0, not -5",
        ),
        (with(json!({ "bake": null })), "bake: must be a string, not null"),
        (with(json!({ "bake": 30 })), "bake: must be a string, not an integer"),
        (with(json!({ "bake": "99999d" })), "bake: `99999d` is longer than ten years"),
        (with(json!({ "min_requests": 1.5 })), "min_requests: must be an integer, not a number"),
        (with(json!({ "min_requests": 1e30 })), "min_requests: must be an integer, not a number"),
        (with(json!({ "strategy": "rolling" })), "strategy: `rolling` is not one of canary, blue_green, ab"),
        (with(json!({ "guard": [] })), "guard: must be an object, not a list"),
        // Taken as it stands: what is in the environment is not a caller's to ask for.
        (
            with(json!({ "candidate": "${HOME}" })),
            "candidate: there is no pool in this split named `${HOME}`",
        ),
    ] {
        assert_eq!(invalid(&plan), [expected], "{plan}");
    }
    assert_eq!(
        invalid(&json!({})),
        [
            "baseline: `baseline` is required",
            "candidate: `candidate` is required",
            "steps: a canary needs steps"
        ]
    );
    assert_eq!(invalid(&json!([]))[0], ": must be an object, not a list");
}

#[test]
fn unknown_fields_are_another_matter() {
    let plan = with(json!({ "stepz": [], "guard": { "falure_ratio": 2, "unit": "nobody" }, "bake": -1 }));
    let Err(BadPlan::UnknownFields(problems)) = read(&plan) else { panic!("{plan}") };
    let mut fields = told(&problems);
    fields.sort_unstable();
    assert_eq!(fields, ["guard.falure_ratio: unknown field `falure_ratio`", "stepz: unknown field `stepz`"]);
    let hints: Vec<_> = problems.iter().filter_map(|p| p.hint.as_deref()).collect();
    assert!(hints.contains(&"did you mean `failure_ratio`?"), "{hints:?}");
}

#[test]
fn a_long_list_of_mistakes_ends() {
    let steps: Vec<Json> = (0..50_000).map(|_| json!({ "percent": -1 })).collect();
    assert!(invalid(&with(json!({ "steps": steps }))).len() <= MOST_PROBLEMS + 1);
}

#[test]
fn users_need_a_key() {
    let plan = with(json!({ "guard": { "unit": "user" } }));
    assert!(rollout(&plan, &weights(), true).is_ok());
    let Err(BadPlan::Invalid(problems)) = rollout(&plan, &weights(), false) else { panic!("{plan}") };
    assert_eq!(told(&problems), ["guard.unit: users cannot be counted: the split has no key"]);
}

#[test]
fn plans_of_pools() {
    let hook = json!({ "on": "replace", "url": "http://ops/" });
    let plan = pool_rollout(&json!({ "strategy": "rolling", "hooks": [hook] })).expect("a plan");
    assert_eq!((plan.strategy, plan.max_unavailable, plan.queue), (PoolStrategy::Rolling, 1, 1_000));
    assert_eq!((plan.healthy_timeout, plan.queue_timeout), (Span::secs(300), Span::secs(30)));
    for (plan, expected) in [
        (json!({ "strategy": "rolling" }), "nothing replaces the endpoints"),
        (json!({ "hooks": [hook] }), "`strategy` is required"),
        (json!({ "strategy": "canary", "hooks": [hook] }), "`canary` is not one of rolling, recreate"),
        (
            json!({ "strategy": "rolling", "max_unavailable": 0, "hooks": [hook] }),
            "must be at least 1, not 0",
        ),
        (
            json!({ "strategy": "rolling", "healthy_timeout": "0s", "hooks": [hook] }),
            "`healthy_timeout` must be longer than 0",
        ),
        (
            json!({ "strategy": "recreate", "queue_timeout": "0s", "hooks": [hook] }),
            "`queue_timeout` must be longer than 0",
        ),
    ] {
        let Err(BadPlan::Invalid(problems)) = pool_rollout(&plan) else { panic!("{plan}") };
        let messages: Vec<_> = problems.iter().map(|p| &*p.message).collect();
        assert_eq!(messages, [expected], "{plan}");
    }
    let misspelt = json!({ "strategy": "rolling", "hook": [] });
    assert!(matches!(pool_rollout(&misspelt), Err(BadPlan::UnknownFields(_))));
}
