//! Counts what was sent and what came back, and keeps the latencies of the window that is measured.
//!
//! In a closed loop the window has the answers that came within it, as has the CPU time that is divided by them. In
//! an open loop it has the requests that were due within it, however late their answers come: else the slowest
//! would be left out. What failed is counted where a load goes on after it, at whatever time it was.

use std::time::Instant;

use parking_lot::Mutex;

use crate::histogram::Histogram;

/// Shared by all connections of a load.
pub(crate) struct Recorder {
    is_open: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    sent: u64,
    answered: u64,
    failed: u64,
    /// Of the first that failed.
    why: Option<String>,
    /// Answers that came within the window, whatever the kind of the loop.
    within: u64,
    from: Option<Instant>,
    until: Option<Instant>,
    latencies: Histogram,
}

/// What a load came to.
pub(crate) struct Outcome {
    /// Answers that came within the window.
    pub(crate) within: u64,
    /// How long the window was, in seconds.
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Requests without a right answer, connections that could not be made among them.
    pub(crate) failed: u64,
    /// Why the first of them failed.
    pub(crate) why: Option<String>,
    pub(crate) latencies: Histogram,
}

impl Recorder {
    pub(crate) fn new(is_open: bool) -> Self {
        let inner = Inner {
            sent: 0,
            answered: 0,
            failed: 0,
            why: None,
            within: 0,
            from: None,
            until: None,
            latencies: Histogram::new(),
        };
        Self { is_open, inner: Mutex::new(inner) }
    }

    /// The window begins.
    pub(crate) fn begin(&self) {
        self.inner.lock().from = Some(Instant::now());
    }

    /// The window ends.
    pub(crate) fn end(&self) {
        self.inner.lock().until = Some(Instant::now());
    }

    pub(crate) fn sent(&self) {
        self.inner.lock().sent += 1;
    }

    /// The whole of a right answer is here; `due` is when its request was meant to be sent.
    pub(crate) fn answered(&self, due: Instant) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.answered += 1;
        let is_within = |moment| {
            inner.from.is_some_and(|from| from <= moment) && inner.until.is_none_or(|end| moment < end)
        };
        let counts = is_within(if self.is_open { due } else { now });
        inner.within += u64::from(is_within(now));
        if counts {
            inner.latencies.record(now.saturating_duration_since(due));
        }
    }

    /// A request got no right answer; how many there were so far.
    pub(crate) fn failed(&self, why: &anyhow::Error) -> u64 {
        let mut inner = self.inner.lock();
        inner.failed += 1;
        inner.why.get_or_insert_with(|| format!("{why:#}"));
        inner.failed
    }

    /// Everything, once all connections have ended.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut inner = self.inner.lock();
        let seconds = match (inner.from, inner.until) {
            (Some(from), Some(until)) => (until - from).as_secs_f64(),
            _ => 0.0,
        };
        Outcome {
            within: inner.within,
            seconds,
            sent: inner.sent,
            answered: inner.answered,
            failed: inner.failed,
            why: inner.why.take(),
            latencies: std::mem::replace(&mut inner.latencies, Histogram::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_open_loop_keeps_who_was_due_within_the_window_though_late() {
        for (is_open, kept) in [(true, 1), (false, 0)] {
            let recorder = Recorder::new(is_open);
            recorder.begin();
            let due = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
            recorder.end();
            recorder.sent();
            recorder.answered(due);
            let outcome = recorder.outcome();
            assert_eq!(outcome.latencies.count(), kept, "open: {is_open}");
            assert_eq!((outcome.within, outcome.sent, outcome.answered), (0, 1, 1));
        }
    }

    #[test]
    fn failures_are_counted_and_the_first_is_told() {
        let recorder = Recorder::new(false);
        for why in ["one", "two"] {
            recorder.failed(&anyhow::anyhow!(why));
        }
        let outcome = recorder.outcome();
        assert_eq!((outcome.failed, outcome.why.as_deref()), (2, Some("one")));
    }

    #[test]
    fn what_came_before_the_window_is_counted_but_not_kept() {
        let recorder = Recorder::new(false);
        recorder.sent();
        recorder.answered(Instant::now());
        recorder.begin();
        recorder.end();
        let outcome = recorder.outcome();
        assert_eq!((outcome.within, outcome.answered, outcome.latencies.count()), (0, 1, 0));
    }
}
