//! The candidate is slow: `latency = { quantile, max, ratio }`.
//!
//! Both tests count requests above a limit, of which a share of at most `1 − quantile` is allowed.
//! The limit of `max` is what was written. That of `ratio` is so many times the baseline's quantile,
//! which the ledger measures and freezes for a tick at a time: that test is approximate until the
//! baseline has some thousand requests, and is not begun before it has a thousand.

use super::mixture::Mixture;
use super::{Settings, Tick};

/// `latency.max`.
pub(super) fn observe_max(mixture: &mut Mixture, settings: &Settings, tick: &Tick) {
    if let Some(latency) = settings.latency.filter(|latency| latency.has_max) {
        mixture.observe(1.0 - latency.quantile, tick.candidate.over_max, tick.candidate.timed);
    }
}

/// `latency.ratio`.
pub(super) fn observe_ratio(mixture: &mut Mixture, settings: &Settings, tick: &Tick) {
    if let Some(latency) = settings.latency.filter(|latency| latency.has_ratio) {
        mixture.observe(1.0 - latency.quantile, tick.candidate.over_ratio, tick.candidate.timed_ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Counts, LatencySettings};
    use super::*;

    #[test]
    fn each_limit_has_its_own_counts() {
        let candidate =
            Counts { timed: 1_000, over_max: 10, timed_ratio: 400, over_ratio: 40, ..Counts::default() };
        let tick = Tick { candidate, baseline: Counts::default() };
        for (has_max, has_ratio, max_above, ratio_above) in
            [(true, true, false, true), (true, false, false, false), (false, false, false, false)]
        {
            let latency = Some(LatencySettings { quantile: 0.99, has_max, has_ratio });
            let settings = Settings { latency, ..Settings::example() };
            let (mut max, mut ratio) = (Mixture::default(), Mixture::default());
            observe_max(&mut max, &settings, &tick);
            observe_ratio(&mut ratio, &settings, &tick);
            assert_eq!((max.ln_e() > 7.0, ratio.ln_e() > 7.0), (max_above, ratio_above));
            assert_eq!((max == Mixture::default(), ratio == Mixture::default()), (!has_max, !has_ratio));
        }
    }
}
