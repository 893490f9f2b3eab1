//! The guard against virtual traffic: thousands of runs on a virtual clock, each from one seed.
//!
//! The usual suite sweeps a few seeds; `cargo test --release -p tidegate-core --test simulation --
//! --ignored` sweeps thousands. Seeds count from 0, so a sweep comes out the same each time. A failure
//! names the seeds behind it, and `SEED=17 cargo test -p tidegate-core --test simulation NAME` plays one
//! of them again and prints what came of it.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

mod detection;
mod false_alarms;
mod latency;
mod one_map;

use tidegate_core::guard::Settings;
use tidegate_core::simulate::{Outcome, Scenario};

/// Seeds of a sweep in the usual suite.
const FEW: u64 = 100;
/// Seeds of a large sweep.
const MANY: u64 = 2_000;

/// So unlikely is it that a sweep fails while all is well.
const FLUKE: f64 = 1e-6;

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// One test: the candidate fails no more than `ratio` times as often as the baseline.
fn one_test(ratio: f64, false_alarm: f64) -> Settings {
    Settings {
        failure_budget: 0,
        failure_ratio: ratio,
        max_failure_rate: None,
        latency: None,
        overall_limit: None,
        by_user: false,
        keyed: false,
        false_alarm,
    }
}

/// A run, and the seed that plays it again.
struct Run {
    seed: u64,
    outcome: Outcome,
}

/// The seed to play again, if any.
#[expect(clippy::disallowed_methods, reason = "a test is told by its environment what to play again")]
fn wanted() -> Option<u64> {
    std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"))
}

/// Runs a scenario with every seed, or with the one that is wanted.
fn sweep(name: &str, scenario: &Scenario, seeds: u64) -> Vec<Run> {
    if let Some(seed) = wanted() {
        let outcome = scenario.run(seed);
        println!("{name}, SEED={seed}: {outcome:#?}");
        return vec![Run { seed, outcome }];
    }
    each(seeds, |seed| scenario.run(seed)).map(|(seed, outcome)| Run { seed, outcome }).collect()
}

/// Something of every seed, on two threads.
fn each<T: Send>(seeds: u64, run: impl Fn(u64) -> T + Sync) -> impl Iterator<Item = (u64, T)> {
    let half = |first: u64| (first..seeds).step_by(2).map(|seed| (seed, run(seed))).collect::<Vec<_>>();
    let mut all = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut all = half(0);
        all.extend(other.join().unwrap());
        all
    });
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter()
}

/// Fails when more of `runs` went `wrong` than a chance of `alpha` explains.
fn at_most(name: &str, alpha: f64, runs: &[Run], wrong: impl Fn(&Outcome) -> bool) {
    let seeds: Vec<u64> = runs.iter().filter(|run| wrong(&run.outcome)).map(|run| run.seed).collect();
    let allowed = most_of(runs.len(), alpha);
    println!("{name}: {} of {} runs, {allowed} allowed at {alpha}", seeds.len(), runs.len());
    if wanted().is_some() {
        assert!(seeds.is_empty(), "{name}: it happened again");
    }
    assert!(seeds.len() <= allowed, "{name}: {} of {}, with SEED= one of {seeds:?}", seeds.len(), runs.len());
}

/// The smallest number that a binomial of `runs` and `alpha` passes with a chance of at most [`FLUKE`].
fn most_of(runs: usize, alpha: f64) -> usize {
    let (mut chance, mut below, mut number) = ((1.0 - alpha).powf(runs as f64), 0.0, 0);
    loop {
        below += chance;
        if 1.0 - below < FLUKE {
            return number;
        }
        chance *= (runs - number) as f64 / (number + 1) as f64 * alpha / (1.0 - alpha);
        number += 1;
    }
}

#[test]
fn bounds_are_those_of_the_binomial() {
    // 1 − 0.99^100·(…): by a table, 100 trials of 1 % pass 8 with a chance of 5e-7.
    assert_eq!([most_of(100, 0.01), most_of(2_000, 0.01), most_of(1, 0.01)], [8, 44, 1]);
}
