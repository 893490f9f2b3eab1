//! Draws for virtual traffic, all from one seed.

use std::f64::consts::TAU;

use crate::pick::Entropy;
use crate::split::mix;

/// From here on a draw by rejection is quicker than adding up chances.
const MANY: f64 = 12.0;

/// A stream of random numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(Entropy);

impl Random {
    /// A stream from a seed; the streams of neighbouring seeds have nothing to do with each other.
    pub(super) fn new(seed: u64) -> Self {
        Self(Entropy::new(mix(seed ^ 0x7469_6465_6761_7465)))
    }

    /// A whole number.
    pub(super) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Above 0 and below 1.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.word() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Whether something of this chance happens.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// A standard normal deviate (Box, Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// A Poisson deviate.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean.is_nan() || mean <= 0.0 {
            0
        } else if mean < MANY {
            self.few(mean)
        } else {
            self.many(mean)
        }
    }

    /// By adding up chances.
    fn few(&mut self, mean: f64) -> u64 {
        let (mut rest, mut chance, mut count) = (self.unit(), (-mean).exp(), 0u64);
        // The chances add up to a little less than 1 in floating point; none beyond these is ever met.
        while rest > chance && count < 200 {
            rest -= chance;
            count += 1;
            chance *= mean / count as f64;
        }
        count
    }

    /// By transformed rejection (Hörmann 1993, algorithm PTRS).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and not below 0")]
    fn many(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.024_83 * b;
        let inverse_alpha = 1.123_9 + 1.132_8 / (b - 3.4);
        let quick = 0.927_7 - 3.622_4 / (b - 2.0);
        loop {
            let (u, v) = (self.unit() - 0.5, self.unit());
            let us = 0.5 - u.abs();
            let count = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= quick {
                return count as u64;
            }
            if count < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let left = (v * inverse_alpha / (a / (us * us) + b)).ln();
            if left <= count * mean.ln() - mean - ln_factorial(count) {
                return count as u64;
            }
        }
    }
}

/// `ln(count!)`, by Stirling's series.
fn ln_factorial(count: f64) -> f64 {
    if count < 16.0 {
        let mut product = 1.0;
        let mut factor = count;
        while factor > 1.0 {
            product *= factor;
            factor -= 1.0;
        }
        return f64::ln(product);
    }
    let square = count * count;
    (count + 0.5) * count.ln() - count + 0.5 * TAU.ln() + (1.0 / 12.0 - 1.0 / (360.0 * square)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 100_000;

    #[test]
    fn poisson_deviates_have_their_mean_and_variance() {
        let mut random = Random::new(1);
        for mean in [0.001, 0.1, 3.0, 11.9, 12.0, 95.0, 1e4, 1e7] {
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..DRAWS {
                let off = random.poisson(mean) as f64 - mean;
                sum += off;
                squares += off * off;
            }
            let (off, variance) = (sum / f64::from(DRAWS), squares / f64::from(DRAWS));
            // Five standard errors.
            let error = (mean / f64::from(DRAWS)).sqrt() * 5.0;
            assert!(off.abs() < error, "mean {mean}: off by {off}");
            let error = ((mean + 2.0 * mean * mean) / f64::from(DRAWS)).sqrt() * 5.0;
            assert!((variance - mean).abs() < error, "mean {mean}: variance {variance}");
        }
        assert_eq!([0.0, -1.0, f64::NAN].map(|mean| random.poisson(mean)), [0, 0, 0]);
    }

    #[test]
    fn poisson_deviates_have_their_chances() {
        let mut random = Random::new(2);
        for mean in [2.0, 20.0f64] {
            let mut seen = [0u32; 64];
            for _ in 0..DRAWS {
                seen[usize::try_from(random.poisson(mean)).unwrap().min(63)] += 1;
            }
            for (count, seen) in seen.iter().enumerate().take(63) {
                let chance = (count as f64 * mean.ln() - mean - ln_factorial(count as f64)).exp();
                let expected = chance * f64::from(DRAWS);
                let off = (f64::from(*seen) - expected).abs();
                assert!(off < 5.0 * expected.sqrt() + 5.0, "{count} of mean {mean}: {seen}, not {expected}");
            }
        }
    }

    #[test]
    fn normal_deviates_are_normal() {
        let mut random = Random::new(3);
        let draws: Vec<f64> = (0..DRAWS).map(|_| random.normal()).collect();
        for (below, share) in [(-2.326_35, 0.01), (0.0, 0.5), (1.0, 0.841_34), (2.326_35, 0.99)] {
            let found = draws.iter().filter(|x| **x < below).count() as f64 / f64::from(DRAWS);
            assert!((found - share).abs() < 0.008, "{below}: {found}");
        }
    }

    #[test]
    fn factorials_agree_at_the_seam() {
        for count in [1.0, 2.0, 15.0, 16.0, 40.0] {
            let step = ln_factorial(count) - ln_factorial(count - 1.0);
            assert!((step - f64::ln(count)).abs() < 1e-7, "{count}: {step}");
        }
    }
}
