//! Evidence in words, for the log line and the person who reads it at night.

use super::{Assessment, Counts, Settings, State, TestName};

impl Assessment {
    /// The test whose evidence is nearest to its boundary, or furthest beyond.
    pub fn loudest(&self) -> Option<TestName> {
        let loudness = |e: f64, boundary: f64| e / boundary;
        let statistical =
            self.tests.iter().filter_map(|t| Some((t.name, loudness(t.log10_e?, t.log10_boundary?))));
        statistical.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
    }

    /// Why a test says what it says.
    pub fn explain(&self, name: TestName, state: &State, settings: &Settings) -> String {
        let (candidate, baseline) = (&state.candidate, &state.baseline);
        let failed = |counts: &Counts| format!("{} of {} requests", counts.failures, counts.requests);
        let what = match name {
            TestName::FailureRatio => {
                let of = |counts: &Counts| {
                    if settings.by_user {
                        let users = if counts.failed_users == 1 { "user" } else { "users" };
                        format!("{} {users}", counts.failed_users)
                    } else {
                        failed(counts)
                    }
                };
                let by = match settings.failure_ratio {
                    1.0 => "more often than".to_owned(),
                    ratio => format!("more than {ratio} times as often as"),
                };
                let failed = format!("{} against {}", of(candidate), of(baseline));
                format!("the candidate fails {by} the baseline: failures of {failed}")
            }
            TestName::FailureRate => format!(
                "the candidate's failure rate is above {}: {}",
                settings.max_failure_rate.unwrap_or_default(),
                failed(candidate)
            ),
            TestName::LatencyMax => format!(
                "too many of the candidate's requests take longer than latency.max: {} of {}",
                candidate.over_max, candidate.timed
            ),
            TestName::LatencyRatio => format!(
                "too many of the candidate's requests are slow beside the baseline's: {} of {}",
                candidate.over_ratio, candidate.timed_ratio
            ),
            TestName::Budget => {
                let budget = settings.failure_budget;
                format!("the failure budget of {budget} is spent: {} failed", failed(candidate))
            }
            TestName::Overall => {
                let whole = candidate.failures + baseline.failures;
                let requests = candidate.requests + baseline.requests;
                let limit = settings.overall_limit.unwrap_or_default();
                format!(
                    "both pools together fail more often than {limit:.4}: {whole} of {requests} requests; \
                     the candidate may be the cause, or not"
                )
            }
        };
        let test = self.tests.iter().find(|test| test.name == name);
        match test.and_then(|test| Some((test.log10_e?, test.log10_boundary?))) {
            // Nothing is written `-0.0`.
            Some((e, boundary)) => {
                format!(
                    "{what} (e-value 10^{:.1}, boundary 10^{boundary:.1})",
                    (e * 10.0).round() / 10.0 + 0.0
                )
            }
            None => what,
        }
    }
}
