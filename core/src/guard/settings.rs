//! What a guard is told to look at, compiled from a plan.

use serde::{Deserialize, Serialize};

use super::overall;
use crate::config::{self, Unit};

/// A test of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestName {
    /// The candidate fails more often than the baseline.
    FailureRatio,
    /// The candidate fails too often.
    #[serde(rename = "max_failure_rate")]
    FailureRate,
    /// The candidate is slower than a limit.
    LatencyMax,
    /// The candidate is slower than the baseline.
    LatencyRatio,
    /// The candidate has failed so many times.
    #[serde(rename = "failure_budget")]
    Budget,
    /// Both pools together fail more often than before.
    #[serde(rename = "overall_ratio")]
    Overall,
}

impl TestName {
    /// All tests, in the order in which they are shown and in which the first to be passed is named.
    pub const ALL: [Self; 6] = [
        Self::FailureRatio,
        Self::FailureRate,
        Self::LatencyMax,
        Self::LatencyRatio,
        Self::Budget,
        Self::Overall,
    ];

    /// The word used in the API, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRatio => "failure_ratio",
            Self::FailureRate => "max_failure_rate",
            Self::LatencyMax => "latency_max",
            Self::LatencyRatio => "latency_ratio",
            Self::Budget => "failure_budget",
            Self::Overall => "overall_ratio",
        }
    }

    /// Whether it has a part in the chance of a false alarm.
    pub fn is_statistical(self) -> bool {
        self != Self::Budget
    }
}

/// What to look at in durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySettings {
    /// Which quantile is bounded, above 0 and below 1.
    pub quantile: f64,
    /// Whether there is a limit written.
    pub has_max: bool,
    /// Whether there is a limit made from the baseline.
    pub has_ratio: bool,
}

/// A guard's settings: nothing of them changes while a rollout runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Abort after so many failed requests of the candidate; 0 = off.
    pub failure_budget: u64,
    /// The candidate may fail so many times as often as the baseline; not finite = off.
    pub failure_ratio: f64,
    /// The candidate may fail so often, above 0 and below 1.
    pub max_failure_rate: Option<f64>,
    /// Bounds on durations.
    pub latency: Option<LatencySettings>,
    /// Both pools together may fail so often, above 0 and below 1.
    pub overall_limit: Option<f64>,
    /// Whether failures are compared by user instead of by request.
    pub by_user: bool,
    /// Whether the split has a key, so that it can be told how many users are behind a finding.
    pub keyed: bool,
    /// The chance, over the whole rollout, of stopping one that is as it should be.
    pub false_alarm: f64,
}

impl Settings {
    /// Compiles what was written, for a split that is `keyed` or not and whose failure rate was
    /// `rate_before` the rollout.
    pub fn compile(guard: &config::Guard, keyed: bool, rate_before: f64) -> Self {
        Self {
            failure_budget: guard.failure_budget,
            failure_ratio: guard.failure_ratio,
            max_failure_rate: guard.max_failure_rate,
            latency: guard.latency.as_ref().map(|latency| LatencySettings {
                quantile: latency.quantile,
                has_max: latency.max.is_some(),
                has_ratio: latency.ratio.is_some(),
            }),
            overall_limit: overall::limit(guard.overall_ratio, rate_before),
            by_user: match guard.unit {
                Unit::Auto | Unit::User => keyed,
                Unit::Request => false,
            },
            keyed,
            false_alarm: guard.false_alarm,
        }
    }

    /// The tests that are on, in the order of [`TestName::ALL`].
    pub fn tests(&self) -> Vec<TestName> {
        TestName::ALL.into_iter().filter(|test| self.is_on(*test)).collect()
    }

    fn is_on(&self, test: TestName) -> bool {
        match test {
            TestName::FailureRatio => self.failure_ratio.is_finite(),
            TestName::FailureRate => self.max_failure_rate.is_some(),
            TestName::LatencyMax => self.latency.is_some_and(|latency| latency.has_max),
            TestName::LatencyRatio => self.latency.is_some_and(|latency| latency.has_ratio),
            TestName::Budget => self.failure_budget > 0,
            TestName::Overall => self.overall_limit.is_some(),
        }
    }

    /// What the logarithm of an e-value must reach: `false_alarm` is divided equally among the
    /// statistical tests that are on.
    pub fn ln_boundary(&self) -> f64 {
        let on = TestName::ALL.into_iter().filter(|test| test.is_statistical() && self.is_on(*test)).count();
        (on.max(1) as f64 / self.false_alarm).ln()
    }
}

#[cfg(test)]
impl Settings {
    /// One test at 0.001: the candidate fails no more often than the baseline.
    pub(crate) fn example() -> Self {
        Self {
            failure_budget: 0,
            failure_ratio: 1.0,
            max_failure_rate: None,
            latency: None,
            overall_limit: None,
            by_user: false,
            keyed: false,
            false_alarm: 0.001,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Guard, LatencyGuard};
    use crate::units::Span;

    #[test]
    fn a_plan_becomes_settings() {
        let plain = Settings::compile(&Guard::default(), true, 0.0);
        assert_eq!(plain.tests(), [TestName::FailureRatio, TestName::Overall]);
        assert!((plain.ln_boundary() - 2_000f64.ln()).abs() < 1e-12);
        assert_eq!(plain.overall_limit, Some(0.003));

        let everything = Guard {
            failure_budget: 10,
            max_failure_rate: Some(0.01),
            latency: Some(LatencyGuard { quantile: 0.99, max: Some(Span::ms(500)), ratio: Some(1.3) }),
            ..Guard::default()
        };
        let all = Settings::compile(&everything, false, 0.02);
        assert_eq!(all.tests(), TestName::ALL);
        assert!((all.ln_boundary() - 5_000f64.ln()).abs() < 1e-12, "the budget has no part in it");

        let nothing =
            Guard { failure_ratio: f64::INFINITY, overall_ratio: f64::INFINITY, ..Guard::default() };
        let none = Settings::compile(&nothing, false, 0.0);
        assert_eq!(none.tests(), []);
        assert!(none.ln_boundary().is_finite());
    }

    #[test]
    fn users_are_the_unit_where_there_is_a_key() {
        for (unit, keyed, by_user) in [
            (Unit::Auto, true, true),
            (Unit::Auto, false, false),
            (Unit::Request, true, false),
            (Unit::User, true, true),
            (Unit::User, false, false),
        ] {
            let settings = Settings::compile(&Guard { unit, ..Guard::default() }, keyed, 0.0);
            assert_eq!((settings.by_user, settings.keyed), (by_user, keyed), "{unit:?}, keyed {keyed}");
        }
    }

    #[test]
    fn names_are_those_of_the_contract() {
        for test in TestName::ALL {
            assert_eq!(serde_json::to_value(test).unwrap(), test.as_str());
        }
    }
}
