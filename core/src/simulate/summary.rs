//! Many runs as a few figures.

use super::Outcome;

/// The middle and the far end of what runs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Half of the runs stay at or below it.
    pub median: u64,
    /// 95 % of the runs stay at or below it.
    pub p95: u64,
}

/// What many runs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// Of these, aborted.
    pub aborted: u64,
    /// Of these, paused.
    pub paused: u64,
    /// The time to the abort, in milliseconds, where so many runs were aborted.
    pub median_ms: Option<u64>,
    /// The time to the abort, in milliseconds, where so many runs were aborted.
    pub p95_ms: Option<u64>,
    /// Failed requests of the candidate, over all runs.
    pub failed_requests: Spread,
    /// Users who met a failure in the candidate, over all runs; without users, failed requests.
    pub failed_users: Spread,
}

impl Summary {
    /// Sums up; all is 0 of no runs.
    pub fn of(outcomes: &[Outcome]) -> Self {
        // A run without an abort took longer than any.
        let times = sorted(outcomes, |outcome| outcome.abort.map_or(u64::MAX, |verdict| verdict.at_ms));
        let time = |quantile| at(&times, quantile).filter(|ms| *ms != u64::MAX);
        let spread = |what: fn(&Outcome) -> u64| {
            let values = sorted(outcomes, what);
            let value = |quantile| at(&values, quantile).unwrap_or_default();
            Spread { median: value(0.5), p95: value(0.95) }
        };
        Self {
            runs: outcomes.len() as u64,
            aborted: outcomes.iter().filter(|outcome| outcome.abort.is_some()).count() as u64,
            paused: outcomes.iter().filter(|outcome| outcome.pause.is_some()).count() as u64,
            median_ms: time(0.5),
            p95_ms: time(0.95),
            failed_requests: spread(|outcome| outcome.candidate.failures),
            failed_users: spread(|outcome| outcome.candidate.failed_keys),
        }
    }
}

fn sorted(outcomes: &[Outcome], what: impl Fn(&Outcome) -> u64) -> Vec<u64> {
    let mut values: Vec<u64> = outcomes.iter().map(what).collect();
    values.sort_unstable();
    values
}

/// The smallest value that such a part of all does not pass.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among them")]
fn at(sorted: &[u64], quantile: f64) -> Option<u64> {
    let place = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::guard::{Counts, TestName};

    #[test]
    fn runs_without_an_abort_count_as_longer_than_any() {
        let run = |at_ms: Option<u64>| Outcome {
            abort: at_ms.map(|at_ms| Verdict { at_ms, test: TestName::FailureRatio }),
            candidate: Counts { failures: at_ms.unwrap_or(9), failed_keys: 2, ..Counts::default() },
            ..Outcome::default()
        };
        let outcomes: Vec<Outcome> = (1..=18).map(Some).chain([None, None]).map(run).collect();
        let summary = Summary::of(&outcomes);
        assert_eq!((summary.runs, summary.aborted, summary.paused), (20, 18, 0));
        assert_eq!((summary.median_ms, summary.p95_ms), (Some(10), None));
        assert_eq!(summary.failed_requests, Spread { median: 9, p95: 17 });
        assert_eq!(summary.failed_users, Spread { median: 2, p95: 2 });
        let none = Summary::of(&[]);
        assert_eq!((none.runs, none.median_ms), (0, None));
    }
}
