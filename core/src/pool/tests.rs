//! Health and ejection of whole pools, simulated over seeds against simple models.

use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::cell::LastCheck;
use crate::health::Thresholds;
use crate::pick::Entropy;
use crate::testing;

const THRESHOLDS: Thresholds = Thresholds { healthy_after: 2, unhealthy_after: 3 };

fn pool(endpoints: u64, rest: &str) -> Arc<Pool> {
    let mut text = format!("[pools.p]\n{rest}\nendpoints = [");
    for port in 1..=endpoints {
        write!(text, "'127.0.0.1:{port}', ").unwrap();
    }
    text.push(']');
    testing::snapshot(&text).pools[0].clone()
}

fn check(pool: &Pool, at: usize, ok: bool) {
    let check = LastCheck { at_ms: 0, ok, detail: String::new() };
    pool.endpoints[at].cell.checked(check, THRESHOLDS);
}

fn below(entropy: &mut Entropy, bound: u64) -> u64 {
    entropy.next_u64() % bound
}

fn one_of(entropy: &mut Entropy, pool: &Pool) -> usize {
    usize::try_from(below(entropy, pool.endpoints.len() as u64)).unwrap()
}

/// The status that results up to now come to, by looking back over all of them.
fn status_by_hand(results: &[bool]) -> Status {
    let Some((first, rest)) = results.split_first() else { return Status::Unknown };
    let mut up = *first;
    let mut against = 0;
    for result in rest {
        against = if *result == up { 0 } else { against + 1 };
        if against == if up { THRESHOLDS.unhealthy_after } else { THRESHOLDS.healthy_after } {
            (up, against) = (!up, 0);
        }
    }
    if up { Status::Up } else { Status::Down }
}

#[test]
fn flapping_endpoints_follow_their_thresholds() {
    for seed in 0..200 {
        let pool = pool(3, "health = { tcp = true }");
        let mut entropy = Entropy::new(seed);
        let mut results = vec![Vec::new(); 3];
        for _ in 0..200 {
            let at = one_of(&mut entropy, &pool);
            let ok = below(&mut entropy, 2) == 0;
            let cell = &pool.endpoints[at].cell;
            let before = cell.status();
            let change = cell.checked(LastCheck { at_ms: 0, ok, detail: String::new() }, THRESHOLDS);
            results[at].push(ok);
            let after = status_by_hand(&results[at]);
            assert_eq!(cell.status(), after, "seed {seed} {:?}", results[at]);
            assert_eq!(change, (before != after).then_some((before, after)), "seed {seed}");
        }
        for (at, results) in results.iter().enumerate() {
            let passed = results.iter().filter(|ok| **ok).count() as u64;
            let cell = &pool.endpoints[at].cell;
            assert_eq!(cell.checks(), (passed, results.len() as u64 - passed));
            assert_eq!(cell.last_check().map(|c| c.ok), results.last().copied());
        }
    }
}

/// What the simulation remembers of an endpoint.
#[derive(Clone, Default)]
struct Model {
    in_a_row: u32,
    ejected_until: u64,
    times: u32,
}

impl Model {
    fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until
    }

    /// The length of an ejection now.
    fn eject(&mut self, now: u64, policy: &Policy) -> u64 {
        if now - self.ejected_until > policy.max_ms {
            self.times = 0;
        }
        let length = (policy.base_ms << self.times).min(policy.max_ms);
        self.times += 1;
        self.in_a_row = 0;
        self.ejected_until = now + length;
        length
    }
}

fn may_eject(pool: &Pool, models: &[Model], at: usize, now: u64) -> bool {
    let policy = pool.eject.as_ref().unwrap();
    let out = models.iter().filter(|m| m.is_ejected(now)).count();
    let others = (0..models.len()).filter(|other| *other != at);
    let another_is_usable = others
        .into_iter()
        .any(|o| !models[o].is_ejected(now) && pool.status(&pool.endpoints[o].cell) == Status::Up);
    another_is_usable && (out + 1) * 100 <= usize::from(policy.max_percent) * models.len()
}

#[test]
fn ejections_follow_the_policy() {
    for seed in 0..300 {
        let mut entropy = Entropy::new(seed);
        let endpoints = 1 + below(&mut entropy, 6);
        let percent = [0, 10, 34, 50, 80, 100][usize::try_from(below(&mut entropy, 6)).unwrap()];
        let rest = format!(
            "health = {{ tcp = true, initial = 'up' }}\n\
             eject = {{ consecutive_failures = 3, base = '1s', max = '5s', max_percent = {percent} }}"
        );
        let pool = pool(endpoints, &rest);
        let policy = pool.eject.unwrap();
        let mut models = vec![Model::default(); pool.endpoints.len()];
        let mut now = 10_000;
        for _ in 0..600 {
            now += below(&mut entropy, 400);
            let at = one_of(&mut entropy, &pool);
            if below(&mut entropy, 10) == 0 {
                check(&pool, at, below(&mut entropy, 2) == 0);
                continue;
            }
            let failed = below(&mut entropy, 4) > 0;
            let model = &mut models[at];
            let due = if !failed {
                model.in_a_row = 0;
                false
            } else if model.is_ejected(now) {
                false
            } else {
                model.in_a_row += 1;
                model.in_a_row >= policy.consecutive_failures
            };
            let wanted = (due && may_eject(&pool, &models, at, now)).then(|| models[at].eject(now, &policy));
            let got = pool.observe(&pool.endpoints[at].cell, failed, now);
            assert_eq!(got, wanted, "seed {seed} at {now}");
            for (endpoint, model) in pool.endpoints.iter().zip(&models) {
                assert_eq!(endpoint.cell.is_ejected(now), model.is_ejected(now), "seed {seed} at {now}");
            }
            if got.is_some() {
                assert!(pool.healthy(now) > 0, "seed {seed}: the last usable endpoint was ejected");
            }
        }
    }
}

/// Many failures at once never pass the limits that one at a time would keep.
#[test]
fn concurrent_failures_keep_the_limits() {
    for (percent, most) in [(50, 3), (100, 5)] {
        for _ in 0..200 {
            let pool = pool(6, &format!("eject = {{ consecutive_failures = 1, max_percent = {percent} }}"));
            let ejections: usize = std::thread::scope(|scope| {
                let observe = |endpoint: &'static str| {
                    let pool = &pool;
                    scope.spawn(move || {
                        let address: Address = endpoint.parse().unwrap();
                        let cell = pool.endpoints.iter().find(|e| *e.address() == address).unwrap();
                        (0..20).filter(|_| pool.observe(&cell.cell, true, 1).is_some()).count()
                    })
                };
                let threads = [
                    "127.0.0.1:1",
                    "127.0.0.1:2",
                    "127.0.0.1:3",
                    "127.0.0.1:4",
                    "127.0.0.1:5",
                    "127.0.0.1:6",
                ]
                .map(observe);
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!((ejections, pool.healthy(1)), (most, 6 - most), "{percent} %");
        }
    }
}

#[test]
fn the_last_usable_endpoint_stays() {
    let pool = pool(3, "health = { tcp = true, initial = 'up' }\neject = { max_percent = 100 }");
    let fail = |at: usize| (0..10).any(|_| pool.observe(&pool.endpoints[at].cell, true, 1).is_some());
    for _ in 0..3 {
        check(&pool, 0, false);
    }
    assert!(fail(1));
    assert!(!fail(2), "of the others one is down and one is ejected");
    check(&pool, 0, true);
    check(&pool, 0, true);
    assert!(fail(2), "now there is another");
    assert_eq!(pool.healthy(1), 1);
}

/// Requests that were sent before an ejection once made the first failure after it eject again.
#[test]
fn failures_during_an_ejection_count_for_nothing() {
    let pool = pool(2, "eject = { consecutive_failures = 3, base = '1s', max = '5s' }");
    let cell = &pool.endpoints[0].cell;
    let fail = |now| pool.observe(cell, true, now);
    assert_eq!([fail(10), fail(10), fail(10)], [None, None, Some(1_000)]);
    assert_eq!([fail(20), fail(20), fail(20), fail(20)], [None; 4]);
    assert_eq!([fail(1_010), fail(1_010)], [None; 2]);
    assert_eq!(fail(1_010), Some(2_000));
}

#[test]
fn a_pool_without_a_policy_ejects_nothing_and_knows_no_ejection() {
    let with = pool(2, "eject = { consecutive_failures = 1 }");
    assert!(with.observe(&with.endpoints[0].cell, true, 1).is_some());
    let mut without = (*with).clone();
    without.eject = None;
    assert_eq!(with.usable(&with.endpoints[0], 1), Usable::No);
    assert_eq!(without.usable(&without.endpoints[0], 1), Usable::Yes);
    assert_eq!(without.state(&without.endpoints[0], 1), State::Up);
    assert_eq!(without.observe(&without.endpoints[1].cell, true, 1), None);
}

#[test]
fn states_as_shown() {
    let pool = pool(1, "health = { tcp = true }\neject = { consecutive_failures = 1 }");
    let cell = &pool.endpoints[0].cell;
    let state = |pool: &Pool, now| pool.state(&pool.endpoints[0], now).as_str();
    assert_eq!(state(&pool, 0), "unknown");
    check(&pool, 0, true);
    assert_eq!(state(&pool, 0), "up");
    cell.eject(0, pool.eject.as_ref().unwrap());
    assert_eq!((state(&pool, 9_999), state(&pool, 10_000)), ("ejected", "up"));
    for _ in 0..3 {
        check(&pool, 0, false);
    }
    assert_eq!(state(&pool, 9_999), "down", "down is shown before ejected");
    let mut draining = (*pool).clone();
    draining.draining = Some(Duration::ZERO);
    let in_flight = crate::cell::InFlight::new(pool.cell.clone(), cell.clone()).unwrap();
    assert_eq!(state(&draining, 0), "draining");
    drop(in_flight);
    assert_eq!(state(&draining, 0), "drained");
    let mut unchecked = (*pool).clone();
    unchecked.health = None;
    assert_eq!(state(&unchecked, 10_000), "up", "without checks an endpoint counts as up");
}

#[test]
fn a_pool_drains_when_all_of_it_does() {
    let drained = |endpoints, count| {
        let mut pool = Pool::clone(&pool(endpoints, ""));
        pool.endpoints.iter_mut().take(count).for_each(|e| e.draining = Some(Duration::ZERO));
        pool
    };
    for (endpoints, count, drains) in [(0, 0, false), (2, 0, false), (2, 1, false), (2, 2, true)] {
        assert_eq!(drained(endpoints, count).is_draining(), drains, "{count} of {endpoints}");
    }
    let whole = Pool { draining: Some(Duration::ZERO), ..drained(0, 0) };
    assert!(whole.is_draining());
}
