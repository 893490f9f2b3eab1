//! What a table carries over from the one before, and what it does not.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::cell::{EndpointCell, InFlight, LastCheck};
use crate::change::Change;
use crate::config::Endpoint;
use crate::health::{Status, Thresholds};
use crate::record::Failure;
use crate::testing::{self, Running};

const FILE: &str = "
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    eject = { consecutive_failures = 1 }
    health = { tcp = true }
    [pools.canary]
    endpoints = ['127.0.0.1:3']
    [pools.other]
    [splits.checkout]
    weights = { stable = 95, canary = 5 }
    fallback = ['stable']
    [splits.search]
    weights = { stable = 1 }
    [[routes]]
    name = 'shop'
    hosts = ['shop']
    split = 'checkout'
    [[routes]]
    name = 'own'
    hosts = ['own']
    weights = { stable = 1, canary = 0 }
    [[routes]]
    name = 'direct'
    hosts = ['direct']
    pool = 'canary'
";

fn reload(running: &mut Running, text: &str) {
    running.apply(Change::Reload(testing::config(text))).unwrap();
}

fn cell(snapshot: &Snapshot, pool: &str, port: u16) -> Option<Arc<EndpointCell>> {
    let (pool, at) = snapshot.endpoint(pool, &format!("127.0.0.1:{port}").parse().unwrap())?;
    Some(Arc::clone(&pool.endpoints[at].cell))
}

fn endpoints(pool: &str, ports: &[u16]) -> Change {
    let address = |port: &u16| Endpoint::Address(format!("127.0.0.1:{port}"));
    Change::SetEndpoints { pool: pool.into(), endpoints: ports.iter().map(address).collect(), ttl: None }
}

fn shift(split: &str, stable: u32, canary: u32) -> Change {
    let weights = [("stable".to_owned(), stable), ("canary".to_owned(), canary)].into();
    Change::SetWeights { split: split.into(), weights, ttl: None, force: false }
}

/// Changes of every kind that leave pool `stable` and the routes where they are.
fn harmless() -> Vec<Change> {
    let file = |from: &str, to: &str| Change::Reload(testing::config(&FILE.replace(from, to)));
    vec![
        shift("checkout", 1, 1),
        shift("own", 1, 1),
        endpoints("canary", &[3, 4]),
        Change::Drain { pool: "stable".into(), endpoint: None, timeout: None },
        Change::Undrain { pool: "stable".into(), endpoint: None },
        endpoints("stable", &[2, 1, 7]),
        Change::Restore { generation: 1 },
        file("[pools.other]", "[pools.a-new-first-one]"),
        file("eject = {", "balance = 'hash'\neject = {"),
        file("tcp = true", "tcp = true, interval = '7s'"),
        file(
            "name = 'shop'\n    hosts",
            "name = 'first'\n    pool = 'stable'\n    [[routes]]\n    name = 'shop'\n    hosts",
        ),
        file("", ""),
    ]
}

#[test]
fn endpoints_that_stay_keep_their_state_over_any_change() {
    let mut running = Running::start(FILE);
    let first = running.live.snapshot();
    let (pool, kept) = (first.pool_named("stable").unwrap().clone(), cell(&first, "stable", 1).unwrap());
    let in_flight = InFlight::new(pool.cell.clone(), kept.clone()).unwrap();
    kept.connected();
    let thresholds = Thresholds { healthy_after: 1, unhealthy_after: 1 };
    kept.checked(LastCheck { at_ms: 9, ok: false, detail: "500".into() }, thresholds);
    kept.eject(0, pool.eject.as_ref().unwrap());
    for change in harmless() {
        let what = format!("{change:?}");
        running.apply(change).unwrap();
        let now = running.live.snapshot();
        let found = cell(&now, "stable", 1).unwrap();
        assert!(Arc::ptr_eq(&found, &kept), "{what}");
        assert!(Arc::ptr_eq(&now.pool_named("stable").unwrap().cell, &pool.cell), "{what}");
        assert_eq!(
            (found.status(), found.is_ejected(1), found.in_flight()),
            (Status::Down, true, 1),
            "{what}"
        );
    }
    drop(in_flight);
    assert_eq!((kept.in_flight(), kept.connections(), pool.cell.in_flight()), (0, 1, 0));
}

#[test]
fn counters_go_on_over_any_change() {
    let mut running = Running::start(FILE);
    let first = running.live.snapshot();
    let route =
        |snapshot: &Snapshot, name: &str| snapshot.routes.iter().position(|r| &*r.name == name).unwrap();
    let tally = |snapshot: &Snapshot, name: &str, pool: &str| {
        let at = route(snapshot, name);
        let split = snapshot.split(snapshot.routes[at].split().unwrap());
        let member = split.members.iter().position(|m| &*m.name == pool).unwrap();
        Arc::clone(&snapshot.tallies[at][member])
    };
    let places = [("shop", "stable"), ("shop", "canary"), ("own", "stable"), ("direct", "canary")];
    let before: Vec<_> = places.map(|(name, pool)| tally(&first, name, pool)).into();
    let charges = first.split_named("checkout").unwrap().members[0].charges.clone();
    charges.add(Some(Failure::Timeout));
    // From each of two members to the one fallback.
    let split = first.split_named("checkout").unwrap();
    assert_eq!((split.fallback.len(), split.moves.len()), (1, 2));
    split.moves[0].fallbacks.store(7, Relaxed);
    for change in harmless() {
        let what = format!("{change:?}");
        running.apply(change).unwrap();
        let now = running.live.snapshot();
        for ((name, pool), before) in places.iter().zip(&before) {
            assert!(Arc::ptr_eq(&tally(&now, name, pool), before), "{what}: {name} {pool}");
        }
        let split = now.split_named("checkout").unwrap();
        assert!(Arc::ptr_eq(&split.members[0].charges, &charges), "{what}");
        assert!(Arc::ptr_eq(&now.unrouted, &first.unrouted), "{what}");
        for (route, tallies) in now.routes.iter().zip(&now.tallies) {
            let members = route.split().map_or(1, |split| now.split(split).members.len());
            assert_eq!(tallies.len(), members, "{what}");
        }
        assert_eq!(split.moves.len(), split.members.len() * split.fallback.len(), "{what}");
    }
    let last = running.live.snapshot();
    assert_eq!(last.split_named("checkout").unwrap().moves[0].fallbacks.load(Relaxed), 7);
}

#[test]
fn a_route_that_answers_by_itself_is_counted_on() {
    let file = |action: &str| {
        let pool = "[pools.app]\nendpoints = ['127.0.0.1:1']";
        format!("{pool}\n[[routes]]\nname = 'r'\n{action}")
    };
    let answers = file("respond = { status = 503 }");
    let mut running = Running::start(&answers);
    let first = running.live.snapshot().tallies[0].clone();
    assert_eq!(first.len(), 1);
    first[0].add(503, 1);
    for (text, is_carried) in [
        (file("redirect = { scheme = 'https' }"), true),
        (file("pool = 'app'"), false),
        (answers.clone(), false),
    ] {
        reload(&mut running, &text);
        let now = running.live.snapshot().tallies[0].clone();
        assert_eq!((now.len(), Arc::ptr_eq(&now[0], &first[0])), (1, is_carried), "{text}");
    }
}

#[test]
fn members_come_and_go_with_their_counters() {
    let mut running = Running::start(FILE);
    let only = |pool: &str| Change::SetWeights {
        split: "checkout".into(),
        weights: [(pool.to_owned(), 1)].into(),
        ttl: None,
        force: false,
    };
    let shop = |running: &Running| running.live.snapshot().tallies[0].clone();
    let before = shop(&running);
    running.apply(only("stable")).unwrap();
    let after = shop(&running);
    assert_eq!((before.len(), after.len()), (2, 1));
    assert!(Arc::ptr_eq(&before[1], &after[0]), "stable's is carried over, though its place is another");
    running.apply(shift("checkout", 1, 1)).unwrap();
    let again = shop(&running);
    assert!(Arc::ptr_eq(&again[1], &after[0]) && !Arc::ptr_eq(&again[0], &before[0]));
    // A route that goes to another split counts anew.
    reload(&mut running, &FILE.replace("split = 'checkout'", "split = 'search'"));
    assert!(!Arc::ptr_eq(&shop(&running)[0], &again[1]));
}

#[test]
fn endpoints_that_go_are_known_until_they_are_idle() {
    let mut running = Running::start(FILE);
    let first = running.live.snapshot();
    let (one, two) = (cell(&first, "stable", 1).unwrap(), cell(&first, "stable", 2).unwrap());
    let in_flight = InFlight::new(first.pool_named("stable").unwrap().cell.clone(), one.clone()).unwrap();
    two.connected();
    let leaving = |running: &Running| -> String {
        let snapshot = running.live.snapshot();
        let leaving = snapshot.pool_named("stable").unwrap().leaving.iter();
        let mut addresses: Vec<String> = leaving.map(|cell| cell.address.to_string()).collect();
        addresses.sort_unstable();
        addresses.join(" ")
    };
    running.apply(endpoints("stable", &[7])).unwrap();
    assert_eq!(leaving(&running), "127.0.0.1:1 127.0.0.1:2");
    assert!(cell(&running.live.snapshot(), "stable", 1).is_none());
    running.apply(endpoints("stable", &[8])).unwrap();
    assert_eq!(
        leaving(&running),
        "127.0.0.1:1 127.0.0.1:2 127.0.0.1:7",
        "one that has just gone may have a request not counted yet"
    );
    two.disconnected();
    running.apply(endpoints("stable", &[8, 1])).unwrap();
    assert!(leaving(&running).is_empty(), "one that was idle at the change after is let go");
    assert!(
        Arc::ptr_eq(&cell(&running.live.snapshot(), "stable", 1).unwrap(), &one),
        "it is back, with its count"
    );
    running.apply(endpoints("stable", &[2])).unwrap();
    assert_eq!(leaving(&running), "127.0.0.1:1 127.0.0.1:8");
    assert!(!Arc::ptr_eq(&cell(&running.live.snapshot(), "stable", 2).unwrap(), &two));
    drop(in_flight);
    reload(&mut running, FILE);
    assert!(leaving(&running).is_empty());
}

/// The generation of each split and pool.
fn generations(running: &Running) -> Vec<(String, u64)> {
    let snapshot = running.live.snapshot();
    let splits = snapshot.named_splits().map(|s| (s.name.to_string(), s.generation));
    splits.chain(snapshot.pools.iter().map(|p| (p.name.to_string(), p.generation))).collect()
}

#[test]
fn only_what_changes_gets_a_new_generation() {
    let file = |from: &str, to: &str| Change::Reload(testing::config(&FILE.replace(from, to)));
    for (change, changed) in [
        (shift("checkout", 1, 1), &["checkout"][..]),
        (shift("own", 2, 1), &["own"]),
        (shift("checkout", 95, 5), &[]),
        (endpoints("stable", &[1]), &["stable"]),
        (endpoints("stable", &[1, 2]), &[]),
        (Change::Drain { pool: "canary".into(), endpoint: None, timeout: None }, &["canary"]),
        (Change::Undrain { pool: "canary".into(), endpoint: None }, &[]),
        (Change::Restore { generation: 1 }, &[]),
        (file("", ""), &[]),
        (file("stable = 95", "stable = 90"), &["checkout"]),
        (
            file("stable = 1 }\n    [[routes]]", "stable = 1 }\n    key = ['client_ip']\n    [[routes]]"),
            &["search"],
        ),
        (file("stable = 1 }\n    [[routes]]", "stable = 1 }\n    salt = 'x'\n    [[routes]]"), &["search"]),
        (
            file("stable = 1 }\n    [[routes]]", "stable = 1 }\n    fallback = []\n    [[routes]]"),
            &["search"],
        ),
        (
            file(
                "stable = 1 }\n    [[routes]]",
                "stable = 1 }\n    overrides = [{ methods = ['PUT'], pool = 'canary' }]\n    [[routes]]",
            ),
            &["search"],
        ),
        (file("tcp = true", "path = '/'"), &["stable"]),
        (file("tcp = true", "tcp = true, interval = '9s'"), &["stable"]),
        (file("eject = {", "connect_timeout = '9s'\neject = {"), &["stable"]),
        (file("eject = {", "balance = 'hash'\neject = {"), &["stable"]),
        (file("hosts = ['shop']", "hosts = ['store']"), &[]),
    ] {
        let mut running = Running::start(FILE);
        let before = generations(&running);
        let what = format!("{change:?}");
        running.apply(change).unwrap();
        let after = generations(&running);
        assert!(before.iter().all(|(_, generation)| *generation == 1));
        let new: Vec<&str> = after.iter().filter(|(_, g)| *g == 2).map(|(name, _)| name.as_str()).collect();
        assert_eq!(new, changed, "{what}");
    }
}

#[test]
fn what_a_change_does_not_touch_is_shared() {
    let mut running = Running::start(FILE);
    let before = running.live.snapshot();
    running.apply(shift("checkout", 1, 1)).unwrap();
    let after = running.live.snapshot();
    assert!(Arc::ptr_eq(&before.table, &after.table) && Arc::ptr_eq(&before.routes, &after.routes));
    assert!(Arc::ptr_eq(&before.settings, &after.settings));
    assert!(before.pools.iter().zip(&after.pools).all(|(a, b)| Arc::ptr_eq(a, b)));
    let same = before.splits.iter().zip(&after.splits).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(same, before.splits.len() - 1);
}

/// Looking names up in lists would make this take minutes: each route has a split, and changes it.
#[test]
fn ten_thousand_routes_with_weights_reload() {
    let routes = |weight: u32| {
        let mut text = String::from("[pools.p]\n[pools.q]\n");
        for n in 0..10_000 {
            writeln!(
                text,
                "[[routes]]\nname = 'r{n}'\nhosts = ['h{n}']\nweights = {{ p = {weight}, q = 1 }}"
            )
            .unwrap();
        }
        text
    };
    let mut running = Running::start(&routes(1));
    let first = running.live.snapshot().tallies[9_999].clone();
    for n in 0..50 {
        let weights = [("p".to_owned(), 5)].into();
        running
            .apply(Change::SetWeights { split: format!("r{n}"), weights, ttl: None, force: false })
            .unwrap();
    }
    reload(&mut running, &routes(2));
    let snapshot = running.live.snapshot();
    assert_eq!(snapshot.named_splits().filter(|s| s.generation == snapshot.generation).count(), 10_000);
    assert!(Arc::ptr_eq(&snapshot.tallies[9_999][0], &first[0]));
    running.apply(Change::Restore { generation: 20 }).unwrap();
    assert_eq!(running.live.snapshot().split_named("r7").unwrap().total_weight(), 5);
    assert_eq!(running.live.snapshot().split_named("r77").unwrap().total_weight(), 2);
}
