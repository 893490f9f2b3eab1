//! Passive ejection: from the outcomes of requests to how long an endpoint is left out.
//!
//! Pure: times are arguments, in milliseconds of one monotonic clock. What the pool as a whole
//! allows (`max_percent`, never the last usable endpoint) is asked by [`crate::pool`].

use crate::config;

/// The ejection policy of a pool, compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that eject.
    pub consecutive_failures: u32,
    /// Length of the first ejection.
    pub base_ms: u64,
    /// The longest ejection.
    pub max_ms: u64,
    /// Percent of a pool's endpoints that may be ejected at once.
    pub max_percent: u8,
}

impl Policy {
    /// Compiles what was written.
    pub fn compile(written: &config::Eject) -> Self {
        Self {
            consecutive_failures: written.consecutive_failures,
            base_ms: written.base.as_ms(),
            max_ms: written.max.as_ms(),
            max_percent: written.max_percent,
        }
    }

    /// Whether one more of `endpoints` may be ejected when `ejected` already are.
    pub fn allows(&self, ejected: usize, endpoints: usize) -> bool {
        (ejected + 1) * 100 <= usize::from(self.max_percent) * endpoints
    }
}

/// An endpoint's past ejections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    times: u32,
    last_end_ms: u64,
}

impl Record {
    /// Ejects at `now_ms`: the new record, and when the ejection ends.
    ///
    /// Each ejection is twice as long as the one before, up to the policy's longest; an endpoint
    /// that has since done well for that long starts over.
    #[must_use]
    pub fn eject(self, now_ms: u64, policy: &Policy) -> (Self, u64) {
        let times = if now_ms.saturating_sub(self.last_end_ms) > policy.max_ms { 0 } else { self.times };
        let length = policy.base_ms.saturating_mul(1u64.checked_shl(times.min(32)).unwrap_or(u64::MAX));
        let end_ms = now_ms.saturating_add(length.min(policy.max_ms));
        (Self { times: times + 1, last_end_ms: end_ms }, end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { consecutive_failures: 5, base_ms: 10_000, max_ms: 30_000, max_percent: 50 };

    #[test]
    fn ejections_grow_and_start_over() {
        let mut record = Record::default();
        let mut now = 1_000_000;
        for length in [10_000, 20_000, 30_000, 30_000] {
            let end;
            (record, end) = record.eject(now, &POLICY);
            assert_eq!(end - now, length);
            now = end + 1;
        }
        let (_, end) = record.eject(now + 30_001, &POLICY);
        assert_eq!(end, now + 30_001 + 10_000);
    }

    #[test]
    fn shares_of_a_pool() {
        for (percent, ejected, endpoints, allowed) in [
            (50, 0, 1, false),
            (50, 0, 2, true),
            (50, 1, 2, false),
            (50, 0, 3, true),
            (50, 1, 3, false),
            (100, 0, 1, true),
            (0, 0, 9, false),
        ] {
            let policy = Policy { max_percent: percent, ..POLICY };
            assert_eq!(
                policy.allows(ejected, endpoints),
                allowed,
                "{percent}% of {endpoints}, {ejected} out"
            );
        }
    }
}
