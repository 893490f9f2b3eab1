//! The section on what Tidegate's own features cost: bounds, cases, comparisons, memory, workers.

use std::fmt::Write;

use super::page::capitalised;
use super::table::{latency, rate, ratio, remarks, shown, thousands};
use crate::cost::{self, CostCell, CostResults, Verdict};
use crate::results::Results;

/// Appends all of it.
pub(super) fn section(text: &mut String, results: &Results, cost: &CostResults) {
    text.push_str(
        "\n## What our own features cost\n\n\
         Tidegate against itself: the small `GET` of 2,000 users to 1,000 hosts over 64 kept connections, the same in all\n\
         cases, whether they look at it or not.\n\n\
         ![CPU time for each request, by what Tidegate does with it](performance/cost.svg)\n\n",
    );
    bounds(text, cost);
    cases(text, cost);
    comparisons(text, cost);
    beside(text, cost);
    memory(text, cost);
    workers(text, results, cost);
}

/// A value and its bound.
pub(crate) fn compared(verdict: &Verdict) -> String {
    let side = if verdict.is_least { "at least" } else { "at most" };
    // Three digits, so that what is just above a bound is seen to be.
    let value = verdict.value.map_or_else(|| "not measured".to_owned(), |value| short(value, 3));
    format!("{value}, {side} {}", short(verdict.bound, 2))
}

/// With so many digits at most, and no zeros behind them.
fn short(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn bounds(text: &mut String, cost: &CostResults) {
    text.push_str("| bound | measured | holds |\n|---|--:|---|\n");
    for verdict in &cost.verdicts {
        let holds = if verdict.holds() { "yes" } else { "**no**" };
        line(text, &[verdict.what.clone(), compared(verdict), holds.to_owned()]);
    }
}

fn cases(text: &mut String, cost: &CostResults) {
    text.push('\n');
    for case in &cost.cases {
        let meaning = cost::meaning(&case.cell.peer).map_or_else(String::new, capitalised);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- *{}*: {meaning}.", case.title);
    }
    if let Some(rate) = cost.cases.iter().find_map(|case| case.cell.figure("rate")) {
        let _ = write!(
            text,
            "\np50 and p99 at {} requests a second, p99 at most as fast as answers come.\n",
            thousands(rate)
        );
    }
    text.push_str(
        "\n| case | requests/s | CPU µs each | × plain | p50 | p99 | p99 × plain | p99 at most | × plain | peak MiB |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for case in cost.cases.iter().filter(|case| case.cell.has_figures()) {
        let cell = &case.cell;
        let columns = [
            case.title.clone(),
            rate(cell, 1.0),
            shown(cell, "cpu_us", |value| format!("{value:.1}")),
            ratio(cell, "cpu_us"),
            shown(cell, "p50_us", latency),
            shown(cell, "p99_us", latency),
            ratio(cell, "p99_us"),
            shown(cell, "full_p99_us", latency),
            ratio(cell, "full_p99_us"),
            shown(cell, "peak_mib", |value| format!("{value:.1}")),
        ];
        line(text, &columns);
    }
    notes(text, &cost.cases);
}

/// What has to be said beside figures.
fn notes(text: &mut String, cases: &[CostCell]) {
    let lines: Vec<String> = cases
        .iter()
        .flat_map(|case| {
            remarks(&case.cell).map(move |remark| format!("- {} {remark}.", capitalised(&case.title)))
        })
        .collect();
    if !lines.is_empty() {
        let _ = write!(text, "\n{}\n", lines.join("\n"));
    }
}

fn comparisons(text: &mut String, cost: &CostResults) {
    text.push_str(
        "\n| case | against | CPU × | requests/s × | p99 × | p99 at most × |\n|---|---|--:|--:|--:|--:|\n",
    );
    for case in &cost.cases {
        let Some(against) = &case.against else { continue };
        let base = cost.cases.iter().find(|other| other.cell.peer == against.base);
        let of = |name| case.against(name).map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        let columns = [
            case.title.clone(),
            base.map_or_else(String::new, |base| base.title.clone()),
            of("cpu_us"),
            of("rps"),
            of("full_p99_us"),
        ];
        let [title, base, cpu, rps, full] = columns;
        line(text, &[title, base, cpu, rps, of("p99_us"), full]);
    }
}

/// What went on beside the load: each with how much was done at full load, how long it took, and what failed.
fn beside(text: &mut String, cost: &CostResults) {
    text.push_str("\n| beside the load | done, all rounds | each, ms | the longest, ms | failed requests |\n|---|--:|--:|--:|--:|\n");
    for case in &cost.cases {
        for (what, count, each, longest) in [
            ("changes of weights", "changes", "change_ms", "change_max_ms"),
            ("reloads, until in force", "reloads", "reload_ms", "reload_max_ms"),
            ("reads of `/metrics`", "scrapes", "scrape_ms", ""),
        ] {
            let Some(done) = case.sum(count) else { continue };
            let extra = case
                .cell
                .figure("scrape_kib")
                .map_or_else(String::new, |size| format!(", {size:.0} KiB each"));
            let failed = case.sum("failed").map_or_else(|| "0".to_owned(), thousands);
            // The longest of all rounds, and not the middle one's.
            let most = case
                .cell
                .spread
                .get(longest)
                .map_or_else(|| "–".to_owned(), |[_, most]| format!("{most:.1}"));
            let one = shown(&case.cell, each, |value| format!("{value:.1}"));
            line(text, &[format!("{}: {what}{extra}", case.title), thousands(done), one, most, failed]);
        }
    }
}

fn memory(text: &mut String, cost: &CostResults) {
    text.push_str(
        "\n| memory of its own | KiB each | of | MiB without | MiB with all |\n|---|--:|--:|--:|--:|\n",
    );
    let two = |value: f64| format!("{value:.2}");
    let mib = |value: f64| format!("{value:.1}");
    for case in &cost.memory {
        for (name, what) in [("each_kib", ""), ("fresh_kib", ", fresh"), ("used_kib", ", after a request")] {
            if case.cell.figure(name).is_none() {
                continue;
            }
            let columns = [
                format!("{}{what}", capitalised(&case.title)),
                shown(&case.cell, name, two),
                shown(&case.cell, "count", thousands),
                shown(&case.cell, "base_mib", mib),
                shown(&case.cell, "large_mib", mib),
            ];
            line(text, &columns);
        }
    }
    notes(text, &cost.memory);
}

fn workers(text: &mut String, results: &Results, cost: &CostResults) {
    text.push_str(
        "\n| workers | requests/s | × 1 worker | CPU µs each | × 1 worker | cores busy | load's core busy | p99 at most | MiB of its own |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for case in cost.workers.iter().filter(|case| case.cell.has_figures()) {
        let cell = &case.cell;
        let columns = [
            case.title.clone(),
            rate(cell, cell.figure("workers").unwrap_or(1.0)),
            ratio(cell, "rps"),
            shown(cell, "cpu_us", |value| format!("{value:.1}")),
            ratio(cell, "cpu_us"),
            shown(cell, "busy", |value| format!("{value:.2}")),
            shown(cell, "load_busy", |value| format!("{value:.2}")),
            shown(cell, "full_p99_us", latency),
            shown(cell, "private_mib", |value| format!("{value:.1}")),
        ];
        line(text, &columns);
    }
    notes(text, &cost.workers);
    let sharing: Vec<&str> = cost
        .workers
        .iter()
        .filter(|case| case.cell.figure("shares").is_some_and(|shares| shares > 0.0))
        .map(|case| case.title.as_str())
        .collect();
    if !sharing.is_empty() {
        let _ = write!(
            text,
            "\nThe machine has {} cores: with {} the last worker shares its core with the load generator and the upstreams,\n\
             which take from it what they need. That line says what the full machine does, and not how workers grow.\n",
            results.machine.cores,
            sharing.join(", ")
        );
    }
}

fn line(text: &mut String, columns: &[String]) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_table_is_there_and_a_bound_that_does_not_hold_is_told() {
        let run = sample::run();
        let mut text = String::new();
        section(&mut text, &run, run.cost.as_ref().expect("in the sample"));
        for part in [
            "× bare pingora | 1.2, at most 1.15 | **no** |",
            "× without them | 1, at most 1.1 | yes |",
            "all rounds | 0, at most 0 | yes |",
            "| plain | 50,000 | 20.0 | – |",
            "| no lane, plain | 40,000 | 25.0 | 1.25 |",
            "| no lane, plain | bare pingora |",
            "changes of weights | 600 |",
            "| A route | 1.50 | 10,000 |",
            "| A client connection, after a request | 3.00 |",
            "| 2 workers | ≥ 60,000 | 1.20 |",
            "with 2 workers the last worker shares",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
