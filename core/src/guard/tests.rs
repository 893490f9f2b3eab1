//! The tests together: which one acts, what waits, what is kept.

use super::*;

fn failing(requests: u64, failures: u64, keys: u64) -> Counts {
    Counts {
        requests,
        failures,
        users: requests,
        failed_users: keys.min(failures),
        failed_keys: keys,
        timed: requests,
        ..Counts::default()
    }
}

fn everything() -> Settings {
    Settings {
        failure_budget: 1_000,
        failure_ratio: 1.5,
        max_failure_rate: Some(0.01),
        latency: Some(LatencySettings { quantile: 0.99, has_max: true, has_ratio: true }),
        overall_limit: Some(0.003),
        by_user: false,
        keyed: false,
        false_alarm: 0.001,
    }
}

fn assessed(settings: &Settings, candidate: Counts, baseline: Counts) -> Assessment {
    let mut state = State::new();
    state.observe(settings, &Tick { candidate, baseline }, 0.05);
    state.assess(settings)
}

#[test]
fn nothing_seen_asks_for_nothing() {
    let found = assessed(&everything(), Counts::default(), Counts::default());
    assert_eq!((found.action, found.calm, found.tests.len()), (None, true, 6));
    for test in found.tests {
        assert!(!test.crossed && !test.waits_for_keys, "{test:?}");
        assert_eq!(test.log10_e.is_none(), test.name == TestName::Budget);
        assert!(test.log10_e.is_none_or(|e| e.abs() < 1e-12), "{test:?}");
    }
}

#[test]
fn the_right_test_acts() {
    let slow = Counts { over_max: 100, timed: 1_000, ..failing(1_000, 1, 1) };
    let slower = Counts { over_ratio: 100, timed_ratio: 1_000, ..failing(1_000, 1, 1) };
    let no_ratio = Settings { failure_ratio: f64::INFINITY, ..everything() };
    let no_rate = Settings { max_failure_rate: None, ..no_ratio.clone() };
    for (settings, candidate, baseline, action) in [
        (
            &everything(),
            failing(50, 50, 50),
            failing(950, 1, 1),
            Some((Action::Abort, TestName::FailureRatio)),
        ),
        (&no_ratio, failing(50, 50, 50), failing(950, 1, 1), Some((Action::Abort, TestName::FailureRate))),
        (&everything(), slow, failing(9_000, 9, 9), Some((Action::Abort, TestName::LatencyMax))),
        (&everything(), slower, failing(9_000, 9, 9), Some((Action::Abort, TestName::LatencyRatio))),
        (
            &no_rate,
            failing(900_000, 1_000, 1_000),
            Counts::default(),
            Some((Action::Abort, TestName::Budget)),
        ),
        (&no_rate, failing(100, 5, 5), failing(1_900, 95, 95), Some((Action::Pause, TestName::Overall))),
        (&everything(), failing(50, 0, 0), failing(950, 1, 1), None),
    ] {
        assert_eq!(assessed(settings, candidate, baseline).action, action, "{candidate:?}");
    }
}

#[test]
fn one_patient_user_stops_nothing_where_keys_are_known() {
    let one = Counts { users: 1, failed_users: 1, ..failing(10_000, 10_000, 1) };
    let slow = Counts { over_max: 10_000, slow_max_keys: 1, ..one };
    let keyed = Settings { failure_budget: 0, by_user: true, keyed: true, ..everything() };
    let found = assessed(&keyed, slow, failing(9_000, 0, 0));
    assert_eq!(found.action, None);
    let waits =
        |name| found.tests.iter().any(|test| test.name == name && test.crossed && test.waits_for_keys);
    assert!(waits(TestName::FailureRate) && waits(TestName::LatencyMax) && waits(TestName::Overall));
    assert!(found.calm, "one user holds nobody up");

    let five = Counts { failed_keys: LEAST_KEYS, ..one };
    let action = assessed(&keyed, five, failing(9_000, 0, 0)).action;
    assert_eq!(action, Some((Action::Abort, TestName::FailureRate)));
    let unkeyed = Settings { by_user: false, keyed: false, ..keyed };
    let action = assessed(&unkeyed, one, failing(9_000, 0, 0)).action;
    assert_eq!(action, Some((Action::Abort, TestName::FailureRatio)));
}

#[test]
fn half_of_a_boundary_is_not_calm() {
    let settings = Settings::example();
    let mut state = State::new();
    let mut seen = (false, false);
    loop {
        state.observe(&settings, &Tick { candidate: failing(50, 1, 1), baseline: failing(950, 1, 1) }, 0.05);
        let found = state.assess(&settings);
        let log10_e = found.tests[0].log10_e.unwrap();
        assert_eq!(found.calm, log10_e <= 1.5, "{log10_e}");
        if found.action.is_some() {
            assert!(log10_e >= 3.0 - 1e-9);
            break;
        }
        seen = (seen.0 || found.calm, seen.1 || !found.calm);
    }
    assert_eq!(seen, (true, true));
}

#[test]
fn a_state_read_back_goes_on_exactly() {
    let settings = everything();
    let mut entropy = crate::pick::Entropy::new(7);
    let mut draw = |below: u64| entropy.next_u64() % below;
    let (mut kept, mut other) = (State::new(), State::new());
    for round in 0..200 {
        let mut counts = || {
            let requests = 1 + draw(1_000);
            Counts {
                timed_ratio: requests,
                over_ratio: draw(20),
                over_max: draw(20),
                ..failing(requests, draw(9), 1)
            }
        };
        let tick = Tick { candidate: counts(), baseline: counts() };
        kept.observe(&settings, &tick, 0.5);
        other.observe(&settings, &tick, 0.5);
        let text = serde_json::to_string(&other).unwrap();
        other = serde_json::from_str(&text).unwrap();
        assert_eq!(kept, other, "round {round}");
    }
    let empty: State = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, State::new());
}

#[test]
fn an_assessment_is_finite_after_trillions() {
    let large = 1_000_000_000_000;
    for failures in [0, 1, large / 2, large] {
        for other in [0, 1, large] {
            let found = assessed(&everything(), failing(large, failures, 9), failing(large, other, 9));
            for test in found.tests {
                assert!(test.log10_e.is_none_or(f64::is_finite), "{failures}, {other}: {test:?}");
            }
        }
    }
}

#[test]
fn a_test_is_written_with_what_it_has() {
    let found = assessed(&everything(), failing(50, 2, 2), failing(950, 1, 1));
    let written = serde_json::to_value(&found.tests).unwrap();
    let keys = |at: usize| written[at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(0), ["name", "log10_e", "log10_boundary", "crossed"]);
    assert_eq!(keys(4), ["name", "failures", "budget", "crossed"]);
    let read: Vec<Test> = serde_json::from_value(written).unwrap();
    assert_eq!(read, found.tests);
}
