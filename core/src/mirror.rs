//! Copies of requests for other pools: which requests are copied, and what came of the copies.
//!
//! The copies themselves are the data plane's. They are in no statistics but these: not in a pool's
//! charges and tries, not in what is in flight to it, and not in a guard's evidence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config;
use crate::pool::{Pool, PoolId};

/// A pool that gets copies of a route's requests.
#[derive(Clone, Copy, Debug)]
pub struct Mirror {
    /// The pool.
    pub pool: PoolId,
    /// Of so many requests, a fraction of 1.
    share: f64,
}

impl Mirror {
    /// Compiles what was written; `pools` is sorted by name.
    pub(crate) fn compile(written: &config::Mirror, pools: &[Arc<Pool>]) -> Self {
        let at = pools.binary_search_by(|pool| (*pool.name).cmp(&written.pool));
        let at = at.expect("validated: the pool exists");
        Self {
            pool: PoolId::try_from(at).expect("a file has fewer than 2^32 pools"),
            share: written.percent / 100.0,
        }
    }

    /// Whether a request is copied, by a uniform number.
    pub fn takes(&self, draw: u64) -> bool {
        ((draw >> 11) as f64) < self.share * (1u64 << 53) as f64
    }
}

/// What came of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with a status below 500.
    Ok,
    /// It was answered with 500 to 599.
    Status5xx,
    /// No connection, or it broke off, or the answer was not HTTP.
    Failed,
    /// The answer took too long.
    Timeout,
    /// The pool had no usable endpoint.
    NoEndpoint,
    /// It was not sent: too many copies, or too large ones, waited already.
    Dropped,
}

impl Outcome {
    /// All outcomes, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Status5xx, Self::Failed, Self::Timeout, Self::NoEndpoint, Self::Dropped];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status5xx => "5xx",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::NoEndpoint => "no_endpoint",
            Self::Dropped => "dropped",
        }
    }
}

/// Copies meant for a pool, by outcome.
#[derive(Debug, Default)]
pub struct Copies([AtomicU64; Outcome::ALL.len()]);

impl Copies {
    /// Counts a copy.
    pub fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Copies of one outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::Entropy;

    #[test]
    fn percents_are_met_and_may_be_fractions() {
        const DRAWS: u32 = 200_000;
        for percent in [0.0, 0.5, 12.5, 50.0, 99.9, 100.0] {
            let mirror = Mirror { pool: 0, share: percent / 100.0 };
            let mut entropy = Entropy::new(7);
            let taken = (0..DRAWS).filter(|_| mirror.takes(entropy.next_u64())).count() as f64;
            let expected = f64::from(DRAWS) * percent / 100.0;
            // Five standard deviations of a binomial distribution.
            let bound = 5.0 * (expected * (1.0 - percent / 100.0)).sqrt();
            assert!((taken - expected).abs() <= bound, "{percent} %: {taken} of {DRAWS}");
        }
    }

    #[test]
    fn all_and_none_are_exact() {
        for draw in [0, 1 << 11, u64::MAX / 2, u64::MAX] {
            assert!(Mirror { pool: 0, share: 1.0 }.takes(draw));
            assert!(!Mirror { pool: 0, share: 0.0 }.takes(draw));
        }
    }

    #[test]
    fn copies_count_by_outcome() {
        let copies = Copies::default();
        copies.add(Outcome::Dropped);
        for outcome in Outcome::ALL {
            assert_eq!(copies.count(outcome), u64::from(outcome == Outcome::Dropped), "{outcome:?}");
        }
    }
}
