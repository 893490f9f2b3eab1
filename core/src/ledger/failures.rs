//! The last failed requests of the candidate, for whoever asks why a rollout was stopped.
//!
//! The one thing in the ledger that allocates and has a lock. It is touched only by a request that
//! has failed, which never waits for it: when two come at once, one is not shown.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// So many are kept.
const KEPT: usize = 20;

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRequest {
    /// When it ended, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The route that took it.
    pub route: String,
    /// What was answered.
    pub status: u16,
    /// The word for the failure.
    pub reason: String,
    /// The endpoint last tried, if there was one.
    pub endpoint: Option<String>,
    /// Its id, as in the access log.
    pub request_id: String,
}

/// The last of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<FailedRequest>>);

impl Failures {
    /// Keeps one more, unless somebody else is at it.
    pub(super) fn note(&self, make: impl FnOnce() -> FailedRequest) {
        let Some(mut kept) = self.0.try_lock() else { return };
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(make());
    }

    /// All that are kept, oldest first.
    pub(super) fn read(&self) -> Vec<FailedRequest> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(time_ms: u64) -> FailedRequest {
        FailedRequest {
            time_ms,
            route: "shop".into(),
            status: 502,
            reason: "connect".into(),
            endpoint: Some("127.0.0.1:9001".into()),
            request_id: format!("id-{time_ms}"),
        }
    }

    #[test]
    fn the_last_twenty_are_kept() {
        let failures = Failures::default();
        assert_eq!(failures.read(), []);
        for time_ms in 0..25 {
            failures.note(|| failed(time_ms));
        }
        assert_eq!(failures.read(), (5..25).map(failed).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_to_note_one() {
        let failures = Failures::default();
        let reading = failures.0.lock();
        failures.note(|| unreachable!("somebody else is at it"));
        drop(reading);
        failures.note(|| failed(1));
        assert_eq!(failures.read().len(), 1);
    }
}
