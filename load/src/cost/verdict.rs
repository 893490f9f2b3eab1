//! The bounds that Tidegate sets itself, and whether they hold.
//!
//! A ratio is of the medians, as everywhere on the page; failures are those of all rounds together, as one is too many.

use serde::{Deserialize, Serialize};

use super::beside::CHANGES;
use super::results::CostCell;

/// Of the changes that are due a second, so many have to be done for it to be the load that is meant.
const CHANGES_DONE: f64 = 0.95;

/// One bound.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) bound: f64,
    /// At least that much, and not at most.
    pub(crate) is_least: bool,
    /// `None` when it was not measured, or failed.
    pub(crate) value: Option<f64>,
}

impl Verdict {
    pub(crate) fn holds(&self) -> bool {
        self.value.is_some_and(|value| if self.is_least { value >= self.bound } else { value <= self.bound })
    }

    /// In the order in which they are told.
    pub(super) fn all(cases: &[CostCell]) -> Vec<Self> {
        let case = |id: &str| cases.iter().find(|case| case.cell.peer == id);
        let most = |what: &str, bound: f64, value: Option<f64>| Self {
            what: what.to_owned(),
            bound,
            is_least: false,
            value,
        };
        let changes = case("changes");
        vec![
            most(
                "CPU for each request without the lane, with split, key, guard and metrics: × bare pingora",
                1.15,
                case("no-lane-all").and_then(|case| case.against("cpu_us")),
            ),
            most(
                "p99 under full load during 100 changes of weights a second: × without them",
                1.1,
                changes.and_then(|case| case.against("full_p99_us")),
            ),
            Self {
                what: "changes of weights a second that were made in that".to_owned(),
                bound: f64::from(CHANGES) * CHANGES_DONE,
                is_least: true,
                value: changes.and_then(|case| case.cell.figure("changes_per_s")),
            },
            most("requests that failed in it, all rounds", 0.0, changes.and_then(|case| case.sum("failed"))),
            most(
                "requests that failed while 10,000 routes were reloaded, all rounds",
                0.0,
                case("reloads").and_then(|case| case.sum("failed")),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::results::Against;
    use super::*;
    use crate::measure::Figures;
    use crate::results::Ratio;

    fn case(id: &str, figures: &[(&str, f64)], ratios: &[(&str, f64)]) -> CostCell {
        let mut case = CostCell::new(id, id);
        let figures: Figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        case.cell.rounds = vec![figures.clone(), figures];
        case.cell.summarise();
        let ratio: BTreeMap<String, Ratio> = ratios
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Ratio { value: *value, min: *value, max: *value }))
            .collect();
        case.against = Some(Against { base: String::new(), ratio });
        case
    }

    #[test]
    fn bounds_hold_up_to_and_not_above() {
        let told = |lane: f64, p99: f64, rate: f64, failed: f64| -> Vec<bool> {
            let cases = [
                case("no-lane-all", &[], &[("cpu_us", lane)]),
                case("changes", &[("failed", failed), ("changes_per_s", rate)], &[("full_p99_us", p99)]),
                case("reloads", &[("failed", 0.0)], &[]),
            ];
            Verdict::all(&cases).iter().map(Verdict::holds).collect()
        };
        assert_eq!(told(1.15, 1.1, 95.0, 0.0), [true; 5]);
        assert_eq!(told(1.16, 1.11, 94.0, 0.5), [false, false, false, false, true]);
    }

    #[test]
    fn what_was_not_measured_or_failed_does_not_hold() {
        assert!(Verdict::all(&[]).iter().all(|verdict| verdict.value.is_none() && !verdict.holds()));
        let mut broken = case("reloads", &[("failed", 0.0)], &[]);
        broken.cell.failed = Some("it ended".to_owned());
        assert_eq!(Verdict::all(&[broken])[4].value, None);
    }
}
