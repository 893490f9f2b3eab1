//! What a table that is put in force does to the cells: who warms up, and which limits hold.

use super::*;
use crate::cell::{EndpointCell, LastCheck};
use crate::gate::Seat;
use crate::health::{Status, Thresholds};

const POOL: &str = "[pools.app]\nslow_start = '10s'\nendpoints = ['127.0.0.1:1', '127.0.0.1:2']\n";

fn cell(running: &Running, at: usize) -> Arc<EndpointCell> {
    Arc::clone(&running.live.snapshot().pools[0].endpoints[at].cell)
}

fn parts(running: &Running) -> Vec<u32> {
    let snapshot = running.live.snapshot();
    let pool = &snapshot.pools[0];
    pool.endpoints.iter().map(|e| pool.part(&e.cell, running.now.mono_ms)).collect()
}

fn check(running: &Running, at: usize, ok: bool) {
    let cell = cell(running, at);
    let thresholds = Thresholds { healthy_after: 1, unhealthy_after: 1 };
    let changed = cell.checked(LastCheck { at_ms: 1, ok, detail: String::new() }, thresholds);
    if changed.is_some_and(|(_, after)| after == Status::Up) {
        cell.came_up(running.now.mono_ms);
    }
}

#[test]
fn what_is_added_or_undrained_warms_up_and_what_was_there_does_not() {
    let mut running = Running::start(POOL);
    assert_eq!(parts(&running), [1_000, 1_000], "the process has just begun");
    let three = POOL.replace("'127.0.0.1:1',", "'127.0.0.1:1', '127.0.0.1:3',");
    running.apply(Change::Reload(testing::config(&three))).unwrap();
    assert_eq!(parts(&running), [1_000, 100, 1_000]);
    running.pass(5_000);
    let drain = |endpoint: &str| Change::Drain {
        pool: "app".into(),
        endpoint: Some(endpoint.parse().unwrap()),
        timeout: None,
    };
    running.apply(drain("127.0.0.1:2")).unwrap();
    assert_eq!(parts(&running), [1_000, 500, 1_000], "who warms up goes on with that");
    let undrain = Change::Undrain { pool: "app".into(), endpoint: Some("127.0.0.1:2".parse().unwrap()) };
    running.apply(undrain).unwrap();
    assert_eq!(parts(&running), [1_000, 500, 100]);
    running.pass(10_000);
    assert_eq!(parts(&running), [1_000, 1_000, 1_000]);
}

#[test]
fn what_comes_up_warms_up_but_not_at_the_start() {
    let text = format!("{POOL}health = {{ tcp = true }}\n");
    let mut running = Running::start(&text);
    check(&running, 0, true);
    check(&running, 1, false);
    assert_eq!(parts(&running)[0], 1_000, "the first check says how it is");
    running.pass(1_000);
    check(&running, 1, true);
    assert_eq!(parts(&running), [1_000, 100], "it was down");
    running.pass(10_000);
    check(&running, 0, false);
    check(&running, 0, true);
    assert_eq!(parts(&running), [100, 1_000]);
    running.pass(10_000);
    // Another question: what is found out is no news.
    running.apply(Change::Reload(testing::config(&text.replace("tcp = true", "path = '/'")))).unwrap();
    check(&running, 0, true);
    check(&running, 1, true);
    assert_eq!(parts(&running), [1_000, 1_000]);
    let new =
        text.replace("tcp = true", "path = '/'").replace("'127.0.0.1:1',", "'127.0.0.1:1', '127.0.0.1:3',");
    running.apply(Change::Reload(testing::config(&new))).unwrap();
    running.pass(5_000);
    check(&running, 1, true);
    assert_eq!(parts(&running), [1_000, 100, 1_000], "from when it is up, and not from when it was added");
}

#[test]
fn limits_hold_from_the_swap_on() {
    let limited = |limits: &str| testing::config(&format!("{POOL}limits = {{ {limits} }}\n"));
    let mut running = Running::start(POOL);
    let pool = Arc::clone(&running.live.snapshot().pools[0].cell);
    let seats: Vec<_> = (0..3).map(|_| Seat::take(&pool).unwrap()).collect();
    let two = Change::Reload(limited("max_in_flight = 2"));
    running.live.dry_run(&wanted(two.clone()), running.now).unwrap();
    assert!(Seat::take(&pool).is_some(), "a dry run limits nothing");
    running.apply(two).unwrap();
    assert!(Seat::take(&pool).is_none());
    // One connection for each exchange in HTTP/1.
    running.apply(Change::Reload(limited("max_in_flight = 9, max_connections = 4"))).unwrap();
    let fourth = Seat::take(&pool);
    assert!(fourth.is_some() && Seat::take(&pool).is_none());
    drop((seats, fourth));
    assert_eq!(pool.gate.taken(), 0);
}
