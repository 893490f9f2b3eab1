//! Durations in buckets of equal relative width, from which any quantile can be read.
//!
//! Below 32 us a bucket is one microsecond wide; above, each power of two has 32 buckets, so that a
//! bucket's upper bound is at most 1/32 (3.1 %) above what fell into it. What takes 2^36 us (19
//! hours) or longer counts as just under that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Binary digits kept behind the leading one.
const DIGITS: u32 = 5;
/// Buckets of a power of two.
const STEPS: u64 = 1 << DIGITS;
/// The longest that is told apart.
const MOST_US: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(MOST_US) + 1;

/// A histogram of durations.
#[derive(Debug)]
pub(super) struct Durations(Box<[AtomicU64]>);

impl Durations {
    pub(super) fn new() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a duration, in microseconds.
    pub(super) fn add(&self, us: u64) {
        self.0[bucket(if us < MOST_US { us } else { MOST_US })].fetch_add(1, Relaxed);
    }

    /// Durations counted.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The upper bound, in microseconds, of the bucket that holds the `quantile` (a fraction of 1);
    /// `None` when nothing was counted.
    pub(super) fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let mut left = rank(quantile, self.total())?;
        for (at, count) in self.0.iter().enumerate() {
            let count = count.load(Relaxed);
            if count >= left {
                return Some(upper_us(at));
            }
            left -= count;
        }
        // Counts only grow, so the sum of a moment ago is reached before the end.
        None
    }
}

/// Which of `total` in ascending order is the quantile (nearest rank), from 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a count can be")]
fn rank(quantile: f64, total: u64) -> Option<u64> {
    (total > 0).then(|| ((quantile * total as f64).ceil() as u64).clamp(1, total))
}

/// The bucket of a duration of at most [`MOST_US`].
#[expect(clippy::cast_possible_truncation, reason = "there are 1,024 buckets")]
const fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let shift = us.ilog2() - DIGITS;
    (shift as u64 * STEPS + (us >> shift)) as usize
}

/// The longest duration that falls into a bucket.
fn upper_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let (shift, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_and_none_is_wide() {
        assert_eq!(BUCKETS, 1_024);
        let mut lower = 0;
        for at in 0..BUCKETS {
            let upper = upper_us(at);
            assert_eq!((bucket(lower), bucket(upper)), (at, at), "{lower} to {upper}");
            assert!((upper - lower) * STEPS <= lower, "{lower} to {upper}");
            lower = upper + 1;
        }
        assert_eq!(lower, MOST_US + 1);
    }

    #[test]
    fn quantiles() {
        let durations = Durations::new();
        assert_eq!((durations.quantile_us(0.5), durations.total()), (None, 0));
        for us in 1..=31 {
            durations.add(us);
        }
        for (quantile, us) in
            [(0.0, 1), (0.5, 16), (0.97, 31), (1.0, 31), (2.0, 31), (-1.0, 1), (f64::NAN, 1)]
        {
            assert_eq!(durations.quantile_us(quantile), Some(us), "{quantile}");
        }
        durations.add(u64::MAX);
        assert_eq!((durations.quantile_us(1.0), durations.total()), (Some(MOST_US), 32));
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_a_32nd(
            mut all in prop::collection::vec(0u64..MOST_US, 1..200),
            percent in 0u32..=100,
        ) {
            let durations = Durations::new();
            for us in &all {
                durations.add(*us);
            }
            all.sort_unstable();
            let quantile = f64::from(percent) / 100.0;
            let rank = rank(quantile, all.len() as u64).expect("not empty");
            let right = all[usize::try_from(rank).expect("small") - 1];
            let told = durations.quantile_us(quantile).expect("not empty");
            prop_assert!(told >= right && (told - right) * STEPS <= right, "{} for {}", told, right);
        }
    }
}
