//! What the section has found: a cell for each case, with ratios to the plain one and to its own base.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::verdict::Verdict;
use crate::measure::Figures;
use crate::results::{Cell, Ratio};

/// Figures whose ratios are of interest.
const RATIOS: [&str; 4] = ["cpu_us", "rps", "full_p99_us", "p99_us"];

/// One measurement.
pub(super) struct Measured {
    pub(super) figures: Figures,
    /// Why the first request failed, where some may.
    pub(super) why: Option<String>,
}

/// The section.
#[derive(Serialize, Deserialize)]
pub(crate) struct CostResults {
    pub(crate) cases: Vec<CostCell>,
    pub(crate) memory: Vec<CostCell>,
    pub(crate) workers: Vec<CostCell>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// One case.
#[derive(Serialize, Deserialize)]
pub(crate) struct CostCell {
    pub(crate) title: String,
    /// Its `peer` is the case, its ratios are to the first of them all.
    #[serde(flatten)]
    pub(crate) cell: Cell,
    /// Ratios to what it is compared with beside that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) against: Option<Against>,
}

/// A comparison of a case with its base.
#[derive(Serialize, Deserialize)]
pub(crate) struct Against {
    pub(crate) base: String,
    pub(crate) ratio: BTreeMap<String, Ratio>,
}

impl CostCell {
    pub(super) fn new(id: &str, title: &str) -> Self {
        let cell = Cell { peer: id.to_owned(), ..Cell::default() };
        Self { title: title.to_owned(), cell, against: None }
    }

    /// All rounds together.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.cell.figure(name)?;
        Some(self.cell.rounds.iter().filter_map(|round| round.get(name)).sum())
    }

    /// What the bounds are told of.
    pub(crate) fn against(&self, name: &str) -> Option<f64> {
        Some(self.against.as_ref()?.ratio.get(name)?.value)
    }
}

impl CostResults {
    /// Medians, spreads, ratios and verdicts of what was measured.
    pub(super) fn of(
        mut cases: Vec<CostCell>,
        mut memory: Vec<CostCell>,
        mut workers: Vec<CostCell>,
    ) -> Self {
        for cells in [&mut cases, &mut memory, &mut workers] {
            for case in cells.iter_mut() {
                case.cell.summarise();
            }
            compare_with_first(cells);
        }
        compare_with_bases(&mut cases);
        let verdicts = Verdict::all(&cases);
        Self { cases, memory, workers, verdicts }
    }

    /// What went wrong.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.cases.iter().chain(&self.memory).chain(&self.workers);
        all.filter_map(|case| Some((case.title.as_str(), case.cell.failed.as_deref()?)))
    }
}

fn compare_with_first(cells: &mut [CostCell]) {
    let Some((first, rest)) = cells.split_first_mut() else { return };
    for case in rest {
        case.cell.ratio = case.cell.against(&first.cell, &RATIOS);
    }
}

fn compare_with_bases(cases: &mut [CostCell]) {
    let found: Vec<Option<Against>> = cases
        .iter()
        .map(|case| {
            let base = Case::of(&case.cell.peer)?.facts().base?.facts().id;
            let other = cases.iter().find(|other| other.cell.peer == base)?;
            Some(Against { base: base.to_owned(), ratio: case.cell.against(&other.cell, &RATIOS) })
        })
        .collect();
    for (case, against) in cases.iter_mut().zip(found) {
        case.against = against;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, cpu: &[f64]) -> CostCell {
        let mut case = CostCell::new(id, id);
        case.cell.rounds = cpu.iter().map(|value| Figures::from([("cpu_us".to_owned(), *value)])).collect();
        case
    }

    #[test]
    fn ratios_to_the_plain_one_and_to_the_base() {
        let cases =
            vec![case("plain", &[10.0, 10.0]), case("split", &[20.0, 20.0]), case("guard", &[22.0, 24.0])];
        let results = CostResults::of(cases, Vec::new(), Vec::new());
        let guard = &results.cases[2];
        assert_eq!(guard.cell.ratio["cpu_us"], Ratio { value: 2.3, min: 2.2, max: 2.4 });
        assert_eq!(guard.against.as_ref().map(|against| against.base.as_str()), Some("split"));
        assert!((guard.against("cpu_us").expect("compared") - 1.15).abs() < 1e-9);
        assert!(results.cases[1].against.is_none(), "the plain one is all it is compared with");
        assert_eq!(guard.sum("cpu_us"), Some(46.0));
        let json = serde_json::to_string(&results).expect("JSON");
        let again: CostResults = serde_json::from_str(&json).expect("the same");
        assert_eq!(serde_json::to_string(&again).expect("JSON"), json);
    }
}
