//! A histogram of durations with a bounded relative error, as HdrHistogram's.
//!
//! A value's bucket is its highest bit and the seven bits behind it, so that a bucket is at most 1/128 of its
//! value wide, whatever the value. Recording is a shift and an increment: the load generator shares its core with
//! the upstream, and what it costs is taken from what can be measured. Quantiles are the upper end of a bucket, so
//! they err on the slow side. There is no upper limit: a second's stall is seen as one.

use std::time::Duration;

/// Bits of a value that tell buckets of one power of two apart.
const BITS: u32 = 7;
const WIDTH: usize = 1 << BITS;

/// Counts of durations in nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; WIDTH * (64 - BITS as usize + 1)], count: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The value in microseconds that this share (0 to 1) of all values does not exceed; 0 when there is none.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        // The smallest rank whose share is at least what was asked for.
        let wanted = (share * self.count as f64).ceil().max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return upper_end(bucket).min(self.max) as f64 / 1e3;
            }
        }
        self.max as f64 / 1e3
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

/// Values below `WIDTH` have a bucket each; above, each power of two has `WIDTH` buckets.
fn bucket_of(value: u64) -> usize {
    let Some(shift) = (value | 1).ilog2().checked_sub(BITS) else { return small(value) };
    (shift as usize + 1) * WIDTH + small(value >> shift) - WIDTH
}

/// The largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    if bucket < WIDTH {
        return bucket as u64;
    }
    let shift = bucket / WIDTH - 1;
    let low = ((bucket % WIDTH + WIDTH) as u64) << shift;
    low + ((1_u64 << shift) - 1)
}

/// What is below `2 * WIDTH` by the callers' arithmetic.
fn small(value: u64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_its_bucket() {
        let values = (0..4_000).chain([u64::from(u32::MAX), 1 << 40, (1 << 41) - 1, u64::MAX]);
        for value in values {
            let bucket = bucket_of(value);
            assert!(upper_end(bucket) >= value, "{value} in {bucket}");
            assert!(bucket == 0 || upper_end(bucket - 1) < value, "{value} in {bucket}");
            assert!((upper_end(bucket) - value) as f64 <= value as f64 / WIDTH as f64, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values_within_the_error() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1_000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (share, wanted) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1_000.0)] {
            let got = histogram.quantile_us(share);
            assert!(got >= wanted && got <= wanted * (1.0 + 1.0 / 128.0), "{share}: {got}");
        }
        assert_eq!(histogram.count(), 1_000);
        assert!((histogram.max_us() - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert!(Histogram::new().quantile_us(0.99).abs() < 1e-9);
    }
}
