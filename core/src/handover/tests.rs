//! What one process knows, and another one begins with.

use std::collections::VecDeque;

use super::*;
use crate::cell::LastCheck;
use crate::change::Rejected;
use crate::config;
use crate::eject::Policy;
use crate::health::{Status, Thresholds};
use crate::live::Live;
use crate::testing::{self, Running, at};

const FILE: &str = "
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    health = { path = '/healthz' }
    eject = { consecutive_failures = 1 }
    [pools.canary]
    endpoints = ['127.0.0.1:3']
    health = { path = '/healthz' }
    [splits.shop]
    weights = { stable = 95, canary = 5 }
";

const ONCE: Thresholds = Thresholds { healthy_after: 1, unhealthy_after: 1 };

fn sent(running: &Running) -> Handover {
    let sent = serde_json::to_string(&Handover::of(&running.live.view(), running.now)).unwrap();
    serde_json::from_str(&sent).unwrap()
}

/// Another process with this file, a second later on the wall and at the start of its own clock.
fn taken_over(handover: &Handover, file: &str) -> Live {
    let now = Now { mono_ms: 7, ..at(2_000) };
    let history: VecDeque<_> = handover.history.iter().cloned().collect();
    let (live, ..) = Live::start(testing::config(file), &handover.state, history, now);
    handover.tell(&live.snapshot(), now);
    live
}

fn check(running: &Running, pool: &str, endpoint: usize, ok: bool) {
    let snapshot = running.live.snapshot();
    let last = LastCheck { at_ms: 5, ok, detail: "seen".into() };
    snapshot.pool_named(pool).unwrap().endpoints[endpoint].cell.checked(last, ONCE);
}

fn statuses(live: &Live) -> Vec<Status> {
    let snapshot = live.snapshot();
    let pools = ["stable", "canary"].iter().filter_map(|name| snapshot.pool_named(name));
    pools.flat_map(|pool| &pool.endpoints).map(|e| e.cell.status()).collect()
}

#[test]
fn what_is_in_force_and_what_has_been_goes_over() {
    let mut running = Running::start(FILE);
    let weights = [("stable".to_owned(), 60), ("canary".to_owned(), 40)].into();
    let change = Change::SetWeights { split: "shop".into(), weights, ttl: None, force: false };
    running.apply(change).unwrap();
    let live = taken_over(&sent(&running), FILE);
    let (before, after) = (running.live.view(), live.view());
    assert_eq!(after.state.weights, before.state.weights);
    assert_eq!(after.state.generation, before.state.generation + 1, "a start is a change");
    assert_eq!(after.history.len(), before.history.len() + 1);
    assert_eq!(after.history[1], before.history[1]);
}

#[test]
fn endpoints_are_known_where_the_check_is_the_same() {
    use Status::{Down, Unknown, Up};
    let running = Running::start(FILE);
    check(&running, "stable", 0, true);
    check(&running, "stable", 1, false);
    check(&running, "canary", 0, true);
    let other_canary = FILE.replacen("[pools.canary]", "[pools.canary]\n read_timeout = '7s'", 1);
    let other_check = FILE.replace("'/healthz' }\n    [splits", "'/other' }\n    [splits");
    let other_pace = FILE.replace("/healthz'", "/healthz', interval = '9s'");
    for (file, expected) in [
        (FILE, [Up, Down, Up]),
        (&other_canary, [Up, Down, Up]),
        (&other_pace, [Up, Down, Up]),
        (&other_check, [Up, Down, Unknown]),
    ] {
        let live = taken_over(&sent(&running), file);
        assert_eq!(statuses(&live), expected, "{file}");
        let table = live.snapshot();
        let cell = &table.pool_named("stable").unwrap().endpoints[1].cell;
        assert_eq!(cell.last_check().map(|last| (last.at_ms, last.ok)), Some((5, false)));
    }
}

#[test]
fn an_ejection_goes_on_for_as_long_as_it_would_have() {
    let running = Running::start(FILE);
    let policy = Policy::compile(&config::Eject::default());
    let cell = |live: &Live| Arc::clone(&live.snapshot().pool_named("stable").unwrap().endpoints[0].cell);
    let left_ms = cell(&running.live).eject(running.now.mono_ms, &policy);
    let cell = cell(&taken_over(&sent(&running), FILE));
    let until_ms = 7 + left_ms;
    assert!(cell.is_ejected(7) && cell.is_ejected(until_ms - 1) && !cell.is_ejected(until_ms));
}

#[test]
fn an_abort_that_the_old_process_made_too_late_is_made_again() {
    let mut old = Running::start(&format!(
        "{FILE}\n[splits.shop.rollout]\nbaseline = 'stable'\ncandidate = 'canary'\nsteps = [{{ percent = 5 }}]\n"
    ));
    check(&old, "canary", 0, true);
    old.apply(Change::StartRollout { split: "shop".into(), plan: None }).unwrap();
    let handover = sent(&old);
    let abort = Change::Rollout { split: "shop".into(), order: Order::Abort, known: None };
    let entry = old.apply(abort).unwrap().entry;
    let new = taken_over(&handover, FILE);
    assert!(new.view().state.rollouts["shop"].is_active());
    let again = abort_again(&entry);
    assert_eq!((again.len(), again[0].actor.as_str()), (1, "ann"));
    let now = Now { mono_ms: 100, ..at(3_000) };
    new.apply(&again[0], now, |_| Ok(())).unwrap();
    assert!(!new.view().state.rollouts["shop"].is_active());
    // As many times as you like.
    let twice: Result<_, Rejected> = new.apply(&again[0], now, |_| Ok(()));
    assert!(twice.is_ok(), "{twice:?}");
}
