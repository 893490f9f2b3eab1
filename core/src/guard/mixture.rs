//! The evidence of one test: likelihood ratios of sixteen alternatives, and their mean.
//!
//! Every test of the guard comes down to trials that hit with a chance of at most `theta0` if all is
//! well, against alternatives whose odds are `r` times as high, `r` on a log grid. With
//! `theta_r = r·theta0 / (1 + (r − 1)·theta0)` a trial weighs `theta_r/theta0 = r / (1 + (r − 1)·theta0)`
//! when it hits and `(1 − theta_r)/(1 − theta0) = 1 / (1 + (r − 1)·theta0)` when it does not: one
//! `ln_1p`, exact from a `theta0` of 1e-300 up to 1. The mean over the grid has an expectation of at most
//! 1 however often it is looked at (Ville's inequality), so passing `1/α` has a chance of at most `α`.
//! Sources: Robbins 1970; Lindon, Malek, NeurIPS 2022.
//!
//! A candidate may turn bad after an hour, and an hour of good behaviour should not be held in its favour
//! then. So the mean is also one over when it began: nine tenths of the weight are on the alternatives
//! that held from the start, and a tenth is handed out over the looks, each time to the alternatives that
//! hold from that look on. All weights together stay below 1, whatever the number of looks, so it is an
//! e-value like any other; a candidate that is bad from the start is seen a tenth of a nat later.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// How many alternatives.
const ALTERNATIVES: usize = 16;

/// The smallest and the largest factor on the odds.
const FACTORS: (f64, f64) = (1.2, 1_000.0);

/// The weight on alternatives that hold from some later look on.
const LATER: f64 = 0.1;
/// Of it `LATER·ln(99) / ln(n + 99)` is left at look `n`, from 0, and the look hands out
/// `LATER·ln(99) / ((n + 100)·ln²(n + 100))`: it falls so slowly that late looks have their part. That is
/// no more than what is left falls by, since `∫ dx/(x·ln²x)` is `-1/ln(x)`.
const FIRST_LOOKS: f64 = 100.0;

/// Logarithms of weighted likelihood ratios, one for each alternative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    terms: [f64; ALTERNATIVES],
    looks: u64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { terms: [(-LATER).ln_1p(); ALTERNATIVES], looks: 0 }
    }
}

impl Mixture {
    /// Takes in `trials`, of which `hits` hit, each with a chance of at most `theta0` if all is well.
    ///
    /// A `theta0` outside `0..1` says that trials tell nothing, and changes nothing.
    pub fn observe(&mut self, theta0: f64, hits: u64, trials: u64) {
        let possible = theta0 > 0.0 && theta0 < 1.0;
        if trials == 0 || !possible {
            return;
        }
        let hits = hits.min(trials) as f64;
        let fresh = ln_weight(self.looks);
        self.looks += 1;
        for (term, factor) in self.terms.iter_mut().zip(GRID.iter()) {
            let ratio = hits * factor.ln - trials as f64 * (factor.less_one * theta0).ln_1p();
            *term = ln_sum(*term, fresh) + ratio;
        }
    }

    /// The natural logarithm of the e-value.
    pub fn ln_e(&self) -> f64 {
        ln_sum(logsumexp(&self.terms) - (ALTERNATIVES as f64).ln(), ln_left(self.looks))
    }
}

/// A factor `r` on the odds, as `ln r` and `r − 1`.
struct Factor {
    ln: f64,
    less_one: f64,
}

/// The factors, at equal distances of their logarithms.
static GRID: LazyLock<[Factor; ALTERNATIVES]> = LazyLock::new(|| {
    let (low, high) = (FACTORS.0.ln(), FACTORS.1.ln());
    std::array::from_fn(|at| {
        let ln = low + (high - low) * at as f64 / (ALTERNATIVES - 1) as f64;
        Factor { ln, less_one: ln.exp_m1() }
    })
});

/// The logarithm of the weight that is left for looks from this one on.
fn ln_left(look: u64) -> f64 {
    let at = look as f64 + FIRST_LOOKS - 1.0;
    (LATER * (FIRST_LOOKS - 1.0).ln()).ln() - at.ln().ln()
}

/// The logarithm of the weight that a look hands out.
fn ln_weight(look: u64) -> f64 {
    let at = look as f64 + FIRST_LOOKS;
    (LATER * (FIRST_LOOKS - 1.0).ln()).ln() - at.ln() - 2.0 * at.ln().ln()
}

/// `ln(exp(a) + exp(b))` without overflow.
fn ln_sum(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    most + (least - most).exp().ln_1p()
}

/// `ln Σ exp(x)` without overflow.
fn logsumexp(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(theta0: f64, hits: u64, trials: u64) -> Mixture {
        let mut mixture = Mixture::default();
        mixture.observe(theta0, hits, trials);
        mixture
    }

    #[test]
    fn the_grid_has_its_ends_and_equal_steps() {
        let factors: Vec<f64> = GRID.iter().map(|factor| factor.less_one + 1.0).collect();
        assert_eq!(factors.len(), 16);
        assert!((factors[0] - 1.2).abs() < 1e-12 && (factors[15] - 1_000.0).abs() < 1e-9, "{factors:?}");
        for pair in factors.windows(3) {
            assert!((pair[1] / pair[0] - pair[2] / pair[1]).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_seen_is_no_evidence() {
        assert!(Mixture::default().ln_e().abs() < 1e-12);
        for (theta0, hits, trials) in
            [(0.01, 0, 0), (0.0, 5, 10), (1.0, 5, 10), (f64::NAN, 5, 10), (-1.0, 1, 1)]
        {
            assert_eq!(after(theta0, hits, trials), Mixture::default(), "{theta0}");
        }
    }

    #[test]
    fn it_is_the_mean_of_the_likelihood_ratios() {
        let (theta0, hits, trials) = (0.05f64, 3, 7);
        let ratios = GRID.iter().map(|factor| {
            let odds = factor.ln.exp() * theta0 / (1.0 - theta0);
            let theta = odds / (1.0 + odds);
            (theta / theta0).powi(hits) * ((1.0 - theta) / (1.0 - theta0)).powi(trials - hits)
        });
        let weight = 0.9 + ln_weight(0).exp();
        let expected = (weight * ratios.sum::<f64>() / 16.0 + ln_left(1).exp()).ln();
        assert!((after(theta0, 3, 7).ln_e() - expected).abs() < 1e-12);
    }

    #[test]
    fn no_look_hands_out_more_than_there_is() {
        assert!((ln_left(0).exp() - LATER).abs() < 1e-15);
        for look in (0..10_000).chain([1_000_000, 1 << 52]) {
            let (left, then) = (ln_left(look).exp(), ln_left(look + 1).exp());
            let handed_out = ln_weight(look).exp();
            assert!(handed_out > 0.0 && handed_out + then <= left * (1.0 + 1e-12), "{look}");
        }
    }

    #[test]
    fn a_trial_has_an_expectation_of_at_most_one_at_the_null_after_whatever_was_seen() {
        for theta0 in [1e-9, 1e-3, 0.05, 0.5, 0.99] {
            for (hits, looks) in [(0, 0), (0, 1_000), (1, 50), (1, 3)] {
                let mut before = Mixture::default();
                (0..looks).for_each(|_| before.observe(theta0, hits, 20));
                let next = |hits| {
                    let mut next = before;
                    next.observe(theta0, hits, 1);
                    next.ln_e()
                };
                let mean = theta0 * next(1).exp() + (1.0 - theta0) * next(0).exp();
                let most = before.ln_e().exp();
                assert!(mean <= most * (1.0 + 1e-12) && mean > 0.98 * most, "{theta0} {hits} {looks}");
            }
        }
    }

    #[test]
    fn good_behaviour_is_not_held_in_a_candidate_s_favour_for_ever() {
        // One failure of both pools a second for an hour, a twentieth of them the candidate's.
        let mut mixture = Mixture::default();
        for second in 0..3_600 {
            mixture.observe(0.05, u64::from(second % 20 == 0), 1);
        }
        assert!(mixture.ln_e() < 0.0);
        let failures = (1..100).find(|_| {
            mixture.observe(0.05, 1, 1);
            mixture.ln_e() > 2_000_f64.ln()
        });
        assert!(failures.is_some_and(|failures| failures < 9), "{failures:?} failures in a row");
    }

    #[test]
    fn it_is_finite_whatever_comes() {
        let large = 1_000_000_000_000;
        for theta0 in [f64::MIN_POSITIVE, 1e-300, 1e-12, 0.5, 1.0 - 1e-12, 1.0 - f64::EPSILON / 2.0] {
            for (hits, trials) in [(0, large), (large, large), (large / 2, large), (1, 1), (9, 1), (0, 1)] {
                let mut mixture = after(theta0, hits, trials);
                mixture.observe(theta0, hits, trials);
                assert!(mixture.ln_e().is_finite(), "{theta0}, {hits} of {trials}");
            }
        }
    }
}
