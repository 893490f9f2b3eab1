//! Endpoints that are not themselves for a while: warming up, and a pool that panics.

use super::*;

const WINDOW_MS: u64 = 10_000;

/// The share of picks that the endpoint at `at` gets at `now_ms`.
fn share(pool: &Pool, at: usize, now_ms: u64) -> f64 {
    let seen = count(pool, 40_000, |random| Wish { now_ms, ..wish(Some(random)) });
    f64::from(seen.get(&at).copied().unwrap_or(0)) / 40_000.0
}

#[test]
fn an_endpoint_that_warms_up_gets_a_growing_part() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        for weights in [&[1, 1, 1][..], &[2, 1, 3], &[1_000_000, 1_000_000, 1]] {
            let snapshot = pool(balance, weights, "slow_start = '10s'");
            let pool = &snapshot.pools[0];
            pool.endpoints[0].cell.warm_up(5_000);
            for (now_ms, part) in [(5_000, 0.1), (7_500, 0.25), (10_000, 0.5), (15_000, 1.0)] {
                let own = f64::from(weights[0]) * part;
                let wanted = own / (own + f64::from(weights[1..].iter().sum::<u32>()));
                let got = share(pool, 0, now_ms);
                let sigma = (wanted * (1.0 - wanted) / 40_000.0).sqrt();
                assert!(
                    (got - wanted).abs() <= 4.5 * sigma,
                    "{balance} {weights:?} {now_ms}: {got}, not {wanted}"
                );
            }
        }
    }
}

/// Two that hold what is their due: the one that warms up is not given more because it holds little.
#[test]
fn least_request_measures_by_the_part() {
    let snapshot = pool("least_request", &[1, 1], "slow_start = '10s'");
    let pool = &snapshot.pools[0];
    pool.endpoints[0].cell.warm_up(5_000);
    let hold = |at: usize, requests: usize| -> Vec<InFlight> {
        let cell = &pool.endpoints[at].cell;
        (0..requests).map(|_| InFlight::new(pool.cell.clone(), cell.clone()).unwrap()).collect()
    };
    let _held = (hold(0, 2), hold(1, 10));
    assert!(share(pool, 0, 6_000) < 1e-9, "at a tenth of the weight it has twice its due");
    assert!(share(pool, 0, 5_000 + WINDOW_MS) > 0.999, "at the whole it has a fifth");
}

#[test]
fn by_hash_an_endpoint_that_warms_up_only_ever_gains_keys() {
    let snapshot = pool("hash", &[1, 1, 1], "slow_start = '10s'");
    let pool = &snapshot.pools[0];
    pool.endpoints[0].cell.warm_up(5_000);
    let mut entropy = Entropy::new(1);
    let mut at = |now_ms| -> Vec<usize> {
        let place = |n| pick(pool, Wish { now_ms, ..wish(Some(mix(n))) }, &mut entropy).unwrap();
        (0..2_000).map(place).collect()
    };
    let mut before = at(5_000);
    for now_ms in (6_000..=15_000).step_by(1_000) {
        let after = at(now_ms);
        assert!(before.iter().zip(&after).all(|(old, new)| old == new || *new == 0), "{now_ms}");
        before = after;
    }
}

#[test]
fn where_all_warm_up_none_is_spared_and_without_slow_start_none_does() {
    let snapshot = pool("random", &[1, 3], "slow_start = '10s'");
    for endpoint in &snapshot.pools[0].endpoints {
        endpoint.cell.warm_up(5_000);
    }
    assert!((share(&snapshot.pools[0], 0, 5_000) - 0.25).abs() < 0.02);
    let at_once = pool("random", &[1, 1], "");
    at_once.pools[0].endpoints[0].cell.warm_up(5_000);
    assert!((share(&at_once.pools[0], 0, 5_000) - 0.5).abs() < 0.02);
}

/// Of four endpoints so many are up, one is ejected, one may drain: which are picked.
#[test]
fn a_pool_that_panics_takes_all_that_do_not_drain() {
    for balance in ["least_request", "round_robin", "random", "hash"] {
        for (threshold, down, drained, wanted) in [
            (0, &[0, 1, 2][..], None, &[3][..]),
            (50, &[0, 1], None, &[2, 3]),
            (51, &[0, 1], None, &[0, 1, 2, 3]),
            (50, &[0, 1, 2], None, &[0, 1, 2, 3]),
            (50, &[0, 1, 2, 3], None, &[0, 1, 2, 3]),
            (50, &[0, 1, 2], Some(0), &[1, 2, 3]),
            (50, &[0, 1, 2, 3], Some(0), &[1, 2, 3]),
            (50, &[0], Some(1), &[2, 3]),
            (100, &[], Some(1), &[0, 2, 3]),
            (100, &[0], None, &[0, 1, 2, 3]),
        ] {
            let keys = format!("health = {{ tcp = true, initial = 'up' }}\npanic_threshold = {threshold}");
            let mut pool = (*pool(balance, &[1, 1, 1, 1], &keys).pools[0]).clone();
            for at in down {
                check(&pool, *at, false);
            }
            if let Some(at) = drained {
                pool.endpoints[at].draining = Some(std::time::Duration::ZERO);
            }
            let seen = count(&pool, 400, |random| wish(Some(random)));
            assert_eq!(
                seen.into_keys().collect::<Vec<_>>(),
                wanted,
                "{balance} {threshold} {down:?} {drained:?}"
            );
        }
    }
}

#[test]
fn an_ejection_counts_for_a_panic_and_ends_with_it() {
    let keys = "eject = { consecutive_failures = 1, base = '10s', max_percent = 100 }\npanic_threshold = 60";
    let snapshot = pool("random", &[1, 1], keys);
    let pool = &snapshot.pools[0];
    assert!(!pool.panics(0));
    pool.observe(&pool.endpoints[0].cell, true, 0);
    assert!(pool.panics(9_999), "half is less than 60 %");
    assert_eq!(count(pool, 100, |random| wish(Some(random))).len(), 2);
    assert!(!pool.panics(10_000), "the ejection is over");
}

#[test]
fn what_is_not_checked_yet_and_a_pool_that_drains_are_no_panic() {
    let unknown = pool("random", &[1, 1], "health = { tcp = true }\npanic_threshold = 100");
    assert!(!unknown.pools[0].panics(0));
    let mut drained = (*unknown.pools[0]).clone();
    drained.draining = Some(std::time::Duration::ZERO);
    assert!(!drained.panics(0));
    assert_eq!(pick(&drained, wish(None), &mut Entropy::new(1)), None);
}
