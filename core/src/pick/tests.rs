//! How endpoints are picked: shares, order, bounds, and never one that is not usable.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

mod moments;

use super::*;
use crate::cell::{InFlight, LastCheck};
use crate::health::Thresholds;
use crate::snapshot::Snapshot;
use crate::testing;

const AT_ONCE: Thresholds = Thresholds { healthy_after: 1, unhealthy_after: 1 };

/// A pool `p` of endpoints of these weights at ports from 1.
fn pool(balance: &str, weights: &[u32], rest: &str) -> Snapshot {
    let mut text = format!("[pools.p]\nbalance = \"{balance}\"\n{rest}\nendpoints = [");
    for (port, weight) in (1..).zip(weights) {
        write!(text, "{{ address = '127.0.0.1:{port}', weight = {weight} }}, ").unwrap();
    }
    text.push(']');
    testing::snapshot(&text)
}

fn wish(hash: Option<u64>) -> Wish {
    Wish { hash, now_ms: 0, avoid: None }
}

fn check(pool: &Pool, at: usize, ok: bool) {
    pool.endpoints[at].cell.checked(LastCheck { at_ms: 0, ok, detail: String::new() }, AT_ONCE);
}

fn count(pool: &Pool, picks: u32, mut wish: impl FnMut(u64) -> Wish) -> BTreeMap<usize, u32> {
    let mut entropy = Entropy::new(7);
    let mut seen = BTreeMap::new();
    for _ in 0..picks {
        let wish = wish(entropy.next_u64());
        *seen.entry(pick(pool, wish, &mut entropy).unwrap()).or_default() += 1;
    }
    seen
}

/// Least request once gave an idle endpoint nothing beside a heavier one.
#[test]
fn each_balance_meets_the_weights() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        for weights in [&[1, 1][..], &[1, 2, 5], &[3, 3, 3, 3, 3, 3, 3], &[1_000_000, 1_000_000]] {
            let snapshot = pool(balance, weights, "");
            let picks = 40_000;
            let mut seen = count(&snapshot.pools[0], picks, |random| wish(Some(random)));
            let total: u32 = weights.iter().sum();
            for (at, weight) in weights.iter().enumerate() {
                let share = f64::from(*weight) / f64::from(total);
                let got = f64::from(seen.remove(&at).unwrap_or(0)) / f64::from(picks);
                let sigma = (share * (1.0 - share) / f64::from(picks)).sqrt();
                assert!((got - share).abs() <= 4.5 * sigma, "{balance} {weights:?} {at}: {got}, not {share}");
            }
        }
    }
}

/// With requests that stay for a while, least request meets the weights too.
#[test]
fn least_request_evens_out_what_is_in_flight() {
    let snapshot = pool("least_request", &[1, 1, 2, 4], "");
    let pool = &snapshot.pools[0];
    let mut entropy = Entropy::new(3);
    let mut in_flight = std::collections::VecDeque::new();
    let mut highest = [0; 4];
    for turn in 0..20_000 {
        let at = pick(pool, wish(None), &mut entropy).unwrap();
        in_flight.push_back(InFlight::new(pool.cell.clone(), pool.endpoints[at].cell.clone()).unwrap());
        if in_flight.len() > 80 {
            in_flight.pop_front();
        }
        if turn > 1_000 {
            for (at, endpoint) in pool.endpoints.iter().enumerate() {
                highest[at] = highest[at].max(endpoint.cell.in_flight());
            }
        }
    }
    for (at, fair) in [10, 10, 20, 40].into_iter().enumerate() {
        assert!(highest[at] <= fair + fair / 2 + 6, "{highest:?}");
    }
    drop(in_flight);
    assert_eq!(pool.cell.in_flight(), 0);
    assert!(pool.endpoints.iter().all(|e| e.cell.in_flight() == 0));
}

/// An endpoint that answers slowly gets less: it holds what it has.
#[test]
fn least_request_spares_the_busy() {
    let snapshot = pool("least_request", &[1, 1, 1], "");
    let pool = &snapshot.pools[0];
    let _busy: Vec<_> =
        (0..50).map(|_| InFlight::new(pool.cell.clone(), pool.endpoints[0].cell.clone()).unwrap()).collect();
    // Taken only when drawn twice over, which two different draws never are.
    assert_eq!(count(pool, 2_000, |_| wish(None)).get(&0), None);
}

#[test]
fn round_robin_is_smooth_as_in_nginx() {
    let snapshot = pool("round_robin", &[5, 1, 1], "");
    let mut entropy = Entropy::new(1);
    let order: Vec<usize> =
        (0..14).map(|_| pick(&snapshot.pools[0], wish(None), &mut entropy).unwrap()).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn round_robin_goes_on_around_an_endpoint_that_is_out() {
    let snapshot = pool("round_robin", &[1, 1, 1], "health = { tcp = true, initial = 'up' }");
    let pool = &snapshot.pools[0];
    let mut entropy = Entropy::new(1);
    let mut take = |picks: usize| -> Vec<usize> {
        (0..picks).map(|_| pick(pool, wish(None), &mut entropy).unwrap()).collect()
    };
    assert_eq!(take(3), [0, 1, 2]);
    check(pool, 1, false);
    assert_eq!(take(4), [0, 2, 0, 2]);
    check(pool, 1, true);
    assert_eq!(take(3), [0, 1, 2]);
}

/// A debt from a time of large weights once kept an endpoint out for a million turns.
#[test]
fn round_robin_forgets_debts_that_new_weights_cannot_pay() {
    use crate::change::{Change, next};
    use crate::compile::{Input, Reuse, compile};
    use crate::config::Endpoint;
    use crate::state::State;
    let file = testing::config(
        "[pools.p]\nbalance = 'round_robin'\nendpoints = [{ address = '127.0.0.1:1', weight = 1000000 }, \
         { address = '127.0.0.1:2', weight = 999999 }]",
    );
    let state = State::default();
    let before = compile(Input { config: &file, state: &state, generation: 1 }, Reuse::Cells(None));
    let mut entropy = Entropy::new(1);
    pick(&before.pools[0], wish(None), &mut entropy);
    let address = |port: u16| format!("127.0.0.1:{port}");
    let change = Change::SetEndpoints {
        pool: "p".into(),
        endpoints: vec![Endpoint::Address(address(1)), Endpoint::Address(address(2))],
        ttl: None,
    };
    let context = crate::change::Context {
        config: &file,
        state: &state,
        snapshot: &before,
        history: &std::collections::VecDeque::new(),
        expired: &[],
        now: testing::at(0),
    };
    let next = next(&testing::wanted(change), context).unwrap();
    let after = compile(
        Input { config: &file, state: &next.state, generation: 2 },
        Reuse::AllBut(&before, &next.splits, &next.pools),
    );
    let seen = count(&after.pools[0], 20, |_| wish(None));
    assert!(seen.values().all(|n| (9..=11).contains(n)) && seen.len() == 2, "{seen:?}");
}

#[test]
fn a_hash_keeps_its_endpoint() {
    let snapshot = pool("hash", &[1, 1, 1, 1], "health = { tcp = true, initial = 'up' }");
    let pool = &snapshot.pools[0];
    let mut entropy = Entropy::new(1);
    let mut place = |hash: u64| pick(pool, wish(Some(hash)), &mut entropy).unwrap();
    let before: Vec<usize> = (0..500).map(|n| place(mix(n))).collect();
    assert_eq!(before, (0..500).map(|n| place(mix(n))).collect::<Vec<_>>());
    check(pool, 2, false);
    for (n, old) in (0..500).zip(&before) {
        let new = place(mix(n));
        assert!(new != 2 && (new == *old || *old == 2), "only those of the endpoint that is gone move");
    }
    check(pool, 2, true);
    assert_eq!(before, (0..500).map(|n| place(mix(n))).collect::<Vec<_>>());
}

#[test]
fn a_hash_is_bound_by_load() {
    let snapshot = pool("hash", &[1, 1, 2], "");
    let pool = &snapshot.pools[0];
    let mut entropy = Entropy::new(1);
    let mut in_flight = Vec::new();
    // All of one key: without a bound all would go to one endpoint.
    for turn in 1..=400u32 {
        let at = pick(pool, wish(Some(42)), &mut entropy).unwrap();
        in_flight.push(InFlight::new(pool.cell.clone(), pool.endpoints[at].cell.clone()).unwrap());
        for endpoint in &pool.endpoints {
            let bound = (turn * endpoint.weight * 125).div_ceil(4 * 100);
            assert!(endpoint.cell.in_flight() <= bound, "turn {turn}");
        }
    }
    // Without a hash it is as random.
    assert_eq!(count(pool, 1_000, |_| wish(None)).len(), 3);
}

/// What `pick` answers while `disturb` goes on in another thread: never that there is no endpoint.
fn undisturbed(pool: &Pool, disturb: impl Fn() + Sync) {
    let go_on = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while go_on.load(std::sync::atomic::Ordering::Relaxed) {
                disturb();
            }
        });
        let mut entropy = Entropy::new(1);
        let found = (0..100_000).all(|n| pick(pool, wish(Some(n)), &mut entropy).is_some());
        go_on.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(found, "{:?}", pool.balance);
    });
}

/// Counts rise while a pick looks at them, so that none seems to have room: still there is one.
#[test]
fn a_bound_never_makes_a_pool_unusable() {
    let snapshot = pool("hash", &[1], "");
    let pool = &snapshot.pools[0];
    let cell = &pool.endpoints[0].cell;
    undisturbed(pool, || {
        let _in_flight: Vec<_> =
            (0..8).map(|_| InFlight::new(pool.cell.clone(), cell.clone()).unwrap()).collect();
    });
}

/// Health changes while a pick looks at it: an endpoint that is up throughout is always found.
#[test]
fn an_endpoint_that_flaps_does_not_hide_another() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        let snapshot = pool(balance, &[1_000_000, 1], "health = { tcp = true, initial = 'up' }");
        let pool = &snapshot.pools[0];
        undisturbed(pool, || {
            check(pool, 0, false);
            check(pool, 0, true);
        });
    }
}

/// Between the look for what is up and that for what is unknown, the only one came up.
#[test]
fn an_endpoint_that_comes_up_is_not_missed() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        let snapshot = pool(balance, &[1], "health = { tcp = true }");
        let pool = &snapshot.pools[0];
        undisturbed(pool, || {
            pool.endpoints[0].cell.forget_checks(crate::health::Status::Unknown);
            check(pool, 0, true);
        });
    }
}

#[test]
fn unknown_endpoints_are_a_last_resort() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        let snapshot = pool(balance, &[1, 1, 1], "health = { tcp = true }");
        let pool = &snapshot.pools[0];
        let seen = |hashes: u32| count(pool, hashes, |random| wish(Some(random)));
        assert_eq!(seen(300).len(), 3, "{balance}: none is checked yet");
        check(pool, 0, false);
        assert_eq!(seen(300).into_keys().collect::<Vec<_>>(), [1, 2], "{balance}: one is down");
        check(pool, 1, true);
        assert_eq!(seen(300).into_keys().collect::<Vec<_>>(), [1], "{balance}: one is up");
    }
}

#[test]
fn a_retry_avoids_where_it_comes_from_while_there_is_another() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        let snapshot = pool(balance, &[1_000_000, 1], "health = { tcp = true, initial = 'up' }");
        let pool = &snapshot.pools[0];
        let avoiding = |random| Wish { avoid: Some(0), ..wish(Some(random)) };
        assert_eq!(count(pool, 300, avoiding).into_keys().collect::<Vec<_>>(), [1], "{balance}");
        check(pool, 1, false);
        assert_eq!(
            count(pool, 300, avoiding).into_keys().collect::<Vec<_>>(),
            [0],
            "{balance}: the only one"
        );
    }
}

#[test]
fn a_retry_takes_an_unknown_endpoint_before_the_one_it_comes_from() {
    let snapshot = pool("random", &[1, 1], "health = { tcp = true }");
    check(&snapshot.pools[0], 0, true);
    let mut entropy = Entropy::new(1);
    let avoiding = Wish { avoid: Some(0), ..wish(None) };
    assert_eq!(pick(&snapshot.pools[0], avoiding, &mut entropy), Some(1));
}

#[test]
fn no_endpoint_none_up_and_a_draining_pool() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        let mut entropy = Entropy::new(1);
        assert_eq!(pick(&pool(balance, &[], "").pools[0], wish(Some(1)), &mut entropy), None);
        let one = pool(balance, &[7], "");
        assert_eq!(pick(&one.pools[0], wish(Some(1)), &mut entropy), Some(0));
        assert_eq!(pick(&one.pools[0], wish(None), &mut entropy), Some(0));
        let two = pool(balance, &[1, 1], "health = { tcp = true }");
        check(&two.pools[0], 0, false);
        check(&two.pools[0], 1, false);
        assert_eq!(pick(&two.pools[0], wish(Some(1)), &mut entropy), None, "{balance}");
        let mut draining = (*pool(balance, &[1, 1], "").pools[0]).clone();
        draining.endpoints[0].draining = Some(std::time::Duration::ZERO);
        assert_eq!(pick(&draining, wish(Some(1)), &mut entropy), Some(1), "{balance}");
        draining.draining = Some(std::time::Duration::ZERO);
        assert_eq!(pick(&draining, wish(Some(1)), &mut entropy), None, "{balance}");
    }
}

proptest! {
    #[test]
    fn what_is_picked_is_usable(
        balance in prop::sample::select(vec!["least_request", "round_robin", "random", "hash"]),
        // Weight, state, requests in flight.
        endpoints in prop::collection::vec((prop_oneof![1u32..5, Just(1_000_000)], 0..5, 0usize..4), 0..8),
        avoid in prop::option::of(0usize..8),
        hash: Option<u64>,
        seed: u64,
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|(weight, ..)| *weight).collect();
        let rest = "health = { tcp = true }\neject = { consecutive_failures = 1 }";
        let snapshot = pool(balance, &weights, rest);
        let mut pool = (*snapshot.pools[0]).clone();
        let mut busy = Vec::new();
        for (at, (_, state, in_flight)) in endpoints.iter().enumerate() {
            match state {
                0 => check(&pool, at, true),
                1 => check(&pool, at, false),
                2 => {
                    check(&pool, at, true);
                    pool.endpoints[at].cell.eject(0, &pool.eject.unwrap());
                }
                3 => pool.endpoints[at].draining = Some(std::time::Duration::ZERO),
                _ => {}
            }
            let cell = &pool.endpoints[at].cell;
            busy.extend((0..*in_flight).map(|_| InFlight::new(pool.cell.clone(), cell.clone()).unwrap()));
        }
        let usable = |wanted| -> Vec<usize> {
            (0..endpoints.len()).filter(|at| pool.usable(&pool.endpoints[*at], 0) == wanted).collect()
        };
        let (good, last) = (usable(Usable::Yes), usable(Usable::LastResort));
        let mut entropy = Entropy::new(seed);
        for _ in 0..10 {
            let picked = pick(&pool, Wish { hash, now_ms: 0, avoid }, &mut entropy);
            let others = |set: &[usize]| set.iter().copied().filter(|at| Some(*at) != avoid).collect();
            let wanted: Vec<usize> = [others(&good), others(&last), good.clone(), last.clone()]
                .into_iter().find(|set: &Vec<usize>| !set.is_empty()).unwrap_or_default();
            match picked {
                Some(at) => prop_assert!(wanted.contains(&at), "{at} of {wanted:?}"),
                None => prop_assert!(wanted.is_empty(), "none of {wanted:?}"),
            }
        }
    }
}
