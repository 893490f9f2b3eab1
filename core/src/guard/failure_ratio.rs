//! The candidate fails more often than the baseline: `failure_ratio = m`.
//!
//! Null: in each tick the candidate's failure rate is at most `m` times the baseline's, whatever that
//! is, so that an incident that hits both pools alike cancels. A failure of the tick is then the
//! candidate's with a chance of at most `theta0`, and what is taken in is whose the failures were.
//!
//! By request `theta0 = m·n_c / (m·n_c + n_s)`, from the requests of the tick. With failures that are rare
//! this is exact; with frequent ones the evidence only grows more slowly: for independent requests that
//! fail with `p_c ≤ m·p_s`, a tick's factor has the expectation
//! `(1 + p_c(a − 1))^n_c · (1 + p_s(b − 1))^n_s ≤ exp(p_s(m·n_c(a − 1) + n_s(b − 1))) = 1`.
//! Source: Lindon, Sanden, Shirikian, arXiv 2205.14762.
//!
//! By user `theta0 = m·s / (m·s + 1 − s)`, from the candidate's share `s` of the two pools. The users who
//! are active in a tick would not do in its place: the few who are active all the time fall to one pool
//! or the other once and for all, and tell nothing of where the many others are, among whom most
//! failures happen. With two such users in the baseline a good candidate looks bad, tick after tick
//! (`tests/simulation/false_alarms.rs` has the case). But whose bucket a user is in was drawn with the
//! chance `s`, apart from all that he does. So, if both pools are alike, each first failure of a user is
//! the candidate's with the chance `s`, whatever the users are like, and nothing need be assumed of them.
//! Requests still in flight from before the share was raised make evidence grow more slowly, not faster.

use super::mixture::Mixture;
use super::{Settings, Tick};

/// Takes in a tick in which the candidate had this `share`, as a fraction of both pools.
pub(super) fn observe(mixture: &mut Mixture, settings: &Settings, tick: &Tick, share: f64) {
    let (candidate, baseline) = (tick.candidate, tick.baseline);
    let (weights, failures) = if settings.by_user {
        ((share, 1.0 - share), (candidate.failed_users, baseline.failed_users))
    } else {
        let requests = (candidate.requests as f64, baseline.requests as f64);
        (requests, (candidate.failures, baseline.failures))
    };
    // Where one pool has nothing, nothing can be compared, and the chance is 0, 1 or no number.
    let weighed = settings.failure_ratio * weights.0;
    mixture.observe(weighed / (weighed + weights.1), failures.0, failures.0 + failures.1);
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    fn pool(n: u64, x: u64) -> Counts {
        Counts { requests: n, failures: x, ..Counts::default() }
    }

    fn ln_e(ratio: f64, candidate: (u64, u64), baseline: (u64, u64)) -> f64 {
        let settings = Settings { failure_ratio: ratio, by_user: false, ..Settings::example() };
        let tick = Tick { candidate: pool(candidate.0, candidate.1), baseline: pool(baseline.0, baseline.1) };
        let mut mixture = Mixture::default();
        observe(&mut mixture, &settings, &tick, 0.5);
        mixture.ln_e()
    }

    #[test]
    fn evidence_has_the_sign_of_the_difference() {
        for (ratio, candidate, baseline, sign) in [
            (1.0, (50, 25), (950, 1), 1.0),
            (1.5, (50, 25), (950, 1), 1.0),
            (1.0, (50, 1), (950, 19), -1.0),
            (1.5, (500, 14), (500, 10), -1.0),
            (1.0, (50, 0), (950, 19), -1.0),
            (1.0, (50, 5), (950, 0), 1.0),
            // Without a failure, or without the other pool, nothing is told.
            (1.0, (50, 0), (950, 0), 0.0),
            (1.0, (50, 50), (0, 0), 0.0),
            (1.0, (0, 0), (950, 9), 0.0),
            (f64::INFINITY, (50, 50), (950, 0), 0.0),
        ] {
            let found = ln_e(ratio, candidate, baseline);
            let told = if found.abs() < 1e-12 { 0.0 } else { found.signum() };
            assert!((told - sign).abs() < 0.5, "{ratio}, {candidate:?}, {baseline:?}: {found}");
        }
    }

    #[test]
    fn users_are_compared_by_the_share_and_not_by_how_active_they_are() {
        let settings = Settings { by_user: true, ..Settings::example() };
        let pool = |failed_users, users| Counts {
            requests: 900,
            failures: 900,
            users,
            failed_users,
            ..Counts::default()
        };
        for (share, candidate, baseline, sign) in [
            (0.05, pool(30, 40), pool(30, 900), 1.0),
            (0.05, pool(1, 40), pool(60, 900), -1.0),
            (0.5, pool(30, 40), pool(30, 900), -1.0),
            (0.5, pool(30, 0), pool(0, 0), 1.0),
            (0.0, pool(30, 40), pool(30, 900), 0.0),
            (1.0, pool(30, 40), pool(30, 900), 0.0),
            (f64::NAN, pool(30, 40), pool(30, 900), 0.0),
        ] {
            let mut mixture = Mixture::default();
            observe(&mut mixture, &settings, &Tick { candidate, baseline }, share);
            let found = mixture.ln_e();
            let told = if found.abs() < 1e-12 { 0.0 } else { found.signum() };
            assert!((told - sign).abs() < 0.5, "{share}: {found}");
        }
    }

    /// The bound of the header, summed over every outcome of a small tick.
    #[test]
    fn a_tick_has_an_expectation_of_at_most_one_even_when_failures_are_frequent() {
        let chance = |n: u32, x: u32, p: f64| {
            let each = |at| f64::from(n - at) / f64::from(at + 1) * p;
            (0..x).map(each).product::<f64>() * (x..n).map(|_| 1.0 - p).product::<f64>()
        };
        for ratio in [1.0, 1.5] {
            for rate in [0.001, 0.2, 0.6] {
                let mut mean = 0.0;
                for (x_c, x_s) in (0..=4).flat_map(|x_c| (0..=9).map(move |x_s| (x_c, x_s))) {
                    let e = ln_e(ratio, (4, x_c.into()), (9, x_s.into())).exp();
                    mean += e * chance(4, x_c, ratio * rate) * chance(9, x_s, rate);
                }
                assert!(mean <= 1.0 + 1e-9, "{ratio}, {rate}: {mean}");
            }
        }
    }
}
