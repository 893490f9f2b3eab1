//! Both pools suffer: `overall_ratio`.
//!
//! A candidate can hurt the baseline through a database they share. All requests of both pools are
//! tested against a limit on their failure rate, made from the rate before the rollout. An outage that
//! has nothing to do with the candidate looks the same, so the action is a pause and not an abort.

use super::mixture::Mixture;
use super::{Settings, Tick};

/// No failure rate before a rollout counts as lower than this.
const LEAST_RATE_BEFORE: f64 = 0.001;

/// The failure rate that may not be passed; `None` where any rate is allowed.
pub(super) fn limit(overall_ratio: f64, rate_before: f64) -> Option<f64> {
    let limit = overall_ratio * rate_before.max(LEAST_RATE_BEFORE);
    (limit < 1.0).then_some(limit)
}

pub(super) fn observe(mixture: &mut Mixture, settings: &Settings, tick: &Tick) {
    if let Some(limit) = settings.overall_limit {
        let failures = tick.candidate.failures + tick.baseline.failures;
        mixture.observe(limit, failures, tick.candidate.requests + tick.baseline.requests);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    #[test]
    fn the_limit_is_made_from_the_rate_before() {
        for (ratio, before, expected) in [
            (3.0, 0.0, Some(0.003)),
            (3.0, f64::NAN, Some(0.003)),
            (3.0, 0.02, Some(0.06)),
            (3.0, 0.5, None),
            (f64::INFINITY, 0.0, None),
        ] {
            assert_eq!(limit(ratio, before), expected, "{ratio} times {before}");
        }
    }

    #[test]
    fn both_pools_count_together() {
        let counts = |failures| Counts { requests: 1_000, failures, ..Counts::default() };
        for (candidate, baseline, above) in [(0, 50, true), (50, 0, true), (3, 3, false)] {
            let mut mixture = Mixture::default();
            let settings = Settings { overall_limit: Some(0.003), ..Settings::example() };
            let tick = Tick { candidate: counts(candidate), baseline: counts(baseline) };
            observe(&mut mixture, &settings, &tick);
            assert_eq!(mixture.ln_e() > 10.0, above, "{candidate}, {baseline}");
        }
    }
}
