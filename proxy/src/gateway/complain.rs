//! What the log says of tries that fail: the reason that the client is not told, and no flood of it.
//!
//! One line a second at most, with how many were not told since the last.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pingora_core::Error;
use tidegate_core::record::Failure;

use crate::context::Context;

const EVERY_MS: u64 = 1_000;

/// When the last line was written, and what has been left out since.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Complaints {
    /// Tells of a try that failed.
    pub(super) fn tell(&self, context: &Context, failure: Failure, error: &Error, now_ms: u64) {
        let last_ms = self.last_ms.load(Relaxed);
        let is_due = last_ms == 0 || now_ms.saturating_sub(last_ms) >= EVERY_MS;
        if !is_due || self.last_ms.compare_exchange(last_ms, now_ms.max(1), Relaxed, Relaxed).is_err() {
            self.left_out.fetch_add(1, Relaxed);
            return;
        }
        let pool = context.pool().map(|pool| &*pool.name).unwrap_or_default();
        let endpoint = context.last_endpoint().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            pool,
            endpoint,
            failure = failure.as_str(),
            left_out = self.left_out.swap(0, Relaxed),
            "a try failed: {error}"
        );
    }
}
