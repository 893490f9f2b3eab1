//! What the visitors saw: answers by version over the last seconds, and totals.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What "now" means in the table.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// A complete answer.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Its status.
    pub(super) status: u16,
    /// The version that made it; `None` when the proxy did.
    pub(super) version: Option<String>,
}

#[derive(Debug)]
struct Sample {
    /// When the request was sent: what was sent after a change is decided by it.
    at: Instant,
    took_us: u32,
    failed: bool,
    version: Option<String>,
}

/// Answers counted.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    samples: VecDeque<Sample>,
    answered: u64,
    lost: u64,
    errors: u64,
    by_version: BTreeMap<String, u64>,
    /// The version that each visitor saw last.
    last_seen: HashMap<u32, String>,
    moved: u64,
}

/// One version's part of the last seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Of the answers that a version made, a fraction of 1.
    pub(super) share: f64,
    /// Answers a second.
    pub(super) per_second: f64,
    /// Answers from 500 on.
    pub(super) errors: u64,
    /// The median time to the last byte.
    pub(super) p50_us: u32,
    /// The time that one answer in a hundred took at least.
    pub(super) p99_us: u32,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            samples: VecDeque::new(),
            answered: 0,
            lost: 0,
            errors: 0,
            by_version: BTreeMap::new(),
            last_seen: HashMap::new(),
            moved: 0,
        }
    }

    /// Counts the answer to a request sent at that time, or its loss.
    pub(super) fn add(&mut self, visitor: u32, took_us: u32, outcome: Option<Outcome>, at: Instant) {
        let Some(Outcome { status, version }) = outcome else {
            self.lost += 1;
            return;
        };
        let failed = status >= 500;
        self.answered += 1;
        self.errors += u64::from(failed);
        if let Some(version) = &version {
            *self.by_version.entry(version.clone()).or_default() += 1;
            let before = self.last_seen.insert(visitor, version.clone());
            self.moved += u64::from(before.is_some_and(|before| before != *version));
        }
        self.samples.push_back(Sample { at, took_us, failed, version });
    }

    /// The last seconds by version, but nothing from before `since`, the last change; under `None`
    /// answers that the proxy made.
    pub(super) fn window(&mut self, since: Instant, now: Instant) -> BTreeMap<Option<String>, Seen> {
        let start = now.checked_sub(WINDOW).map_or(since, |start| start.max(since)).max(self.began);
        while self.samples.front().is_some_and(|sample| now.duration_since(sample.at) > WINDOW) {
            self.samples.pop_front();
        }
        let seconds = now.duration_since(start).as_secs_f64().max(0.001);
        let mut times: BTreeMap<Option<&str>, (Vec<u32>, u64)> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.at >= start) {
            let (times, errors) = times.entry(sample.version.as_deref()).or_default();
            times.push(sample.took_us);
            *errors += u64::from(sample.failed);
        }
        let by_versions: usize = times.iter().filter(|(v, _)| v.is_some()).map(|(_, (t, _))| t.len()).sum();
        let seen = times.into_iter().map(|(version, (mut times, errors))| {
            times.sort_unstable();
            let share = version.map_or(0.0, |_| times.len() as f64 / by_versions as f64);
            let seen = Seen {
                share,
                per_second: times.len() as f64 / seconds,
                errors,
                p50_us: quantile(&times, 50),
                p99_us: quantile(&times, 99),
            };
            (version.map(str::to_owned), seen)
        });
        seen.collect()
    }

    /// Requests whose answer did not come, or broke off.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Complete answers.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Complete answers from 500 on.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Answers by version, over all of the time.
    pub(super) fn by_version(&self) -> &BTreeMap<String, u64> {
        &self.by_version
    }

    /// How often a visitor got another version than the time before.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }
}

/// The nearest-rank quantile of sorted times.
fn quantile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: Option<&str>, status: u16) -> Outcome {
        Outcome { status, version: version.map(str::to_owned) }
    }

    #[test]
    fn the_window_forgets_and_the_totals_do_not() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut tally = Tally::new(began);
        tally.add(1, 9, Some(answer(Some("canary"), 200)), at(0));
        for us in 1..=100 {
            tally.add(2, us, Some(answer(Some("stable"), if us == 7 { 500 } else { 200 })), at(4_000));
        }
        tally.add(1, 9, Some(answer(Some("stable"), 200)), at(4_500));
        tally.add(3, 1, Some(answer(None, 503)), at(5_000));
        tally.add(4, 1, None, at(5_000));
        let seen = tally.window(began, at(6_000));
        let stable = Seen { share: 1.0, per_second: 20.2, errors: 1, p50_us: 50, p99_us: 99 };
        assert_eq!(seen[&Some("stable".into())], stable);
        let own = Seen { share: 0.0, per_second: 0.2, errors: 1, p50_us: 1, p99_us: 1 };
        assert_eq!(seen[&None], own);
        assert_eq!(seen.len(), 2);
        let since_a_change = tally.window(at(4_600), at(6_000));
        assert_eq!(since_a_change.keys().collect::<Vec<_>>(), [&None]);
        let totals = (tally.answered(), tally.lost(), tally.errors(), tally.moved());
        assert_eq!(totals, (103, 1, 2, 1));
        assert_eq!(tally.by_version()["canary"], 1);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        for (times, percent, value) in
            [(&[][..], 50, 0), (&[7], 99, 7), (&[1, 2], 50, 1), (&[1, 2, 3], 50, 2), (&[1, 2, 3], 99, 3)]
        {
            assert_eq!(quantile(times, percent), value, "{times:?}");
        }
    }
}
