//! Rollouts beside every other change: whose word holds, and what outlives what.

use super::{Running, cutover, drain, set, weights};
use crate::change::{Change, Rejected, Request};
use crate::config;
use crate::event::Kind;
use crate::rollout::{Act, Found, Order, Status};
use crate::state::Weights;
use crate::testing::{self, wanted};
use crate::units::Span;

const FILE: &str = "
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    [pools.canary]
    endpoints = ['127.0.0.1:3']
    [pools.lone]
    [splits.checkout]
    weights = { stable = 95, canary = 5, lone = 0 }
    key = ['header:x-user']
    [splits.checkout.rollout]
    baseline = 'stable'
    candidate = 'canary'
    steps = [{ percent = 20 }, { percent = 100 }]
    [splits.search]
    weights = { stable = 1, canary = 0 }
";

const SPLIT: &str = "checkout";

fn start() -> Change {
    Change::StartRollout { split: SPLIT.into(), plan: None }
}

fn start_with(split: &str, text: &str) -> Change {
    let plan: config::Rollout = toml::from_str(text).expect("a plan");
    Change::StartRollout { split: split.into(), plan: Some(Box::new(plan)) }
}

fn order(order: Order) -> Change {
    Change::Rollout { split: SPLIT.into(), order, known: None }
}

fn revert() -> Change {
    Change::Revert { split: SPLIT.into() }
}

fn forced(pairs: &[(&str, u32)]) -> Change {
    Change::SetWeights { split: SPLIT.into(), weights: weights(pairs), ttl: None, force: true }
}

fn started() -> Running {
    let mut running = Running::start(FILE);
    running.apply(start()).expect("a good plan");
    running
}

fn status(running: &Running) -> Status {
    running.live.view().state.rollouts[SPLIT].status()
}

fn canary(running: &Running) -> u32 {
    let view = running.live.view();
    let table = view.snapshot.split_named(SPLIT).expect("it is there");
    let in_table = table.members.iter().find(|m| &*m.name == "canary").and_then(|m| m.weight);
    let in_state = view.state.weights(&view.config, SPLIT).expect("it is there")["canary"];
    assert_eq!(in_table, Some(in_state));
    in_state
}

fn conflict(running: &mut Running, change: Change) -> String {
    let before = running.live.snapshot();
    let rejected = running.apply(change).expect_err("it cannot be done now");
    assert!(std::sync::Arc::ptr_eq(&before, &running.live.snapshot()));
    match rejected {
        Rejected::Conflict(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_start_moves_the_first_share_and_says_where_it_came_from() {
    let running = started();
    let view = running.live.view();
    let split = view.snapshot.split_named(SPLIT).expect("it is there");
    assert_eq!((canary(&running), status(&running)), (20, Status::Running));
    assert!(view.state.weights[SPLIT].by_rollout);
    let rollout = &view.state.rollouts[SPLIT];
    assert_eq!((rollout.id, rollout.before["canary"]), (view.snapshot.generation, 5));
    assert!(split.watch.is_some());
    let fallback: Vec<&str> = split.fallback.iter().map(|m| &*split.member(*m).name).collect();
    assert_eq!(fallback, ["stable"]);
    let entry = view.history.back().expect("it is in the history");
    assert_eq!(entry.action, "rollout_start");
    assert_eq!(entry.after.splits[SPLIT].rollout.as_ref().map(|r| r.step), Some(1));
}

#[test]
fn bad_starts_are_refused() {
    let mut running = started();
    assert_eq!(
        conflict(&mut running, start()),
        "split `checkout` has rollout 2 from `stable` to `canary` (running) already; abort it first"
    );
    let plan = |candidate: &str| {
        format!("baseline = 'stable'\ncandidate = '{candidate}'\nsteps = [{{ percent = 5 }}]")
    };
    let mut running = Running::start(FILE);
    assert_eq!(
        conflict(&mut running, start_with(SPLIT, &plan("lone"))),
        "pool `lone` has no endpoints; put some first"
    );
    running.apply(drain("canary", None)).expect("it is there");
    assert_eq!(conflict(&mut running, start()), "pool `canary` is being drained; undrain it first");
    let mut running = Running::start(FILE);
    running.apply(set("checkout", &[("stable", 0), ("canary", 1)])).expect("they are there");
    assert!(conflict(&mut running, start()).contains("`stable` has no share"));
    let bad = "baseline = 'stable'\ncandidate = 'nobody'\nsteps = [{ percent = 5 }, { percent = 5 }]";
    for (split, change) in [
        ("search", start_with("search", bad)),
        ("search", Change::StartRollout { split: "search".into(), plan: None }),
    ] {
        let rejected = running.apply(change).expect_err("a bad plan");
        assert!(
            matches!(&rejected, Rejected::Invalid(problems) if !problems.is_empty()),
            "{split} {rejected:?}"
        );
    }
    for (file, is_refused) in
        [("token", false), ("secrets/token", false), ("/etc/passwd", true), ("../token", true)]
    {
        let hook = format!("hooks = [{{ on = 'start', url = 'http://h/', token_file = '{file}' }}]");
        let sent = start_with("search", &format!("{}\n{hook}", plan("canary")));
        let refused = running.live.dry_run(&wanted(sent), running.now).is_err();
        assert_eq!(refused, is_refused, "{file}");
    }
    let nowhere = start_with("nowhere", &plan("canary"));
    assert!(matches!(running.apply(nowhere), Err(Rejected::NotFound { kind: "split", .. })));
    let nothing = running.apply(order(Order::Pause)).expect_err("there is none");
    assert!(matches!(nothing, Rejected::NotFound { .. }), "{nothing:?}");
}

#[test]
fn nobody_else_changes_the_weights_unless_they_insist() {
    let mut running = started();
    for change in [set(SPLIT, &[("stable", 1), ("canary", 1)]), cutover("canary", 1, false)] {
        let why = conflict(&mut running, change);
        assert!(why.contains("rollout 2") && why.contains("force"), "{why}");
    }
    running.apply(set("search", &[("stable", 1), ("canary", 1)])).expect("another split");
    let applied = running.apply(forced(&[("stable", 50), ("canary", 50)])).expect("they insist");
    assert_eq!(applied.events.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Change, Kind::Rollout]);
    assert_eq!((canary(&running), status(&running)), (50, Status::Aborted));
    assert!(!running.live.view().state.weights[SPLIT].by_rollout);
    assert!(running.live.snapshot().split_named(SPLIT).expect("it is there").watch.is_none());
    // A revert goes back to before the rollout, not into the middle of it.
    running.apply(revert()).expect("there are earlier weights");
    assert_eq!(canary(&running), 5);
    let restore = Change::Restore { generation: 1 };
    let mut running = started();
    let why = conflict(&mut running, restore);
    assert!(why.contains("rollout 2"), "{why}");
}

#[test]
fn a_revert_ends_a_rollout() {
    let mut running = started();
    running.apply(revert()).expect("always allowed");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    let mut running = started();
    running.apply(order(Order::Promote { full: true })).expect("it runs");
    assert_eq!((canary(&running), status(&running)), (100, Status::Baking));
    running.apply(revert()).expect("always allowed");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    let mut running = started();
    running.apply(order(Order::Promote { full: true })).expect("it runs");
    running.apply(order(Order::Promote { full: false })).expect("it bakes");
    assert_eq!(status(&running), Status::Succeeded);
    running.apply(revert()).expect("always allowed");
    assert_eq!((canary(&running), status(&running)), (5, Status::Aborted), "as it was before the rollout");
}

#[test]
fn the_ledger_stays_for_as_long_as_the_rollout() {
    let mut running = started();
    let ledger = |running: &Running| {
        let table = running.live.snapshot();
        let split = table.split_named(SPLIT).expect("it is there");
        split.watch.as_ref().map(|watch| std::sync::Arc::as_ptr(&watch.ledger))
    };
    let first = ledger(&running);
    assert!(first.is_some());
    running.apply(order(Order::Pause)).expect("it runs");
    running
        .apply(Change::Reload(testing::config(&FILE.replace("x-user", "x-account"))))
        .expect("a good file");
    running.apply(order(Order::Promote { full: false })).expect("it is paused");
    assert_eq!(ledger(&running), first);
    running.apply(order(Order::Abort)).expect("always allowed");
    assert_eq!(ledger(&running), None);
    running.apply(start()).expect("the first has ended");
    assert!(ledger(&running).is_some());
    assert_eq!(running.live.view().state.rollouts[SPLIT].progress.requests, 0);
}

#[test]
fn only_what_the_file_says_of_the_weights_ends_it() {
    let mut running = started();
    let reload = |text: String| Change::Reload(testing::config(&text));
    running.apply(reload(FILE.replace("percent = 20", "percent = 30"))).expect("a good file");
    assert_eq!((canary(&running), status(&running)), (20, Status::Running));
    let applied = running.apply(reload(FILE.replace("stable = 95", "stable = 90"))).expect("a good file");
    assert_eq!((canary(&running), status(&running)), (5, Status::Aborted));
    let told: Vec<_> = applied.events.iter().filter_map(|e| e.detail.get("what")?.as_str()).collect();
    assert_eq!(told, ["weights of split checkout", "rollout of split checkout"]);
    let last = applied.events.last().expect("there are some");
    assert_eq!(last.kind, Kind::Rollout, "who listens for rollouts hears of it: {applied:?}");
    assert!(last.message.starts_with("rollout 2 of split checkout is aborted"), "{}", last.message);
    let mut running = started();
    let gone = FILE.replace("splits.checkout", "splits.other");
    running.apply(reload(gone)).expect("a good file");
    assert!(running.live.view().state.rollouts.is_empty());
}

#[test]
fn a_restart_pauses_it_and_an_ended_one_stays_ended() {
    let mut running = started();
    running.restart(FILE);
    assert_eq!((canary(&running), status(&running)), (20, Status::Paused));
    running.apply(order(Order::Resume)).expect("it is paused");
    assert_eq!(status(&running), Status::Running);
    running.apply(order(Order::Abort)).expect("always allowed");
    running.restart(FILE);
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    running
        .apply(Change::Reload(testing::config(&FILE.replace("percent = 20", "percent = 30"))))
        .expect("good");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    let mut running = started();
    running.restart(&FILE.replace("stable = 95", "stable = 90"));
    assert_eq!((canary(&running), status(&running)), (5, Status::Aborted), "the file is newer");
}

#[test]
fn findings_about_another_time_are_refused_unless_they_abort() {
    let mut running = started();
    let rollout = running.live.view().state.rollouts[SPLIT].clone();
    let found = |act| {
        order(Order::Found(Box::new(Found {
            act,
            verdict: None,
            id: rollout.id,
            revision: rollout.revision,
        })))
    };
    running.apply(order(Order::Pause)).expect("it runs");
    let stale = running.apply(found(Act::Enter(2))).expect_err("it has been paused since");
    assert!(matches!(stale, Rejected::Stale { .. }), "{stale:?}");
    running.apply(found(Act::Abort)).expect("an abort always wins");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    assert!(matches!(running.apply(found(Act::Abort)), Err(Rejected::Stale { .. })), "it has ended");
    running.apply(start()).expect("the first has ended");
    assert!(matches!(running.apply(found(Act::Abort)), Err(Rejected::Stale { .. })), "it is another one");
}

#[test]
fn if_match_guards_orders_but_no_abort() {
    let mut running = started();
    let against = |change, generation| Request { if_match: Some(generation), ..wanted(change) };
    let apply = |request: Request| running.live.apply(&request, running.now, |_| Ok(()));
    assert!(matches!(apply(against(order(Order::Pause), 1)), Err(Rejected::Stale { current: 2 })));
    apply(against(order(Order::Pause), 2)).expect("what they saw is what there is");
    assert!(matches!(apply(against(order(Order::Resume), 2)), Err(Rejected::Stale { current: 3 })));
    apply(against(order(Order::Abort), 1)).expect("an abort does not ask what they saw");
    running.pass(1);
}

#[test]
fn an_abort_is_in_force_also_when_it_cannot_be_written_down() {
    let mut running = started();
    let full = |_: &_| Err("no space left on device".to_owned());
    let pause = running.live.apply(&wanted(order(Order::Pause)), running.now, full);
    assert!(matches!(pause, Err(Rejected::NotDurable(_))));
    let applied = running.live.apply(&wanted(order(Order::Abort)), running.now, full).expect("in force");
    assert_eq!(applied.unsaved.as_deref(), Some("no space left on device"));
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    running.apply(start()).expect("the state goes on from there");
}

#[test]
fn a_cutover_with_a_bake_is_a_rollout_from_the_largest_pool() {
    let mut running = Running::start(FILE);
    let bake = Some(Span::secs(60));
    let to = |pool: &str| Change::Cutover {
        split: SPLIT.into(),
        to: pool.into(),
        min_healthy: 1,
        bake,
        force: false,
    };
    running.apply(to("canary")).expect("it is healthy");
    let view = running.live.view();
    assert_eq!((canary(&running), status(&running)), (100, Status::Baking));
    let expected: Weights = weights(&[("stable", 0), ("canary", 100), ("lone", 0)]);
    assert_eq!(view.state.weights[SPLIT].value, expected);
    running.apply(revert()).expect("always allowed");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    running.apply(to("canary")).expect("the first has ended");
    running.apply(order(Order::Promote { full: false })).expect("it bakes");
    running.apply(to("stable")).expect("and back");
    assert_eq!(canary(&running), 0);
    let why = conflict(&mut running, cutover("stable", 1, false));
    assert!(why.contains("rollout"), "{why}");
}

#[test]
fn others_have_their_share_again_when_a_cutover_is_called_off() {
    let mut running = Running::start(FILE);
    running.apply(set(SPLIT, &[("stable", 60), ("canary", 10), ("lone", 30)])).expect("they are there");
    let bake = Some(Span::secs(60));
    let to = "canary".to_owned();
    let change = Change::Cutover { split: SPLIT.into(), to, min_healthy: 1, bake, force: false };
    running.apply(change).expect("it is healthy");
    running.apply(order(Order::Abort)).expect("always allowed");
    let view = running.live.view();
    let expected: Weights = weights(&[("stable", 70), ("canary", 0), ("lone", 30)]);
    assert_eq!(view.state.weights[SPLIT].value, expected);
}

/// An abort of a rollout that was long over once brought back a pool that the file no longer had.
#[test]
fn an_abort_of_what_has_long_succeeded_takes_the_candidate_s_share_if_there_is_one() {
    let succeeded = || {
        let mut running = started();
        running.apply(order(Order::Promote { full: true })).expect("it runs");
        running.apply(order(Order::Promote { full: false })).expect("it bakes");
        running
    };
    let mut running = succeeded();
    running.apply(set(SPLIT, &[("stable", 30), ("canary", 70)])).expect("it is over");
    running.apply(order(Order::Abort)).expect("never refused");
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    assert_eq!(running.live.view().state.weights[SPLIT].value["stable"], 100);
    let mut running = succeeded();
    let without = FILE
        .replace("stable = 95, canary = 5", "canary = 5")
        .replace("[pools.stable]", "[pools.other]")
        .replace("weights = { stable = 1, canary = 0 }", "weights = { canary = 1 }");
    let without = without.split("[splits.checkout.rollout]").next().expect("a file").to_owned();
    running.apply(Change::Reload(testing::config(&without))).expect("a good file");
    running.apply(order(Order::Abort)).expect("never refused");
    assert_eq!((canary(&running), status(&running)), (5, Status::Aborted));
}

#[test]
fn an_ab_test_tells_the_upstream_and_leaves_the_weights() {
    let mut running = Running::start(FILE);
    let plan = "strategy = 'ab'\nbaseline = 'stable'\ncandidate = 'canary'\nduration = '1h'";
    running.apply(start_with(SPLIT, plan)).expect("a good plan");
    let header = |running: &Running| {
        let table = running.live.snapshot();
        table.split_named(SPLIT).and_then(|split| split.pool_header.clone())
    };
    assert_eq!((canary(&running), header(&running)), (5, Some("x-tidegate-pool".parse().expect("a name"))));
    running.apply(order(Order::Promote { full: false })).expect("it runs");
    assert_eq!((canary(&running), header(&running), status(&running)), (5, None, Status::Succeeded));
}

#[test]
fn a_revert_that_ends_a_rollout_is_in_force_as_an_abort_is() {
    let full = |_: &_| Err("no space left on device".to_owned());
    let running = started();
    let applied = running.live.apply(&wanted(revert()), running.now, full).expect("in force");
    assert!(applied.unsaved.is_some());
    assert_eq!((canary(&running), status(&running)), (0, Status::Aborted));
    let again = running.live.apply(&wanted(revert()), running.now, full);
    assert!(matches!(again, Err(Rejected::NotDurable(_))), "a revert of weights alone can wait");
}

/// An abort that waits for a lock or a disk takes the candidate's requests away all the same.
#[test]
fn a_cut_sends_every_request_where_the_aborted_table_will() {
    use crate::decide::{Decided, decide};
    use crate::pick::Entropy;
    let mut running = Running::start(&format!("{FILE}\n[[routes]]\nname = 'all'\nsplit = 'checkout'\n"));
    running.apply(start()).expect("a good plan");
    let pools = |running: &Running| -> Vec<String> {
        let table = running.live.snapshot();
        let of = |user: u32| {
            let asked = testing::ask("GET shop.test/").with("x-user", &user.to_string());
            let decided = decide(&table, &asked.view(), 1, &mut Entropy::new(u64::from(user)));
            decided.and_then(Decided::forwarded).expect("a route takes it").serving(&table).name.to_string()
        };
        (0..2_000).map(of).collect()
    };
    assert!(pools(&running).iter().any(|pool| pool == "canary"));
    let table = running.live.snapshot();
    table.split_named(SPLIT).and_then(|split| split.watch.as_ref()).expect("it runs").ledger.cut();
    let cut = pools(&running);
    assert!(cut.iter().all(|pool| pool == "stable"));
    running.apply(order(Order::Abort)).expect("never refused");
    assert_eq!(pools(&running), cut);
    running.apply(start()).expect("the first has ended");
    assert!(pools(&running).iter().any(|pool| pool == "canary"), "another rollout has its own ledger");
}

#[test]
fn what_was_seen_of_an_earlier_step_is_no_evidence_for_the_next() {
    use crate::rollout::Known;
    let mut running = started();
    let rollout = running.live.view().state.rollouts[SPLIT].clone();
    let mut progress = rollout.progress.clone();
    (progress.elapsed_ms, progress.requests, progress.guard.candidate.requests) = (60_000, 500, 500);
    running.apply(order(Order::Promote { full: false })).expect("it runs");
    let known = Some(Box::new(Known { revision: rollout.revision, progress }));
    let late = Change::Rollout { split: SPLIT.into(), order: Order::Pause, known };
    running.apply(late).expect("it runs");
    let after = running.live.view().state.rollouts[SPLIT].progress.clone();
    assert_eq!((after.elapsed_ms, after.requests, after.guard.candidate.requests), (0, 0, 500));
}
