//! What a run has found: every round's figures, their medians and spreads, and ratios to HAProxy's.
//!
//! This is the JSON as it is written, and all that the page and the chart are made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::CostResults;
use crate::machine::Machine;
use crate::measure::Figures;

/// The proxy whose figures all others' are divided by.
pub(crate) const REFERENCE: &str = "haproxy";

/// Figures whose ratios are of interest.
const RATIOS: [&str; 5] = ["cpu_us", "p99_us", "rps", "fresh_kib", "used_kib"];

/// A run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    /// The day, in UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) peers: Vec<PeerFacts>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) rows: Vec<RowResults>,
    /// Tidegate against itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) cost: Option<CostResults>,
}

/// How much was measured.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) warm_seconds: f64,
    pub(crate) window_seconds: f64,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) idle_connections: usize,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
    /// Shorter than figures to be relied on take.
    pub(crate) is_quick: bool,
}

/// A proxy that took part.
#[derive(Serialize, Deserialize)]
pub(crate) struct PeerFacts {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) version: String,
}

/// A proxy that was asked for and is not here.
#[derive(Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) install: String,
}

/// A row, with a cell for each proxy.
#[derive(Serialize, Deserialize)]
pub(crate) struct RowResults {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) cells: Vec<Cell>,
}

/// One proxy in one row.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) peer: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) note: Option<String>,
    /// Why it has no part in the row.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) left_out: Option<String>,
    /// What went wrong; there are no figures then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) failed: Option<String>,
    pub(crate) rounds: Vec<Figures>,
    pub(crate) median: Figures,
    /// The least and the most of all rounds.
    pub(crate) spread: BTreeMap<String, [f64; 2]>,
    pub(crate) ratio: BTreeMap<String, Ratio>,
}

/// A figure divided by the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// Of the medians.
    pub(crate) value: f64,
    /// The least and the most of the ratios within a round.
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Cell {
    /// Whether there is anything to show.
    pub(crate) fn has_figures(&self) -> bool {
        self.failed.is_none() && !self.rounds.is_empty()
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.median.get(name).copied().filter(|_| self.has_figures())
    }

    /// Medians and spreads, once all rounds are done.
    pub(crate) fn summarise(&mut self) {
        let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, value) in self.rounds.iter().flatten() {
            columns.entry(name.clone()).or_default().push(*value);
        }
        for (name, mut values) in columns {
            values.sort_unstable_by(f64::total_cmp);
            self.spread.insert(name.clone(), [values[0], values[values.len() - 1]]);
            self.median.insert(name, median(&values));
        }
    }

    /// Ratios of some figures to another's.
    pub(crate) fn against(&self, reference: &Self, names: &[&str]) -> BTreeMap<String, Ratio> {
        let mut ratios = BTreeMap::new();
        for name in names {
            let (Some(own), Some(other)) = (self.figure(name), reference.figure(name)) else { continue };
            let mut pairs: Vec<f64> = self
                .rounds
                .iter()
                .zip(&reference.rounds)
                .filter_map(|(own, other)| Some(own.get(*name)? / other.get(*name)?))
                .collect();
            pairs.sort_unstable_by(f64::total_cmp);
            let value = own / other;
            if let (true, [min, .., max] | [min @ max]) = (value.is_finite(), pairs.as_slice()) {
                ratios.insert((*name).to_owned(), Ratio { value, min: *min, max: *max });
            }
        }
        ratios
    }
}

impl RowResults {
    /// Medians, spreads and ratios, once all rounds are done.
    pub(crate) fn summarise(&mut self) {
        self.cells.iter_mut().for_each(Cell::summarise);
        let Some(at) = self.cells.iter().position(|cell| cell.peer == REFERENCE) else { return };
        let reference = self.cells.remove(at);
        self.cells.iter_mut().for_each(|cell| cell.ratio = cell.against(&reference, &RATIOS));
        self.cells.insert(at, reference);
    }

    pub(crate) fn cell(&self, peer: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.peer == peer)
    }
}

impl Results {
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&RowResults, &Cell, &str)> {
        self.rows.iter().flat_map(|row| {
            row.cells.iter().filter_map(move |cell| Some((row, cell, cell.failed.as_deref()?)))
        })
    }
}

/// The middle of what is sorted and not empty.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(peer: &str, cpu: &[f64]) -> Cell {
        let rounds = cpu.iter().map(|value| Figures::from([("cpu_us".to_owned(), *value)])).collect();
        Cell { peer: peer.to_owned(), rounds, ..Cell::default() }
    }

    #[test]
    fn medians_spreads_and_ratios() {
        let cells = vec![cell("tidegate", &[30.0, 20.0, 50.0]), cell(REFERENCE, &[10.0, 20.0, 20.0])];
        let mut row = RowResults { id: "small".to_owned(), title: String::new(), cells };
        row.summarise();
        let own = row.cell("tidegate").expect("is there");
        assert_eq!(own.figure("cpu_us"), Some(30.0));
        let [min, max] = own.spread["cpu_us"];
        assert!((min - 20.0).abs() < 1e-9 && (max - 50.0).abs() < 1e-9);
        assert_eq!(own.ratio["cpu_us"], Ratio { value: 1.5, min: 1.0, max: 3.0 });
        assert_eq!(row.cells[1].peer, REFERENCE, "the order stays");
        assert!(row.cells[1].ratio.is_empty());
    }

    #[test]
    fn a_failure_has_no_figures() {
        let mut broken = cell("tidegate", &[1.0]);
        broken.failed = Some("an answer of status 502".to_owned());
        let mut row = RowResults {
            id: "small".to_owned(),
            title: String::new(),
            cells: vec![broken, cell(REFERENCE, &[1.0])],
        };
        row.summarise();
        assert_eq!(row.cells[0].figure("cpu_us"), None);
        assert!(row.cells[0].ratio.is_empty());
        let even = [1.0, 2.0, 4.0, 9.0];
        assert!((median(&even) - 3.0).abs() < 1e-9);
    }
}
