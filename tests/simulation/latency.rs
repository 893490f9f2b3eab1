//! A slow candidate is seen, and one that is as quick is left alone.

use tidegate_core::guard::{LatencySettings, Settings, TestName};
use tidegate_core::simulate::{Latency, Scenario, Stage, Summary};

use super::{FEW, MANY, MINUTE_MS, at_most, one_test, sweep};

const ALPHA: f64 = 0.01;

/// Half of the requests within 20 ms, 99 % within 200 ms; `max` is 250 ms, `ratio` 1.3.
fn scenario(test: TestName, slow_down: f64, minutes: u64) -> Scenario {
    let (has_max, has_ratio) = (test == TestName::LatencyMax, test == TestName::LatencyRatio);
    let settings = Settings {
        failure_ratio: f64::INFINITY,
        latency: Some(LatencySettings { quantile: 0.99, has_max, has_ratio }),
        ..one_test(1.0, ALPHA)
    };
    let latency = Latency {
        median_us: 20_000.0,
        p99_us: 200_000.0,
        slow_down,
        max_us: has_max.then_some(250_000),
        ratio: has_ratio.then_some(1.3),
    };
    let stage = |share, for_ms| Stage { share, for_ms };
    let base = Scenario::new(200.0, 0.05, 0.0, settings, minutes * MINUTE_MS);
    Scenario { latency: Some(latency), schedule: vec![stage(0.05, MINUTE_MS), stage(0.5, MINUTE_MS)], ..base }
}

fn slow(seeds: u64) {
    for test in [TestName::LatencyMax, TestName::LatencyRatio] {
        let name = format!("{}, twice as slow", test.as_str());
        let runs = sweep(&name, &scenario(test, 2.0, 10), seeds);
        for run in &runs {
            let by = run.outcome.abort.map(|verdict| verdict.test);
            assert_eq!(by, Some(test), "{name}, SEED={}", run.seed);
        }
        let outcomes: Vec<_> = runs.iter().map(|run| run.outcome).collect();
        let summary = Summary::of(&outcomes);
        println!("{name}: {summary:?}");
        assert!(summary.p95_ms.unwrap() < 2 * MINUTE_MS, "{name}: {summary:?}");
    }
}

fn alike(seeds: u64, minutes: u64) {
    for test in [TestName::LatencyMax, TestName::LatencyRatio] {
        let name = format!("{}, as quick", test.as_str());
        let runs = sweep(&name, &scenario(test, 1.0, minutes), seeds);
        at_most(&name, ALPHA, &runs, |outcome| outcome.abort.is_some());
    }
}

#[test]
fn a_slow_candidate_is_seen() {
    slow(FEW / 10);
}

#[test]
fn a_quick_candidate_is_left_alone() {
    alike(FEW / 10, 3);
}

#[test]
#[ignore = "takes minutes, and a release build"]
fn large_latency() {
    slow(MANY);
    alike(MANY, 10);
}
