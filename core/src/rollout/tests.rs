//! Rollouts on a virtual clock, as tables: what is seen, and what follows.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Gate, Hook, HookOn, OnSuccess};
use crate::guard::{Counts, Tick};

fn plan(text: &str) -> config::Rollout {
    let text = format!("baseline = \"stable\"\ncandidate = \"canary\"\n{text}");
    toml::from_str(&text).expect("a plan")
}

fn canary(more: &str) -> config::Rollout {
    plan(&format!(
        "steps = [{{ percent = 5, hold = \"10s\" }}, {{ percent = 50 }}, {{ percent = 100 }}]\n\
         min_requests = 100\nmax_step_time = \"60s\"\nbake = \"30s\"\n{more}"
    ))
}

fn said(by: &str) -> Said {
    Said { by: by.into(), why: None, at_ms: 1 }
}

/// A rollout under way, ticked by hand.
struct Run {
    rollout: Rollout,
    weights: Weights,
    progress: Progress,
    healthy: usize,
    draining: bool,
    answer: Option<Answer>,
}

impl Run {
    fn start(plan: config::Rollout) -> Self {
        Self::start_with(plan, 1)
    }

    fn start_with(plan: config::Rollout, healthy: usize) -> Self {
        let before: Weights = [("canary".to_owned(), 0), ("stable".to_owned(), 100)].into();
        let (rollout, weights) = start(plan, said("ann"), 7, &before, 0.0, healthy);
        let progress = rollout.progress.clone();
        Self { rollout, weights, progress, healthy: 1, draining: false, answer: None }
    }

    fn look(&mut self, dt_ms: u64, candidate: (u64, u64), baseline: (u64, u64)) -> Look {
        let counts = |(requests, failures)| Counts {
            requests,
            failures,
            users: requests,
            failed_users: failures,
            failed_keys: failures,
            ..Counts::default()
        };
        let settings = self.rollout.guard_settings(true);
        let tick = Tick { candidate: counts(candidate), baseline: counts(baseline) };
        let seen = Seen {
            tick,
            dt_ms,
            settings: &settings,
            healthy: self.healthy,
            draining: self.draining,
            share: self.rollout.percent / 100.0,
            answer: self.answer.as_ref(),
        };
        let look = step(&self.rollout, self.progress.clone(), &seen);
        self.progress = look.progress.clone();
        look
    }

    /// A tick after which what was found is done.
    fn tick(&mut self, dt_ms: u64, candidate: (u64, u64), baseline: (u64, u64)) -> Option<Act> {
        let finding = self.look(dt_ms, candidate, baseline).finding?;
        let found =
            Found { act: finding.act, verdict: None, id: self.rollout.id, revision: self.rollout.revision };
        self.order(&Order::Found(Box::new(found)), finding.actor()).expect("no finding is refused");
        Some(finding.act)
    }

    /// A tick of good traffic.
    fn good(&mut self, dt_ms: u64, requests: u64) -> Option<Act> {
        self.tick(dt_ms, (requests, 0), (requests * 19, 0))
    }

    fn order(&mut self, order: &Order, by: &str) -> Result<(), String> {
        let known = Known { revision: self.rollout.revision, progress: self.progress.clone() };
        let (rollout, weights) = apply(&self.rollout, Some(&known), &self.weights, order, said(by))?;
        (self.progress, self.rollout, self.weights) = (rollout.progress.clone(), rollout, weights);
        Ok(())
    }

    fn canary(&self) -> u32 {
        self.weights["canary"]
    }

    fn held_by(&self) -> Option<&str> {
        self.progress.held.as_ref().map(|held| held.by.as_str())
    }

    fn status(&self) -> Status {
        self.rollout.status()
    }
}

#[test]
fn a_canary_goes_through_its_steps_bakes_and_succeeds() {
    let mut run = Run::start(canary(""));
    assert_eq!((run.rollout.step, run.canary(), run.status()), (1, 5, Status::Running));
    assert_eq!(run.good(9_999, 100), None, "the hold is not over");
    assert_eq!(run.good(1, 0), Some(Act::Enter(2)));
    assert_eq!((run.canary(), run.progress.requests, run.progress.elapsed_ms), (50, 0, 0));
    assert_eq!(run.good(100, 99), None);
    assert_eq!(run.held_by(), Some("evidence"), "no data is never a pass");
    assert_eq!(run.good(100, 1), Some(Act::Enter(3)));
    assert_eq!(run.good(100, 100), Some(Act::Bake));
    assert_eq!((run.canary(), run.status()), (100, Status::Baking));
    assert_eq!(run.good(29_900, 0), None);
    assert_eq!(run.good(100, 0), Some(Act::Succeed));
    assert_eq!((run.canary(), run.status()), (100, Status::Succeeded));
    assert_eq!(run.rollout.before["stable"], 100);
}

#[test]
fn a_plan_may_end_below_all_of_the_traffic_and_without_a_bake() {
    let mut run = Run::start(plan("steps = [{ percent = 20 }]\nmin_requests = 1\nbake = \"0s\""));
    assert_eq!(run.good(100, 1), Some(Act::Succeed));
    assert_eq!((run.canary(), run.status()), (20, Status::Succeeded));
}

#[test]
fn a_bad_candidate_is_aborted_wherever_it_is_met() {
    let bad = |run: &mut Run| run.tick(100, (50, 50), (950, 1));
    let mut in_step = Run::start(canary(""));
    let mut paused = Run::start(canary(""));
    paused.order(&Order::Pause, "ann").expect("it runs");
    let mut gated = Run::start(plan("steps = [{ percent = 5, gate = \"manual\" }]\nmin_requests = 1"));
    assert_eq!((gated.good(100, 10), gated.held_by()), (None, Some("gate")));
    for (name, run) in [("in a step", &mut in_step), ("paused", &mut paused), ("at a gate", &mut gated)] {
        assert_eq!(bad(run), Some(Act::Abort), "{name}");
        assert_eq!((run.canary(), run.weights["stable"], run.status()), (0, 100, Status::Aborted), "{name}");
        let (end, said) = run.rollout.ended.clone().expect("it has ended");
        assert_eq!((end, said.by.as_str()), (End::Aborted, GUARD), "{name}");
    }
}

#[test]
fn evidence_that_is_not_calm_holds_a_step_and_in_the_end_asks() {
    let mut run = Run::start(canary(""));
    // Some evidence against it, more than half of the boundary and less than all of it.
    let mut look = run.look(10_000, (200, 4), (3_800, 2));
    for _ in 0..20 {
        if !look.assessment.calm {
            break;
        }
        look = run.look(0, (20, 1), (380, 0));
    }
    assert!(!look.assessment.calm && look.assessment.action.is_none(), "{:?}", look.assessment);
    assert_eq!((look.finding, run.held_by()), (None, Some("evidence")));
    assert_eq!(run.tick(50_000, (0, 0), (0, 0)), Some(Act::Pause { passed: false }));
    assert_eq!(run.status(), Status::Paused);
    let verdict = verdict_of(&run, "plan");
    run.rollout.verdicts.push(verdict);
    run.order(&Order::Resume, "ann").expect("it is paused");
    assert_eq!((run.progress.elapsed_ms, run.status()), (0, Status::Running), "it is given its time again");
}

#[test]
fn both_pools_failing_alike_pause_it_and_an_operator_may_go_on() {
    let mut run = Run::start(canary(""));
    let mut done = None;
    for _ in 0..50 {
        done = done.or(run.tick(100, (5, 1), (95, 19)));
    }
    assert_eq!(done, Some(Act::Pause { passed: false }));
    assert_eq!((run.status(), run.canary()), (Status::Paused, 5));
    let paused = run.rollout.paused.clone().expect("it is paused");
    assert_eq!(paused.by, GUARD);
    let verdict = verdict_of(&run, "overall_ratio");
    run.rollout.verdicts.push(verdict);
    run.order(&Order::Resume, "ann").expect("it is paused");
    assert_eq!(run.tick(100, (5, 1), (95, 19)), None, "it is not paused for the same again");
}

fn verdict_of(run: &Run, by: &str) -> Verdict {
    Verdict {
        time_ms: 1,
        generation: 8,
        decided: Decided::Pause,
        by: by.into(),
        why: String::new(),
        step: run.rollout.step,
        percent: run.rollout.percent,
        candidate: run.progress.guard.candidate,
        baseline: run.progress.guard.baseline,
        candidate_us: Quantiles::default(),
        baseline_us: Quantiles::default(),
        excluded: BTreeMap::new(),
        tests: Vec::new(),
        failures: Vec::new(),
        endpoints: BTreeMap::new(),
    }
}

#[test]
fn gates_wait_for_promote_and_pauses_for_resume() {
    let gate = "steps = [{ percent = 5, gate = \"manual\" }, { percent = 100 }]\nmin_requests = 1\nmax_step_time = \"1s\"";
    let mut run = Run::start(plan(gate));
    assert_eq!(run.rollout.plan.steps[0].gate, Some(Gate::Manual));
    assert_eq!((run.good(100_000, 10), run.held_by()), (None, Some("gate")), "a gate is not inconclusive");
    assert!(run.order(&Order::Resume, "ann").is_err(), "a gate is opened by promote");
    run.order(&Order::Promote { full: false }, "ann").expect("it runs");
    assert_eq!((run.rollout.step, run.canary()), (2, 100));

    let mut run = Run::start(canary("on_success = \"pause\""));
    assert_eq!(run.rollout.plan.on_success, OnSuccess::Pause);
    assert_eq!(run.good(10_000, 100), Some(Act::Pause { passed: true }));
    assert_eq!(run.good(10_000, 100), None);
    run.order(&Order::Resume, "ann").expect("it is paused");
    assert_eq!(run.good(100, 0), Some(Act::Enter(2)));
}

#[test]
fn promote_skips_to_the_next_step_or_to_the_end() {
    let mut run = Run::start(canary(""));
    let promote = Order::Promote { full: false };
    let mut seen = Vec::new();
    for _ in 0..4 {
        run.order(&promote, "ann").expect("it has not ended");
        seen.push((run.rollout.step, run.canary(), run.status()));
    }
    let expected = [
        (2, 50, Status::Running),
        (3, 100, Status::Running),
        (3, 100, Status::Baking),
        (3, 100, Status::Succeeded),
    ];
    assert_eq!(seen, expected);
    assert!(run.order(&promote, "ann").is_err());

    let mut run = Run::start(canary(""));
    run.order(&Order::Pause, "ann").expect("it runs");
    run.order(&Order::Promote { full: true }, "ann").expect("it is paused");
    assert_eq!((run.canary(), run.status()), (100, Status::Baking));
}

#[test]
fn hooks_and_checks_come_before_a_step() {
    let mut asked = canary("");
    asked.hooks = [HookOn::Start, HookOn::Step, HookOn::BeforePromote, HookOn::Abort]
        .map(|on| Hook { on, url: "http://h/".into(), timeout: Span::secs(1), token_file: None })
        .to_vec();
    let mut run = Run::start(asked);
    let names = |run: &Run, step| hooks_before(&run.rollout, step).map(|h| h.on).collect::<Vec<_>>();
    assert_eq!(names(&run, 1), [HookOn::Start]);
    assert_eq!(names(&run, 2), [HookOn::Step]);
    assert_eq!(names(&run, 3), [HookOn::Step, HookOn::BeforePromote]);
    assert_eq!((run.rollout.step, run.canary()), (0, 0), "nobody sees it yet");
    assert_eq!((run.good(100, 0), run.progress.asking, run.held_by()), (None, Some(1), Some("hook")));
    let no = Held { by: "hook".into(), why: "403".into() };
    run.answer = Some(Answer { step: 1, result: Err(no.clone()) });
    assert_eq!((run.good(100, 0), run.progress.held.clone()), (None, Some(no.clone())));
    run.answer = Some(Answer { step: 1, result: Ok(()) });
    assert_eq!((run.good(100, 0), run.canary()), (Some(Act::Enter(1)), 5));
    assert_eq!(run.good(10_000, 100), None, "the answer was for another step");
    assert_eq!(run.progress.asking, Some(2));
    run.order(&Order::Resume, "ann").expect("a hook holds it");
    assert_eq!((run.good(100, 0), run.canary()), (Some(Act::Enter(2)), 50));
    assert_eq!((run.good(100, 100), run.progress.asking), (None, Some(3)), "and it is asked again");
}

#[test]
fn a_candidate_that_is_down_or_drained_waits() {
    let mut run = Run::start_with(canary(""), 0);
    run.healthy = 0;
    assert_eq!((run.good(100, 0), run.held_by(), run.canary()), (None, Some("health"), 0));
    run.healthy = 1;
    assert_eq!((run.good(100, 0), run.canary()), (Some(Act::Enter(1)), 5));
    run.draining = true;
    assert_eq!(run.good(100, 0), Some(Act::Pause { passed: false }));
    assert_eq!((run.status(), run.canary()), (Status::Paused, 5));
}

#[test]
fn a_blue_green_swaps_at_once_and_bakes() {
    let text = "strategy = \"blue_green\"\nbake = \"10s\"\nmin_requests = 10\nmax_step_time = \"60s\"";
    let mut run = Run::start(plan(text));
    assert_eq!((run.canary(), run.weights["stable"], run.status()), (100, 0, Status::Baking));
    assert_eq!((run.good(10_000, 9), run.held_by()), (None, Some("evidence")));
    assert_eq!((run.good(100, 1), run.status()), (Some(Act::Succeed), Status::Succeeded));
    run.order(&Order::Abort, "ann").expect("an abort is never refused");
    assert_eq!((run.weights["stable"], run.status()), (100, Status::Aborted));
}

#[test]
fn an_ab_test_leaves_the_weights_alone() {
    let before: Weights = [("canary".to_owned(), 1), ("stable".to_owned(), 3)].into();
    let text = "strategy = \"ab\"\nduration = \"10s\"";
    let (rollout, weights) = start(plan(text), said("ann"), 7, &before, 0.0, 1);
    assert_eq!((&weights, rollout.percent, rollout.step), (&before, 25.0, 1));
    let mut run = Run { weights, ..Run::start(canary("")) };
    (run.progress, run.rollout) = (rollout.progress.clone(), rollout);
    assert_eq!(run.good(9_999, 3), None);
    assert_eq!((run.good(1, 0), run.status()), (Some(Act::Succeed), Status::Succeeded));
    assert_eq!(run.weights, before);
}

#[test]
fn an_abort_is_legal_everywhere_and_twice() {
    let mut hooked = canary("");
    hooked.hooks =
        vec![Hook { on: HookOn::Start, url: "http://h/".into(), timeout: Span::secs(1), token_file: None }];
    let held = Run::start(hooked);
    let mut paused = Run::start(canary(""));
    paused.order(&Order::Pause, "ann").expect("it runs");
    let mut baking = Run::start(canary(""));
    baking.order(&Order::Promote { full: true }, "ann").expect("it runs");
    let mut succeeded = Run::start(plan("steps = [{ percent = 20 }]\nbake = \"0s\""));
    succeeded.order(&Order::Promote { full: true }, "ann").expect("it runs");
    assert_eq!(succeeded.status(), Status::Succeeded);
    for mut run in [held, Run::start(canary("")), paused, baking, succeeded] {
        for time in ["first", "second"] {
            run.order(&Order::Abort, time).expect("an abort is never refused");
            assert_eq!((run.canary(), run.weights["stable"], run.status()), (0, 100, Status::Aborted));
        }
        assert_eq!(run.rollout.ended.as_ref().map(|(_, said)| said.by.as_str()), Some("first"));
        // What an operator does afterwards is not undone by one more.
        run.weights = [("canary".to_owned(), 50), ("stable".to_owned(), 50)].into();
        run.order(&Order::Abort, "third").expect("an abort is never refused");
        assert_eq!(run.canary(), 50);
        for order in [Order::Pause, Order::Resume, Order::Promote { full: true }] {
            assert!(run.order(&order, "ann").is_err(), "{order:?}");
        }
    }
}

#[test]
fn a_restart_pauses_and_keeps_what_is_known() {
    let mut run = Run::start(canary(""));
    run.good(4_000, 50);
    run.order(&Order::Pause, "ann").expect("it runs");
    run.order(&Order::Resume, "ann").expect("it is paused");
    let text = serde_json::to_string(&run.rollout).expect("it can be kept");
    let kept: Rollout = serde_json::from_str(&text).expect("it can be read back");
    assert_eq!(kept, run.rollout);
    let again = kept.after_restart(99);
    assert_eq!((again.status(), again.percent), (Status::Paused, 5.0));
    assert_eq!((again.progress.elapsed_ms, again.progress.requests), (4_000, 50));
    assert_eq!(again.paused.as_ref().map(|said| said.by.as_str()), Some("restart"));
    let said_before = again.paused.clone();
    assert_eq!(again.after_restart(100).paused, said_before, "the first pause is the one to tell of");
}
