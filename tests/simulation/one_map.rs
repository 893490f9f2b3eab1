//! Why users who have failed are remembered in one map for both pools, and not in one for each.
//!
//! A broken account fails wherever it is. As the share grows, users move from the baseline to the
//! candidate. If the candidate remembers only its own failures, each broken account among them is news
//! once more, while those of the baseline are used up: a good candidate looks worse.

use std::collections::HashSet;

use tidegate_core::guard::{Counts, Settings, State, Tick};
use tidegate_core::pick::Entropy;
use tidegate_core::split::{choose, key_hash, pool_hash, salt_seed};

use super::{FEW, MANY, each, most_of, one_test, wanted};

const ALPHA: f64 = 0.01;
const USERS: u64 = 20_000;
/// One account in so many is broken; nobody else ever fails.
const BROKEN: u64 = 20;
/// A hundred requests a second.
const REQUESTS_PER_TICK: u64 = 10;
const TICKS_PER_STEP: u64 = 3_000;
const STEPS: [u32; 3] = [5, 25, 50];

/// Whether a good candidate is stopped, with one map for both pools or one for each.
fn is_stopped(seed: u64, one_map: bool) -> bool {
    let settings = Settings { by_user: true, keyed: true, ..one_test(1.5, ALPHA) };
    let (salt, pools) = (salt_seed(&format!("run {seed}")), [pool_hash("canary"), pool_hash("stable")]);
    let (mut entropy, mut guard) = (Entropy::new(seed), State::new());
    let mut failed = HashSet::new();
    for percent in STEPS {
        for _ in 0..TICKS_PER_STEP {
            let mut tick = Tick::default();
            for _ in 0..REQUESTS_PER_TICK {
                let user = entropy.next_u64() % USERS;
                let hash = key_hash(&user.to_le_bytes(), salt);
                let candidate = choose(hash, pools.into_iter().zip([percent, 100 - percent])) == Some(0);
                let is_broken = user.is_multiple_of(BROKEN);
                let is_news = is_broken && failed.insert((user, candidate && !one_map));
                let counts = if candidate { &mut tick.candidate } else { &mut tick.baseline };
                *counts += Counts {
                    requests: 1,
                    failures: u64::from(is_broken),
                    users: 1,
                    failed_users: u64::from(is_news),
                    ..Counts::default()
                };
            }
            guard.observe(&settings, &tick, f64::from(percent) / 100.0);
            if guard.assess(&settings).action.is_some() {
                return true;
            }
        }
    }
    false
}

fn maps(seeds: u64) {
    if let Some(seed) = wanted() {
        println!("SEED={seed}: one map {}, two {}", is_stopped(seed, true), is_stopped(seed, false));
        return;
    }
    let stopped =
        |one_map| each(seeds, |seed| is_stopped(seed, one_map)).filter(|(_, stopped)| *stopped).count();
    let (one, two) = (stopped(true), stopped(false));
    println!("stopped of {seeds}: {one} with one map, {two} with a map for each pool");
    assert!(one <= most_of(usize::try_from(seeds).unwrap(), ALPHA), "{one} of {seeds} with one map");
    assert!(
        two as u64 > seeds / 2,
        "only {two} of {seeds} with a map for each pool: is the case still the case?"
    );
}

#[test]
fn one_map_for_both_pools_is_needed() {
    maps(FEW / 10);
}

#[test]
#[ignore = "takes minutes, and a release build"]
fn large_one_map_for_both_pools_is_needed() {
    maps(MANY);
}
