//! The candidate fails too often: `max_failure_rate = p0`.
//!
//! Null: a request of the candidate fails with a chance of at most `p0`. It needs no baseline, and so
//! goes on at a share of 100 %; it does not know an incident that hits both pools from a bad candidate.

use super::mixture::Mixture;
use super::{Settings, Tick};

pub(super) fn observe(mixture: &mut Mixture, settings: &Settings, tick: &Tick) {
    if let Some(limit) = settings.max_failure_rate {
        mixture.observe(limit, tick.candidate.failures, tick.candidate.requests);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    #[test]
    fn only_the_candidate_counts_and_only_when_there_is_a_limit() {
        let bad = Counts { requests: 100, failures: 50, ..Counts::default() };
        let good = Counts { requests: 100, failures: 0, ..Counts::default() };
        for (limit, candidate, baseline, above) in [
            (Some(0.01), bad, good, true),
            (Some(0.01), good, bad, false),
            (Some(0.9), bad, good, false),
            (Some(1e-12), bad, good, true),
            (None, bad, good, false),
        ] {
            let mut mixture = Mixture::default();
            let settings = Settings { max_failure_rate: limit, ..Settings::example() };
            observe(&mut mixture, &settings, &Tick { candidate, baseline });
            assert_eq!(mixture.ln_e() > 10.0, above, "{limit:?}: {}", mixture.ln_e());
        }
    }
}
