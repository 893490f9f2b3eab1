//! A candidate's percentage as whole weights.
//!
//! The percentage is of what baseline and candidate have together: other pools of the split keep their
//! share, and their users.

use crate::state::Weights;
use crate::units::{MAX_WEIGHT, Weight};

/// What baseline and candidate have together when nobody else is in the split: percentages are then
/// weights one can read.
const PLAIN: u64 = 100;

/// The weights in which the candidate has `percent` of what it and the baseline have together.
pub(crate) fn with_percent(weights: &Weights, baseline: &str, candidate: &str, percent: f64) -> Weights {
    let weight = |pool: &str| u64::from(weights.get(pool).copied().unwrap_or(0));
    let pair = weight(baseline) + weight(candidate);
    if pair > u64::from(MAX_WEIGHT) {
        return with_percent(&halved(weights), baseline, candidate, percent);
    }
    let is_other = |pool: &String| pool != baseline && pool != candidate;
    let others: u64 = weights.iter().filter(|(p, _)| is_other(p)).map(|(_, w)| u64::from(*w)).sum();
    let pair = if others == 0 { PLAIN } else { pair };
    let largest = weights.iter().filter(|(p, _)| is_other(p)).map(|(_, w)| u64::from(*w)).max();
    let factor = factor(pair, percent, largest.unwrap_or(0).max(pair));
    let pair = pair * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to twice a weight")]
    let part = ((pair as f64) * percent / 100.0).round() as u64;
    // A step above 0 reaches somebody, and one below 100 leaves somebody.
    let least = u64::from(percent > 0.0 && pair > 1);
    let most = pair - u64::from(percent < 100.0 && pair > 1);
    let part = part.clamp(least, most.max(least));
    let mut next: Weights =
        weights.iter().map(|(pool, w)| (pool.clone(), fit(u64::from(*w) * factor))).collect();
    next.insert(candidate.to_owned(), fit(part));
    next.insert(baseline.to_owned(), fit(pair - part));
    next
}

/// The smallest factor that makes the candidate's part a whole weight; the largest that fits if none does.
fn factor(pair: u64, percent: f64, largest: u64) -> u64 {
    let fits = |factor: &u64| largest.saturating_mul(*factor) <= u64::from(MAX_WEIGHT);
    let is_whole = |factor: &u64| {
        let part = (pair * factor) as f64 * percent / 100.0;
        // To a millionth of itself, or of what it leaves.
        (part - part.round()).abs() <= 1e-6 * part.min((pair * factor) as f64 - part).max(1e-12)
    };
    let factors = [1, 2, 4, 5, 10, 20, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];
    let fitting = factors.into_iter().filter(fits);
    fitting.clone().find(is_whole).or_else(|| fitting.max()).unwrap_or(1)
}

/// The same shares in smaller numbers: two pools may have more together than one can.
fn halved(weights: &Weights) -> Weights {
    weights.iter().map(|(pool, weight)| (pool.clone(), weight.div_ceil(2))).collect()
}

fn fit(weight: u64) -> Weight {
    Weight::try_from(weight).unwrap_or(MAX_WEIGHT).min(MAX_WEIGHT)
}

/// The weights in which the baseline has the candidate's share as well.
pub(crate) fn all_to_baseline(weights: &Weights, baseline: &str, candidate: &str) -> Weights {
    let sum: u64 = [baseline, candidate].iter().filter_map(|p| weights.get(*p)).map(|w| u64::from(*w)).sum();
    let mut next = weights.clone();
    if sum > u64::from(MAX_WEIGHT) {
        return all_to_baseline(&halved(weights), baseline, candidate);
    }
    next.insert(baseline.to_owned(), fit(sum));
    next.insert(candidate.to_owned(), 0);
    next
}

/// The candidate's part of what it and the baseline have together, in percent.
pub(crate) fn share_percent(weights: &Weights, baseline: &str, candidate: &str) -> f64 {
    let weight = |pool: &str| f64::from(weights.get(pool).copied().unwrap_or(0));
    let pair = weight(baseline) + weight(candidate);
    if pair == 0.0 { 0.0 } else { 100.0 * weight(candidate) / pair }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(pairs: &[(&str, u32)]) -> Weights {
        pairs.iter().map(|(pool, weight)| ((*pool).to_owned(), *weight)).collect()
    }

    #[test]
    fn percentages() {
        for (before, percent, after) in [
            (&[("a", 100), ("b", 0)][..], 5.0, &[("a", 95), ("b", 5)][..]),
            (&[("a", 1), ("b", 0)], 5.0, &[("a", 95), ("b", 5)]),
            (&[("a", 95), ("b", 5)], 0.0, &[("a", 100), ("b", 0)]),
            (&[("a", 95), ("b", 5)], 100.0, &[("a", 0), ("b", 100)]),
            (&[("a", 100), ("b", 0)], 0.1, &[("a", 999), ("b", 1)]),
            (&[("a", 100), ("b", 0)], 33.3, &[("a", 667), ("b", 333)]),
            (&[("a", 100), ("b", 0)], 1e-9, &[("a", 999_999), ("b", 1)]),
            (&[("a", 100), ("b", 0)], 99.999_999_9, &[("a", 1), ("b", 999_999)]),
            (&[("a", 100), ("b", 0)], 100.0 / 3.0, &[("a", 666_667), ("b", 333_333)]),
            (&[("a", 50), ("b", 0), ("c", 50)], 10.0, &[("a", 45), ("b", 5), ("c", 50)]),
            (&[("a", 9), ("b", 0), ("c", 1)], 50.0, &[("a", 9), ("b", 9), ("c", 2)]),
            (&[("a", 1_000_000), ("b", 1_000_000), ("c", 0)], 50.0, &[("a", 50), ("b", 50), ("c", 0)]),
        ] {
            assert_eq!(
                with_percent(&weights(before), "a", "b", percent),
                weights(after),
                "{before:?} {percent}"
            );
        }
    }

    #[test]
    fn others_keep_their_share() {
        let before = weights(&[("a", 700_000), ("b", 0), ("c", 300_000)]);
        let after = with_percent(&before, "a", "b", 12.345_678_9);
        let total: u64 = after.values().map(|w| u64::from(*w)).sum();
        assert_eq!((total, after["c"]), (1_000_000, 300_000));
        assert_eq!(after["b"], 86_420);
    }

    #[test]
    fn an_abort_gives_the_share_back() {
        let back = |pairs: &[(&str, u32)]| all_to_baseline(&weights(pairs), "a", "b");
        assert_eq!(back(&[("a", 95), ("b", 5), ("c", 7)]), weights(&[("a", 100), ("b", 0), ("c", 7)]));
        assert_eq!(back(&[("a", 0), ("b", 100)]), weights(&[("a", 100), ("b", 0)]));
        assert_eq!(
            back(&[("a", 1_000_000), ("b", 1_000_000), ("c", 10)]),
            weights(&[("a", 1_000_000), ("b", 0), ("c", 5)])
        );
    }

    #[test]
    fn shares() {
        assert!((share_percent(&weights(&[("a", 3), ("b", 1), ("c", 9)]), "a", "b") - 25.0).abs() < 1e-9);
        assert!(share_percent(&weights(&[("a", 0), ("b", 0), ("c", 9)]), "a", "b").abs() < 1e-9);
    }
}
