//! The running table: applying, persisting, and simulations over seeds against a plain model.

use super::*;
use crate::config::{Endpoint, EndpointTable};
use crate::state::Weights;
use crate::testing::{self, Running, wanted};
use crate::units::Span;

mod model;
mod taken_in;

const FILE: &str = "
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    [pools.canary]
    endpoints = ['127.0.0.1:3']
    [splits.checkout]
    weights = { stable = 95, canary = 5 }
    [splits.search]
    weights = { stable = 1, canary = 1 }
    [[routes]]
    name = 'own'
    weights = { stable = 7, canary = 3 }
";

fn weights(pairs: &[(&str, u32)]) -> Weights {
    pairs.iter().map(|(pool, weight)| ((*pool).to_owned(), *weight)).collect()
}

fn shift(split: &str, stable: u32, canary: u32) -> Change {
    let weights = weights(&[("stable", stable), ("canary", canary)]);
    Change::SetWeights { split: split.into(), weights, ttl: None, force: false }
}

fn of(running: &Running, split: &str) -> Weights {
    let snapshot = running.live.snapshot();
    let members = &snapshot.split_named(split).unwrap().members;
    members.iter().filter_map(|m| Some((m.name.to_string(), m.weight?))).collect()
}

#[test]
fn a_change_makes_the_next_generation_and_an_entry() {
    let mut running = Running::start(FILE);
    assert_eq!(running.live.snapshot().generation, 1);
    let applied = running.apply(shift("checkout", 50, 50)).unwrap();
    assert_eq!((applied.previous.generation, applied.snapshot.generation), (1, 2));
    assert!(Arc::ptr_eq(&applied.snapshot, &running.live.snapshot()));
    let entry = &applied.entry;
    assert_eq!((entry.generation, entry.action.as_str(), entry.actor.as_str()), (2, "set_weights", "ann"));
    assert_eq!(entry.reason.as_deref(), Some("because"));
    assert_eq!(entry.time_ms, running.now.wall_ms);
    assert_eq!(entry.before.splits["checkout"].weights, weights(&[("stable", 95), ("canary", 5)]));
    assert_eq!(entry.after.splits["checkout"].weights, weights(&[("stable", 50), ("canary", 50)]));
    assert_eq!((entry.after.splits.len(), entry.after.pools.len()), (1, 0));
    let event = &applied.events[0];
    assert_eq!(
        (event.kind, event.generation, event.detail["action"].as_str()),
        (Kind::Change, 2, Some("set_weights"))
    );
    let view = running.live.view();
    assert_eq!((view.state.generation, view.history.len()), (2, 2));
}

#[test]
fn a_dry_run_tells_all_and_changes_nothing() {
    let mut running = Running::start(FILE);
    let before = running.live.snapshot();
    let would = running.live.dry_run(&wanted(shift("checkout", 1, 1)), running.now).unwrap();
    assert_eq!((would.snapshot.generation, would.entry.generation), (2, 2));
    assert!(Arc::ptr_eq(&before, &running.live.snapshot()));
    assert_eq!(running.live.view().history.len(), 1);
    let applied = running.apply(shift("checkout", 1, 1)).unwrap();
    assert_eq!(would.entry, applied.entry);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let mut running = Running::start(FILE);
    let before = running.live.view();
    let change = Change::SetWeights {
        split: "checkout".into(),
        weights: weights(&[("stable", 1)]),
        ttl: Some(Span::secs(1)),
        force: false,
    };
    let failed = running.live.apply(&wanted(change), running.now, |record| {
        assert_eq!((record.state.generation, record.entry.generation), (2, 2));
        Err("the disk is full".into())
    });
    assert_eq!(failed.unwrap_err(), Rejected::NotDurable("the disk is full".into()));
    let after = running.live.view();
    assert!(Arc::ptr_eq(&before.snapshot, &after.snapshot));
    assert_eq!((before.state, before.history), (after.state, after.history));
    running.pass(10_000);
    assert!(!running.live.has_expired(running.now), "nor is its time set");
    assert_eq!(running.apply(shift("checkout", 2, 2)).unwrap().snapshot.generation, 2);
}

/// Compiling another check once forgot what was known, though the reload was tried or failed.
#[test]
fn only_a_reload_that_is_made_forgets_checks() {
    let checked =
        |health: &str| FILE.replace("[pools.canary]", &format!("[pools.canary]\nhealth = {{ {health} }}"));
    let mut running = Running::start(&checked("tcp = true"));
    let cell = running.live.snapshot().pool_named("canary").unwrap().endpoints[0].cell.clone();
    let thresholds = crate::health::Thresholds { healthy_after: 1, unhealthy_after: 1 };
    let status = || cell.status().as_str();
    cell.checked(crate::cell::LastCheck { at_ms: 1, ok: true, detail: String::new() }, thresholds);
    let other = Change::Reload(testing::config(&checked("path = '/healthz'")));
    running.live.dry_run(&wanted(other.clone()), running.now).unwrap();
    assert_eq!(status(), "up", "after a dry run");
    running.live.apply(&wanted(other.clone()), running.now, |_| Err(String::new())).unwrap_err();
    assert_eq!(status(), "up", "after a failure to write");
    // The same question, asked more often and with more patience.
    let patient = "tcp = true, interval = '9s', timeout = '2s', unhealthy_after = 9, initial = 'down'";
    running.apply(Change::Reload(testing::config(&checked(patient)))).unwrap();
    assert_eq!(status(), "up", "the check asks what it asked before");
    running.apply(other).unwrap();
    assert_eq!((status(), cell.last_check()), ("unknown", None), "another check is in force");
}

#[test]
fn the_history_is_bounded_and_going_back_is_not_wrong_for_it() {
    let mut running = Running::start(FILE);
    running.apply(shift("search", 9, 1)).unwrap();
    let changes = u32::try_from(HISTORY_LIMIT).unwrap() + 50;
    for n in 0..changes {
        running.apply(shift("checkout", n + 1, 1)).unwrap();
    }
    let view = running.live.view();
    assert_eq!(view.history.len(), HISTORY_LIMIT);
    let oldest = view.history[0].generation;
    let gone = running.apply(Change::Restore { generation: oldest - 1 });
    assert!(matches!(gone, Err(Rejected::NotFound { kind: "generation", .. })), "{gone:?}");
    // The entry of search's change is forgotten, and yet it can be reverted.
    running.apply(Change::Restore { generation: oldest }).unwrap();
    assert_eq!(of(&running, "search"), weights(&[("stable", 9), ("canary", 1)]), "it has not changed since");
    let first = view.history[0].after.splits["checkout"].weights.clone();
    assert_eq!(of(&running, "checkout"), first);
    running.apply(Change::Revert { split: "search".into() }).unwrap();
    assert_eq!(of(&running, "search"), weights(&[("stable", 1), ("canary", 1)]));
    running.apply(Change::Revert { split: "checkout".into() }).unwrap();
    assert_eq!(of(&running, "checkout")["stable"], changes);
}

#[test]
fn a_revert_toggles_and_follows_the_file() {
    let mut running = Running::start(FILE);
    let revert = || Change::Revert { split: "checkout".into() };
    let none = running.apply(revert());
    assert!(matches!(none, Err(Rejected::Conflict(_))), "{none:?}");
    running.apply(shift("checkout", 50, 50)).unwrap();
    for stable in [95, 50, 95] {
        running.apply(revert()).unwrap();
        assert_eq!(of(&running, "checkout")["stable"], stable);
    }
    // The same weights again are no change.
    running.apply(shift("checkout", 95, 5)).unwrap();
    running.apply(revert()).unwrap();
    assert_eq!(of(&running, "checkout")["stable"], 50);
    let file = testing::config(&FILE.replace("stable = 95", "stable = 70"));
    running.apply(Change::Reload(file)).unwrap();
    assert_eq!(of(&running, "checkout")["stable"], 70);
    running.apply(revert()).unwrap();
    assert_eq!(of(&running, "checkout")["stable"], 50, "before the reload");
    // Over a restart, in which the file changes.
    running.restart(&FILE.replace("stable = 95", "stable = 60"));
    assert_eq!(of(&running, "checkout")["stable"], 60);
    running.apply(revert()).unwrap();
    assert_eq!(of(&running, "checkout")["stable"], 50, "before the restart");
}

#[test]
fn a_ttl_runs_on_the_clock_that_never_jumps() {
    let mut running = Running::start(FILE);
    let ttl = |seconds| Change::SetWeights {
        split: "checkout".into(),
        weights: weights(&[("stable", 1)]),
        ttl: Some(Span::secs(seconds)),
        force: false,
    };
    running.apply(ttl(60)).unwrap();
    running.now.wall_ms += 3_600_000;
    assert!(!running.live.has_expired(running.now), "the wall clock was put forward");
    running.apply(shift("search", 3, 1)).unwrap();
    running.pass(59_999);
    assert!(!running.live.has_expired(running.now));
    running.pass(1);
    assert!(running.live.has_expired(running.now));
    assert_eq!(of(&running, "checkout").len(), 1, "until the change is made");
    running.apply(Change::Expire).unwrap();
    assert_eq!(of(&running, "checkout"), weights(&[("stable", 95), ("canary", 5)]));
    assert!(!running.live.has_expired(running.now));
    assert_eq!(of(&running, "search")["stable"], 3, "without a ttl for ever");
    // Put again when the wall clock, turned back, shows the same end as before.
    running.apply(ttl(60)).unwrap();
    running.pass(30_000);
    running.now.wall_ms -= 30_000;
    running.apply(ttl(60)).unwrap();
    running.pass(30_000);
    assert!(!running.live.has_expired(running.now));
    running.pass(30_000);
    assert!(running.live.has_expired(running.now));
}

#[test]
fn a_ttl_runs_while_the_process_is_down() {
    let mut running = Running::start(FILE);
    for (split, seconds) in [("checkout", 60), ("search", 600)] {
        let ttl = Some(Span::secs(seconds));
        running
            .apply(Change::SetWeights {
                split: split.into(),
                weights: weights(&[("stable", 1)]),
                ttl,
                force: false,
            })
            .unwrap();
    }
    running.pass(60_000);
    running.restart(FILE);
    assert_eq!(of(&running, "checkout").len(), 2);
    assert_eq!(of(&running, "search").len(), 1);
    assert!(!running.live.has_expired(running.now));
    running.pass(540_000);
    assert!(running.live.has_expired(running.now));
}

#[test]
fn the_file_wins_when_it_changes_that_very_thing() {
    let mut running = Running::start(FILE);
    running.apply(shift("checkout", 50, 50)).unwrap();
    running.apply(shift("own", 1, 1)).unwrap();
    let reload = |running: &mut Running, text: &str| {
        running.apply(Change::Reload(testing::config(text))).unwrap().events
    };
    let events = reload(&mut running, &FILE.replace("stable = 1,", "stable = 2,"));
    assert_eq!(events.len(), 1, "another split's weights: {events:?}");
    assert_eq!((of(&running, "checkout")["stable"], of(&running, "search")["stable"]), (50, 2));
    let events = reload(&mut running, &FILE.replace("stable = 95", "stable = 90"));
    assert_eq!(of(&running, "checkout")["stable"], 90);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1].detail["what"].as_str(), Some("weights of split checkout"));
    assert_eq!(events[1].detail["why"].as_str(), Some("the file's own value changed"));
    assert_eq!(of(&running, "own")["stable"], 1);
    let events =
        reload(&mut running, &FILE.replace("stable = 95", "stable = 90").replace("'own'", "'other'"));
    assert_eq!(events[1].detail["why"].as_str(), Some("it is no longer in the file"));
    let entry = running.live.view().history.back().unwrap().clone();
    assert_eq!(entry.before.splits.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(entry.after.splits.keys().collect::<Vec<_>>(), ["other"], "an entry shows what changed");
}

/// A drain of an endpoint written as `[0::1]:80` was once lost at the next reload.
#[test]
fn addresses_are_the_same_however_they_are_written() {
    let text = |address: &str| format!("[pools.p]\nendpoints = ['{address}', '[::2]:80']");
    let mut running = Running::start(&text("[0:0::1]:80"));
    let address = "[::1]:80".parse().unwrap();
    running.apply(Change::Drain { pool: "p".into(), endpoint: Some(address), timeout: None }).unwrap();
    let drains = |running: &Running| {
        let snapshot = running.live.snapshot();
        snapshot.pool_named("p").unwrap().endpoints.iter().filter(|e| e.draining.is_some()).count()
    };
    let same = vec![
        Endpoint::Table(EndpointTable { address: "[0::0001]:80".into(), weight: 2 }),
        Endpoint::Address("[::2]:80".into()),
    ];
    running.apply(Change::SetEndpoints { pool: "p".into(), endpoints: same, ttl: None }).unwrap();
    assert_eq!(drains(&running), 1);
    // The file says the same thing in other letters: nothing gives way.
    let events = running.apply(Change::Reload(testing::config(&text("[::1]:80")))).unwrap().events;
    assert_eq!((drains(&running), events.len()), (1, 1), "{events:?}");
    running.restart(&text("[0::1]:80"));
    assert_eq!(drains(&running), 1);
    assert_eq!(running.live.snapshot().pool_named("p").unwrap().endpoints[0].weight, 2);
}

/// A drain of an endpoint put by the API once stayed when the endpoint's time was over.
#[test]
fn drains_go_with_their_endpoints() {
    let mut running = Running::start("[pools.p]\nendpoints = ['127.0.0.1:1']");
    let endpoints = vec![Endpoint::Address("127.0.0.1:9".into())];
    let ttl = Some(Span::secs(1));
    running.apply(Change::SetEndpoints { pool: "p".into(), endpoints, ttl }).unwrap();
    let endpoint = Some("127.0.0.1:9".parse().unwrap());
    running.apply(Change::Drain { pool: "p".into(), endpoint, timeout: None }).unwrap();
    running.pass(1_000);
    running.apply(Change::Expire).unwrap();
    assert!(running.live.view().state.drains.is_empty());
}

/// What is on disk may come from another version: what could not be put now is left out, not fatal.
#[test]
fn a_state_that_cannot_be_is_left_out() {
    let running = Running::start(FILE);
    let mut state = running.live.view().state;
    let kept = |base: Weights, value: Weights| crate::state::Kept {
        base,
        value,
        actor: "ann".into(),
        reason: None,
        expires_at_ms: Some(u64::MAX),
        by_rollout: false,
    };
    let file = |split: &str| of(&running, split);
    state.weights.insert("checkout".into(), kept(file("checkout"), weights(&[("stable", 0)])));
    state.weights.insert("search".into(), kept(file("search"), weights(&[("stable", 2_000_000)])));
    state.weights.insert("own".into(), kept(file("own"), weights(&[("stable", 1)])));
    let one = |address: &str| vec![EndpointTable { address: address.into(), weight: 1 }];
    let bad = crate::state::Kept {
        base: one("127.0.0.1:3"),
        value: one("nonsense"),
        actor: "ann".into(),
        reason: None,
        expires_at_ms: None,
        by_rollout: false,
    };
    state.endpoints.insert("canary".into(), bad);
    let now = Now { mono_ms: 5, wall_ms: 1 };
    let (live, record, events) = Live::start(testing::config(FILE), &state, VecDeque::new(), now);
    assert_eq!(record.state.weights.keys().collect::<Vec<_>>(), ["own"]);
    assert!(record.state.endpoints.is_empty());
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|e| e.detail["why"].as_str() == Some("it is not valid")));
    assert!(!live.has_expired(now));
}

#[test]
fn a_state_survives_the_disk() {
    let mut running = Running::start(FILE);
    running.apply(shift("checkout", 50, 50)).unwrap();
    running
        .apply(Change::Drain { pool: "stable".into(), endpoint: None, timeout: Some(Span::secs(9)) })
        .unwrap();
    let before = running.live.view();
    running.restart(FILE);
    let after = running.live.view();
    assert_eq!(after.state.generation, before.state.generation + 1, "a start is a generation");
    assert_eq!(of(&running, "checkout")["stable"], 50);
    let pool = after.snapshot.pool_named("stable").unwrap();
    assert_eq!(pool.draining, Some(std::time::Duration::from_secs(9)));
    assert_eq!(after.history.len(), before.history.len() + 1);
    // A state written before there was anything to revert to.
    let old = serde_json::json!({ "generation": 7, "weights": {}, "endpoints": {}, "drains": {} });
    assert_eq!(serde_json::from_value::<State>(old).unwrap().generation, 7);
}

/// Requests go on while the table is changed under them: each sees one table, and they only advance.
#[test]
fn readers_see_whole_tables_in_order() {
    let mut running = Running::start(FILE);
    let live = running.live.clone();
    let go_on = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while go_on.load(std::sync::atomic::Ordering::Relaxed) {
                        let snapshot = live.snapshot();
                        assert!(snapshot.generation >= last);
                        last = snapshot.generation;
                        let split = snapshot.split_named("checkout").unwrap();
                        let sum = split.total_weight();
                        assert_eq!(sum, if last == 1 { 100 } else { 1_000 + last });
                    }
                })
            })
            .collect();
        for n in 2..500 {
            running.apply(shift("checkout", 1_000, n)).unwrap();
        }
        go_on.store(false, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
