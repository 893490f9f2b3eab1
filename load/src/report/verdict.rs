//! Where Tidegate is behind, and where ahead, said from the figures alone.
//!
//! A difference counts when the rounds' figures do not overlap and the medians differ by more than a twentieth: what
//! is less may be the order of two neighbours on another day.

use crate::results::{Cell, Results, RowResults};

use super::table::title;

/// The one that all this is about.
const OWN: &str = "tidegate";

/// Medians that are nearer than this are alike.
const ALIKE: f64 = 1.05;

/// Figures that are compared: all of them better when less.
const FIGURES: [(&str, &str); 4] = [
    ("cpu_us", "CPU for each request"),
    ("p99_us", "p99"),
    ("fresh_kib", "memory of a fresh connection"),
    ("used_kib", "memory of a used connection"),
];

/// Lines of a list: where Tidegate is behind.
pub(super) fn behind(results: &Results) -> Vec<String> {
    lines(results, |own, other| is_more(own, other).then(|| own.1 / other.1))
}

/// Lines of a list: where Tidegate is ahead; the ratio is how much more the other takes.
pub(super) fn ahead(results: &Results) -> Vec<String> {
    lines(results, |own, other| is_more(other, own).then(|| other.1 / own.1))
}

/// A figure's least, median and most.
type Spread = (f64, f64, f64);

fn is_more(one: Spread, other: Spread) -> bool {
    one.0 > other.2 && one.1 > other.1 * ALIKE
}

fn lines(results: &Results, compare: impl Fn(Spread, Spread) -> Option<f64>) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &results.rows {
        for (name, what) in FIGURES {
            let found = compared(results, row, name, &compare);
            if !found.is_empty() {
                lines.push(format!("- **{}**, {what}: {}", row.title, found.join(", ")));
            }
        }
    }
    lines
}

fn compared(
    results: &Results,
    row: &RowResults,
    name: &str,
    compare: impl Fn(Spread, Spread) -> Option<f64>,
) -> Vec<String> {
    let Some(own) = row.cell(OWN).and_then(|cell| spread(cell, name)) else { return Vec::new() };
    let others = row.cells.iter().filter(|cell| cell.peer != OWN);
    others
        .filter_map(|cell| {
            let ratio = compare(own, spread(cell, name)?)?;
            Some(format!("{} {ratio:.2} ×", title(results, &cell.peer)))
        })
        .collect()
}

fn spread(cell: &Cell, name: &str) -> Option<Spread> {
    let median = cell.figure(name)?;
    let [min, max] = cell.spread.get(name)?;
    Some((*min, median, *max))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn only_clear_differences_are_told() {
        let run = sample::run();
        assert_eq!(
            behind(&run),
            [
                "- **title of small**, CPU for each request: HAProxy 2.00 ×",
                "- **title of idle**, memory of a fresh connection: HAProxy 4.00 ×",
                "- **title of idle**, memory of a used connection: HAProxy 4.00 ×",
            ]
        );
        assert!(ahead(&run).is_empty());
        assert!(is_more((2.0, 3.0, 4.0), (1.0, 1.5, 1.9)));
        assert!(!is_more((2.0, 3.0, 4.0), (1.0, 1.5, 2.1)), "they overlap");
        assert!(!is_more((1.0, 1.0, 1.0), (0.99, 0.99, 0.99)), "too near");
    }
}
