//! The table of a row, in markdown.

use std::fmt::Write;

use crate::results::{Cell, Results, RowResults};

/// A proxy's core that is busier than this was the limit of what was done.
const BUSY: f64 = 0.95;

/// Less of the rate than this, and the proxy could not hold it.
const HELD: f64 = 0.98;

/// A row's table, with notes below it.
pub(super) fn table(results: &Results, row: &RowResults) -> String {
    let is_idle = row.id == "idle";
    let mut text = if is_idle {
        "| proxy | fresh, KiB each | × HAProxy | after a request, KiB each | × HAProxy | without any, MiB |\n\
         |---|--:|--:|--:|--:|--:|\n"
            .to_owned()
    } else {
        "| proxy | requests/s | CPU µs each | × HAProxy | p50 | p99 | p99.9 | p99 × HAProxy | peak MiB |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned()
    };
    let mut notes = Vec::new();
    for cell in &row.cells {
        let title = title(results, &cell.peer);
        if cell.has_figures() {
            let columns = if is_idle { idle(cell) } else { loaded(cell) };
            let _ = writeln!(text, "| {title} | {} |", columns.join(" | "));
        }
        notes.extend(remarks(cell).map(|remark| format!("- {title} {remark}.")));
    }
    if !notes.is_empty() {
        let _ = write!(text, "\n{}\n", notes.join("\n"));
    }
    text
}

pub(super) fn title<'a>(results: &'a Results, peer: &'a str) -> &'a str {
    results.peers.iter().find(|facts| facts.id == peer).map_or(peer, |facts| &facts.title)
}

fn loaded(cell: &Cell) -> Vec<String> {
    vec![
        rate(cell, 1.0),
        shown(cell, "cpu_us", |value| format!("{value:.1}")),
        ratio(cell, "cpu_us"),
        shown(cell, "p50_us", latency),
        shown(cell, "p99_us", latency),
        shown(cell, "p999_us", latency),
        ratio(cell, "p99_us"),
        shown(cell, "peak_mib", |value| format!("{value:.1}")),
    ]
}

/// Requests a second. Where the proxy had time left of its cores, the load was the limit, and the proxy's own lies above.
pub(super) fn rate(cell: &Cell, cores: f64) -> String {
    let is_limit = cell.figure("busy").is_some_and(|busy| busy >= BUSY * cores);
    let rps = cell.figure("rps").map_or_else(String::new, thousands);
    if is_limit { rps } else { format!("≥ {rps}") }
}

fn idle(cell: &Cell) -> Vec<String> {
    let two = |value: f64| format!("{value:.2}");
    vec![
        shown(cell, "fresh_kib", two),
        ratio(cell, "fresh_kib"),
        shown(cell, "used_kib", two),
        ratio(cell, "used_kib"),
        shown(cell, "base_mib", |value| format!("{value:.1}")),
    ]
}

pub(super) fn shown(cell: &Cell, name: &str, format: impl Fn(f64) -> String) -> String {
    cell.figure(name).map_or_else(|| "–".to_owned(), format)
}

pub(super) fn ratio(cell: &Cell, name: &str) -> String {
    cell.ratio.get(name).map_or_else(|| "–".to_owned(), |ratio| format!("{:.2}", ratio.value))
}

/// What has to be said of a cell beside its figures.
pub(super) fn remarks(cell: &Cell) -> impl Iterator<Item = String> {
    let mut remarks = Vec::new();
    if let Some(why) = &cell.left_out {
        remarks.push(format!("has no part in this row: {why}"));
    }
    if let Some(why) = &cell.failed {
        remarks.push(format!("**failed**, so there are no figures: {}", why.replace('\n', " ")));
    }
    if let Some(note) = &cell.note {
        remarks.push(note.clone());
    }
    if let Some(held) = cell.figure("held").filter(|held| *held < HELD) {
        remarks.push(format!("held only {:.0} % of the rate", held * 100.0));
    }
    if let Some(logged) = cell.figure("logged").filter(|logged| *logged < HELD) {
        remarks.push(format!("logged only {:.0} % of what it answered at most", logged * 100.0));
    }
    if let Some(seen) = cell.figure("guarded").filter(|seen| *seen < HELD) {
        remarks.push(format!("had a guard that saw only {:.0} % of the requests", seen * 100.0));
    }
    if let Some(share) = cell.figure("canary_share") {
        remarks.push(format!("sent {:.1} % to the pool that should have 10 %", share * 100.0));
    }
    remarks.into_iter()
}

/// A count with its thousands apart.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as a person reads them.
pub(super) fn latency(microseconds: f64) -> String {
    if microseconds < 1_000.0 {
        format!("{microseconds:.0} µs")
    } else {
        format!("{:.1} ms", microseconds / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn numbers_as_a_person_reads_them() {
        assert_eq!([0.0, 999.0, 1_000.0, 1_234_567.4].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([80.4, 999.4, 1_250.0].map(latency), ["80 µs", "999 µs", "1.2 ms"]);
    }

    #[test]
    fn a_table_has_who_has_figures_and_says_why_others_have_none() {
        let run = sample::run();
        let text = table(&run, &run.rows[0]);
        assert!(text.contains("| Tidegate | 33,007 | 30.3 | 2.00 |"), "{text}");
        assert!(text.contains("| HAProxy | 66,013 | 15.2 | – |"), "{text}");
        assert!(
            text.contains("- nginx **failed**, so there are no figures: an answer of status 502."),
            "{text}"
        );
        let text = table(&run, &run.rows[1]);
        assert!(text.contains("| Tidegate | 4.00 | 4.00 | 8.00 | 4.00 | 5.0 |"), "{text}");
        assert!(text.contains("- nginx has no part in this row: it has none."), "{text}");
    }
}
