//! A good candidate is left alone, whatever else goes on.
//!
//! A/A runs: both pools fail alike, and every abort is a false alarm.

use tidegate_core::guard::Settings;
use tidegate_core::simulate::{Incident, Lateness, Scenario, Stage, Users};

use super::{FEW, MANY, MINUTE_MS, at_most, one_test, sweep};

const ALPHA: f64 = 0.01;

/// The default of `failure_ratio`, and the strictest that there is.
const RATIOS: [f64; 2] = [1.5, 1.0];

/// Shares as a plan raises them.
fn steps() -> Vec<Stage> {
    let stage = |share, minutes| Stage { share, for_ms: minutes * MINUTE_MS };
    vec![stage(0.05, 3), stage(0.25, 3), stage(0.5, 4)]
}

/// Ticks that are late: one in twenty by half a second, one in two hundred by five.
fn late() -> Lateness {
    Lateness { half_a_second: 0.05, five_seconds: 0.005 }
}

fn by_request(ratio: f64, failures: f64, minutes: u64) -> Scenario {
    Scenario::new(1_000.0, 0.05, failures, one_test(ratio, ALPHA), minutes * MINUTE_MS)
}

fn by_user(ratio: f64, users: Users, minutes: u64) -> Scenario {
    let settings = Settings { by_user: true, keyed: true, ..one_test(ratio, ALPHA) };
    let base = Scenario::new(100.0, 0.05, 0.001, settings, minutes * MINUTE_MS);
    Scenario { users: Some(users), ..base }
}

/// A tenth of all accounts is broken, and a few users ask for most of what is asked.
fn skewed() -> Users {
    Users::new(100_000, 1.4, 0.1)
}

fn no_more_than_allowed(name: &str, scenario: impl Fn(f64) -> Scenario, seeds: u64) {
    for ratio in RATIOS {
        let name = format!("{name}, failure_ratio {ratio}");
        at_most(&name, ALPHA, &sweep(&name, &scenario(ratio), seeds), |outcome| outcome.abort.is_some());
    }
}

fn requests(seeds: u64, minutes: u64) {
    for failures in [0.001, 0.005, 0.2] {
        let name = format!("requests that fail {failures}");
        no_more_than_allowed(&name, |ratio| by_request(ratio, failures, minutes), seeds);
    }
}

fn requests_through_a_plan(seeds: u64) {
    let incident = Some(Incident { from_ms: 170_000, to_ms: 230_000, failures: 0.3 });
    let stepped = |ratio| Scenario { schedule: steps(), ..by_request(ratio, 0.005, 10) };
    no_more_than_allowed("shares that change", stepped, seeds);
    no_more_than_allowed("late ticks", |ratio| Scenario { lateness: late(), ..stepped(ratio) }, seeds);
    // It begins under one share and ends under another.
    no_more_than_allowed("an incident", |ratio| Scenario { incident, ..stepped(ratio) }, seeds);
    let all = |ratio| Scenario { incident, lateness: late(), ..stepped(ratio) };
    no_more_than_allowed("an incident and late ticks", all, seeds);
}

fn users(seeds: u64, minutes: u64) {
    let few = || Users::new(5_000, 1.0, 0.02);
    no_more_than_allowed("users", |ratio| by_user(ratio, few(), minutes), seeds);
    no_more_than_allowed("skewed users", |ratio| by_user(ratio, skewed(), minutes), seeds);
}

fn users_through_a_plan(seeds: u64) {
    let incident = Some(Incident { from_ms: 170_000, to_ms: 200_000, failures: 0.3 });
    let stepped = |ratio| Scenario { schedule: steps(), ..by_user(ratio, skewed(), 10) };
    no_more_than_allowed("users and shares that change", stepped, seeds);
    let all = |ratio| Scenario { incident, lateness: late(), ..stepped(ratio) };
    no_more_than_allowed("users, an incident and late ticks", all, seeds);
    let all_failing = |ratio| Scenario { candidate_failures: 0.2, baseline_failures: 0.2, ..stepped(ratio) };
    no_more_than_allowed("users of which a fifth of requests fails", all_failing, seeds);
}

/// Everything on, as a plan may have it, through a rollout.
fn every_test(seeds: u64) {
    let settings =
        Settings { max_failure_rate: Some(0.01), overall_limit: Some(0.003), ..one_test(1.5, ALPHA) };
    let base = Scenario::new(1_000.0, 0.05, 0.001, settings, 10 * MINUTE_MS);
    let scenario = Scenario { schedule: steps(), lateness: late(), ..base };
    let runs = sweep("every test on failures", &scenario, seeds);
    at_most("every test on failures", ALPHA, &runs, |o| o.abort.is_some() || o.pause.is_some());
}

/// One user tries 10,000 times in ten minutes, and meets a failure each time.
fn one_patient_user(seeds: u64) {
    let rate = Some(0.01);
    let settings = |keyed| Settings { by_user: keyed, keyed, max_failure_rate: rate, ..one_test(1.5, ALPHA) };
    let patient = |keyed| Scenario {
        patient_rps: 20.0,
        users: Some(Users::new(5_000, 1.0, 0.0)),
        ..Scenario::new(100.0, 0.05, 0.0001, settings(keyed), 10 * MINUTE_MS)
    };
    // Nobody else fails often enough for five keys of the candidate.
    let runs = sweep("a patient user", &patient(true), seeds);
    assert!(runs.iter().all(|run| run.outcome.candidate.failures > 10_000 || run.outcome.abort.is_some()));
    at_most("a patient user", ALPHA, &runs, |outcome| outcome.abort.is_some());
    let runs = sweep("a patient user, by request", &patient(false), seeds.min(5));
    assert!(runs.iter().all(|run| run.outcome.abort.is_some()), "by request it is a failing candidate");
}

#[test]
fn a_good_candidate_by_request() {
    requests(FEW, 5);
}

#[test]
fn a_good_candidate_by_request_through_a_plan() {
    requests_through_a_plan(FEW / 2);
}

#[test]
fn a_good_candidate_by_user() {
    users(FEW / 5, 2);
}

#[test]
fn a_good_candidate_under_every_test() {
    every_test(FEW / 2);
}

#[test]
fn a_patient_user_stops_nothing() {
    one_patient_user(3);
}

#[test]
#[ignore = "takes minutes, and a release build"]
fn large_a_good_candidate_by_request() {
    requests(MANY, 10);
    requests_through_a_plan(MANY);
    every_test(MANY);
}

#[test]
#[ignore = "takes minutes, and a release build"]
fn large_a_good_candidate_by_user() {
    users(MANY, 10);
    users_through_a_plan(MANY);
    one_patient_user(MANY / 10);
}
