//! What is counted while requests flow: lock-free, with no allocation once a status has been seen.
//!
//! A [`Tally`] belongs to one (route, split, pool), a [`Charges`] to one (split, pool). They live in
//! `Arc`s that outlive snapshots, so counts go on over reloads; what is gone from the configuration
//! is no longer reachable and so no longer shown. Stage before: the answer; next: the guard, metrics.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the duration histogram's buckets, in microseconds.
pub const DURATION_BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Counts by status code, 100 to 599; anything else is `other`.
#[derive(Debug, Default)]
pub struct StatusCounts {
    classes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
    other: AtomicU64,
}

impl StatusCounts {
    fn add(&self, status: u16) {
        let Some(class) = (status / 100).checked_sub(1).and_then(|c| self.classes.get(usize::from(c))) else {
            self.other.fetch_add(1, Relaxed);
            return;
        };
        let page = class.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
        page[usize::from(status % 100)].fetch_add(1, Relaxed);
    }

    /// Every status seen, with its count; `None` stands for `other`.
    pub fn seen(&self) -> Vec<(Option<u16>, u64)> {
        let mut seen = Vec::new();
        for (class, page) in (1u16..).zip(&self.classes) {
            let Some(page) = page.get() else { continue };
            for (rest, count) in (0u16..).zip(page.iter()) {
                let count = count.load(Relaxed);
                if count > 0 {
                    seen.push((Some(class * 100 + rest), count));
                }
            }
        }
        let other = self.other.load(Relaxed);
        if other > 0 {
            seen.push((None, other));
        }
        seen
    }
}

/// A histogram of durations over [`DURATION_BOUNDS_US`].
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; DURATION_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Durations {
    fn add(&self, us: u64) {
        let at = DURATION_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Counts per bucket, the last one above every bound, and the sum in microseconds.
    pub fn read(&self) -> ([u64; DURATION_BOUNDS_US.len() + 1], u64) {
        (std::array::from_fn(|at| self.buckets[at].load(Relaxed)), self.sum_us.load(Relaxed))
    }
}

/// Answers of one (route, split, pool).
#[derive(Debug, Default)]
pub struct Tally {
    /// By status.
    pub statuses: StatusCounts,
    /// By duration.
    pub durations: Durations,
}

impl Tally {
    /// Counts an answer.
    pub fn add(&self, status: u16, duration_us: u64) {
        self.statuses.add(status);
        self.durations.add(duration_us);
    }
}

/// Why a request counts as a failure of the pool that was first chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No usable endpoint when the pool was chosen.
    NoEndpoint,
    /// No connection to an endpoint.
    Connect,
    /// The connection broke before the answer.
    Reset,
    /// The endpoint took too long.
    Timeout,
    /// The answer ended before it was complete.
    Truncated,
    /// The endpoint answered 500 to 599.
    Status5xx,
    /// The endpoint's answer was not HTTP.
    Protocol,
    /// The gRPC call ended with a status for a fault of the server's, or with none.
    Grpc,
}

impl Failure {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::NoEndpoint,
        Self::Connect,
        Self::Reset,
        Self::Timeout,
        Self::Truncated,
        Self::Status5xx,
        Self::Protocol,
        Self::Grpc,
    ];

    /// The word used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Status5xx => "5xx",
            Self::Protocol => "protocol",
            Self::Grpc => "grpc",
        }
    }
}

/// Requests and failures charged to one (split, pool).
#[derive(Debug, Default)]
pub struct Charges {
    total: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Charges {
    /// Counts a request, and its failure.
    pub fn add(&self, failure: Option<Failure>) {
        self.total.fetch_add(1, Relaxed);
        if let Some(failure) = failure {
            self.failures[failure as usize].fetch_add(1, Relaxed);
        }
    }

    /// Requests.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Failures of one kind.
    pub fn failures(&self, reason: Failure) -> u64 {
        self.failures[reason as usize].load(Relaxed)
    }

    /// Failures of all kinds.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|count| count.load(Relaxed)).sum()
    }
}

/// How one try at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Ok,
    /// It failed so.
    Failed(Failure),
    /// The client went away, or broke the rules.
    Client,
}

/// Tries at a pool's endpoints, by outcome.
#[derive(Debug, Default)]
pub struct Attempts {
    ok: AtomicU64,
    client: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Attempts {
    /// Counts a try.
    pub fn add(&self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::Client => &self.client,
            Outcome::Failed(reason) => &self.failures[reason as usize],
        }
        .fetch_add(1, Relaxed);
    }

    /// Every outcome with its count.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let failures =
            Failure::ALL.into_iter().map(|f| (f.as_str(), self.failures[f as usize].load(Relaxed)));
        [("ok", self.ok.load(Relaxed)), ("client", self.client.load(Relaxed))].into_iter().chain(failures)
    }
}

/// Requests that were moved from one pool of a split to another.
#[derive(Debug, Default)]
pub struct Moved {
    /// Because the pool had no usable endpoint.
    pub fallbacks: AtomicU64,
    /// Because it had failed.
    pub rescues: Rescues,
}

/// Rescues, by how the rescuing try ended.
#[derive(Debug, Default)]
pub struct Rescues([AtomicU64; 3]);

impl Rescues {
    /// Counts one.
    pub fn add(&self, outcome: Outcome) {
        let at = match outcome {
            Outcome::Ok => 0,
            Outcome::Failed(_) => 1,
            Outcome::Client => 2,
        };
        self.0[at].fetch_add(1, Relaxed);
    }

    /// Every outcome with its count.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ["ok", "failed", "client"].into_iter().zip(&self.0).map(|(word, count)| (word, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_outside_the_range_are_other() {
        let tally = Tally::default();
        for status in [200, 200, 404, 599, 100, 0, 99, 600, 999] {
            tally.add(status, 1);
        }
        let seen = tally.statuses.seen();
        assert_eq!(seen, [(Some(100), 1), (Some(200), 2), (Some(404), 1), (Some(599), 1), (None, 4)]);
    }

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let durations = Durations::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001] {
            durations.add(us);
        }
        let (buckets, sum) = durations.read();
        assert_eq!((buckets[0], buckets[1], buckets[15], buckets[16]), (2, 1, 1, 1));
        assert_eq!(sum, 120_001_002);
    }

    #[test]
    fn failures_count_by_reason() {
        let charges = Charges::default();
        charges.add(None);
        charges.add(Some(Failure::Timeout));
        for reason in Failure::ALL {
            assert_eq!(charges.failures(reason), u64::from(reason == Failure::Timeout), "{reason:?}");
        }
        assert_eq!((charges.total(), charges.failed()), (2, 1));
    }
}
