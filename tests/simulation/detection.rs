//! How soon a bad candidate is seen.

use tidegate_core::guard::{Settings, TestName};
use tidegate_core::simulate::{Incident, Scenario, Summary, Users};

use super::{FEW, MANY, MINUTE_MS, one_test, sweep};

/// The candidate's failure rate, and the published median and 95th percentile of the time to the
/// verdict in milliseconds: 5 % of 1,000 requests a second, a baseline that fails 0.1 %, one test at
/// 0.001 with a ratio of 1, by request.
const TABLE: [(f64, u64, u64); 6] = [
    (1.0, 100, 200),
    (0.5, 200, 300),
    (0.1, 600, 1_700),
    (0.05, 1_500, 3_800),
    (0.01, 15_000, 31_000),
    (0.003, 139_000, 334_000),
];

fn the_table(seeds: u64) {
    for (rate, median_ms, p95_ms) in TABLE {
        let base = Scenario::new(1_000.0, 0.05, 0.001, one_test(1.0, 0.001), 60 * MINUTE_MS);
        let scenario = Scenario { candidate_failures: rate, ..base };
        let name = format!("a candidate that fails {rate}");
        let runs = sweep(&name, &scenario, seeds);
        let outcomes: Vec<_> = runs.iter().map(|run| run.outcome).collect();
        let summary = Summary::of(&outcomes);
        println!("{name}: {summary:?}");
        if runs.len() == 1 {
            continue;
        }
        assert_eq!(summary.aborted, summary.runs, "{name}");
        // A quarter of the row, and at least a tick: times are whole ticks.
        for (found, expected) in [(summary.median_ms, median_ms), (summary.p95_ms, p95_ms)] {
            let found = found.unwrap();
            let off = (expected / 4).max(100);
            assert!(found.abs_diff(expected) <= off, "{name}: {found} ms, not {expected}");
        }
    }
}

/// Users are seen to fail about as soon as requests are.
fn by_user(seeds: u64) {
    let settings = Settings { by_user: true, keyed: true, ..one_test(1.5, 0.001) };
    let users = Some(Users::new(100_000, 1.0, 0.01));
    let base = Scenario::new(1_000.0, 0.05, 0.001, settings, MINUTE_MS);
    for (rate, within_ms) in [(1.0, 1_000), (0.5, 2_000), (0.1, 15_000)] {
        let scenario = Scenario { candidate_failures: rate, users: users.clone(), ..base.clone() };
        let name = format!("by user, a candidate that fails {rate}");
        let runs = sweep(&name, &scenario, seeds);
        let summary = Summary::of(&runs.iter().map(|run| run.outcome).collect::<Vec<_>>());
        println!("{name}: {summary:?}");
        assert!(summary.p95_ms.is_some_and(|ms| ms <= within_ms), "{name}: {summary:?}");
    }
}

/// Both pools go from 0.1 % to 5 %: an operator is asked, and nothing is blamed on the candidate.
fn both_suffer(seeds: u64) {
    let settings = Settings { overall_limit: Some(0.003), ..one_test(1.5, 0.001) };
    let base = Scenario::new(1_000.0, 0.05, 0.001, settings, 3 * MINUTE_MS);
    let incident = Incident { from_ms: MINUTE_MS, to_ms: u64::MAX, failures: 0.05 };
    let runs = sweep("both pools suffer", &Scenario { incident: Some(incident), ..base }, seeds);
    for run in &runs {
        let (seed, outcome) = (run.seed, run.outcome);
        assert!(outcome.abort.is_none(), "SEED={seed}: {outcome:?}");
        let pause = outcome.pause.unwrap();
        assert_eq!(pause.test, TestName::Overall, "SEED={seed}");
        assert!((MINUTE_MS..MINUTE_MS + 10_000).contains(&pause.at_ms), "SEED={seed}: {pause:?}");
    }
    let mut times: Vec<u64> =
        runs.iter().filter_map(|run| run.outcome.pause).map(|p| p.at_ms - MINUTE_MS).collect();
    times.sort_unstable();
    println!("both pools suffer: paused after {} ms in the middle", times[times.len() / 2]);
}

#[test]
fn the_table_of_detection_times() {
    the_table(FEW);
}

#[test]
fn users_who_fail_are_seen() {
    by_user(FEW / 5);
}

#[test]
fn an_operator_is_asked_when_both_pools_suffer() {
    both_suffer(FEW / 5);
}

#[test]
#[ignore = "takes minutes, and a release build"]
fn large_detection() {
    the_table(MANY);
    by_user(MANY);
    both_suffer(MANY);
}
