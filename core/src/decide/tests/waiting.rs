//! Requests whose pool is away wait for that very pool.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::waiting::Waiting;

/// The table with these pools away.
fn away(mut table: Snapshot, pools: &[&str]) -> Snapshot {
    for pool in table.pools.iter_mut().filter(|p| pools.contains(&&*p.name)) {
        let pool = Arc::make_mut(pool);
        pool.waiting = Some(Waiting { queue: 1, timeout: Duration::from_secs(1) });
        pool.draining = Some(Duration::ZERO);
    }
    table
}

/// The pool that serves, the reason, whether the request waits.
fn waits(snapshot: &Snapshot, asked: &Asked) -> (String, &'static str, bool) {
    let decision = decided(snapshot, asked, 1);
    assert!(!decision.waits || decision.endpoint.is_none(), "who waits has no endpoint");
    (names(snapshot, &decision).1.to_owned(), decision.reason.as_str(), decision.waits)
}

#[test]
fn however_the_pool_is_reached() {
    let split = "weights = { stable = 1, canary = 0 }
                 overrides = [{ headers = [{ name = 'x-canary', present = true }], pool = 'canary' }]
                 fallback = ['canary', 'beta']";
    let forced = shop().with("x-canary", "1");
    let table = away(table(split), &["canary"]);
    assert_eq!(waits(&table, &shop()), ("stable".into(), "only", false));
    assert_eq!(waits(&table, &forced), ("canary".into(), "override", true));
    set(&table, "stable", false);
    assert_eq!(waits(&table, &shop()), ("canary".into(), "fallback", true), "no later fallback is taken");
}

#[test]
fn a_keyless_request_stays_in_the_pool_that_it_waited_for() {
    let split = "weights = { stable = 1, canary = 1, beta = 1 }\nassign = { cookie = 'id' }";
    for split in [split, "weights = { stable = 1, canary = 1, beta = 1 }"] {
        let (there, gone) = (table(split), away(table(split), &["stable", "canary", "beta"]));
        for seed in 0..100 {
            let (first, second) = (decided(&gone, &shop(), seed), decided(&there, &shop(), seed));
            assert!(first.waits && !second.waits && second.endpoint.is_some());
            assert_eq!((first.chosen, first.key_hash), (second.chosen, second.key_hash), "seed {seed}");
        }
    }
}
