//! Whether a failed request may be tried again, and the budget that keeps retries from a storm.
//!
//! Over ten seconds, retries may be a percentage of the pool's requests plus ten a second (the
//! budget of linkerd and of Envoy). Two windows of five seconds each are kept, so that the count
//! is of the last five to ten seconds, without a lock and in fixed memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::RetryOn;
use crate::record::Failure;

const WINDOW_MS: u64 = 5_000;
const FLOOR: u64 = 100;

/// Requests and retries of a pool over the last seconds.
#[derive(Debug, Default)]
pub struct Budget {
    windows: [Window; 2],
}

/// One window: its number since the clock's start in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Window {
    requests: AtomicU64,
    retries: AtomicU64,
}

impl Budget {
    /// Counts a request.
    pub fn request(&self, now_ms: u64) {
        let epoch = now_ms / WINDOW_MS;
        add(&self.windows[slot(epoch)].requests, epoch);
    }

    /// Takes a retry out of the budget, if there is one left.
    pub fn try_retry(&self, now_ms: u64, percent: u8) -> bool {
        if percent == 100 {
            return true;
        }
        if percent == 0 {
            return false;
        }
        let epoch = now_ms / WINDOW_MS;
        let sum = |counter: fn(&Window) -> &AtomicU64| -> u64 {
            self.windows.iter().map(|w| recent(counter(w).load(Relaxed), epoch)).sum()
        };
        let allowed = sum(|w| &w.requests) * u64::from(percent) / 100 + FLOOR;
        if sum(|w| &w.retries) >= allowed {
            return false;
        }
        add(&self.windows[slot(epoch)].retries, epoch);
        true
    }
}

fn slot(epoch: u64) -> usize {
    usize::from(epoch % 2 == 1)
}

/// The count of a window, if it is the current one or the one before.
fn recent(packed: u64, epoch: u64) -> u64 {
    let age = (epoch & 0xffff_ffff).wrapping_sub(packed >> 32);
    if age <= 1 { packed & 0xffff_ffff } else { 0 }
}

fn add(counter: &AtomicU64, epoch: u64) {
    let head = (epoch & 0xffff_ffff) << 32;
    let step = |packed: u64| if packed & !0xffff_ffff == head { packed + 1 } else { head | 1 };
    // The closure always answers Some, so this cannot fail.
    let _ = counter.fetch_update(Relaxed, Relaxed, |packed| Some(step(packed)));
}

/// A route's retry rule, compiled.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Retries, not tries.
    pub attempts: u8,
    /// Percent of the pool's requests.
    pub budget_percent: u8,
    on: Vec<RetryOn>,
}

impl Rule {
    /// Compiles what was written.
    pub fn compile(written: &crate::config::Retry) -> Self {
        Self { attempts: written.attempts, budget_percent: written.budget_percent, on: written.on.clone() }
    }

    /// Whether the rule names this failure; `status` is the upstream's where there is one.
    pub fn names(&self, failure: Failure, status: Option<u16>) -> bool {
        self.on.iter().any(|on| match (on, failure) {
            (RetryOn::Connect, Failure::Connect)
            | (RetryOn::Reset, Failure::Reset)
            | (RetryOn::Timeout, Failure::Timeout)
            | (RetryOn::Any5xx, Failure::Status5xx) => true,
            (RetryOn::Status(wanted), Failure::Status5xx) => status == Some(*wanted),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_recent_requests_and_a_floor() {
        let budget = Budget::default();
        for _ in 0..1_000 {
            budget.request(10_000);
        }
        let granted = (0..1_000).filter(|_| budget.try_retry(10_000, 20)).count();
        assert_eq!(granted, 300);
        assert!(!budget.try_retry(14_999, 20));
        assert!(budget.try_retry(25_000, 20), "the windows have passed");
    }

    #[test]
    fn none_and_no_limit() {
        let budget = Budget::default();
        assert!(!budget.try_retry(0, 0));
        assert!((0..10_000).all(|_| budget.try_retry(0, 100)));
    }

    #[test]
    fn rules_name_failures() {
        let rule = Rule { attempts: 1, budget_percent: 20, on: vec![RetryOn::Connect, RetryOn::Status(503)] };
        assert!(rule.names(Failure::Connect, None));
        assert!(!rule.names(Failure::Reset, None));
        assert!(rule.names(Failure::Status5xx, Some(503)));
        assert!(!rule.names(Failure::Status5xx, Some(500)));
    }
}
