//! The page: what was measured on what, the tables, where Tidegate loses, and the method.

use std::fmt::Write;

use super::cost;
use super::table::{table, thousands};
use super::verdict::{ahead, behind};
use crate::results::{Results, RowResults};
use crate::row::Row;

/// What each figure means and how it came about. It is text for people, and not made from the run.
const METHOD: &str = include_str!("method.md");

/// Others had more of the machine, in cores, than this: the figures are not to be relied on.
const DISTURBED: f64 = 0.05;

/// The whole page, in markdown.
pub(super) fn page(results: &Results) -> String {
    let mut text = String::from(
        "# Performance\n\nWritten by `cargo xtask load`, which runs the same work through Tidegate and other proxies \
         on one machine. Figures of\nproxies age with their versions and machines; ratios within one run are what to \
         look at.\n\n",
    );
    warn(&mut text, results);
    facts(&mut text, results);
    if !results.rows.is_empty() {
        text.push_str("\n![CPU time for each request, by row and proxy](performance/chart.svg)\n");
        text.push_str("\n## Where Tidegate is behind\n\n");
        list(
            &mut text,
            "How many times as much Tidegate takes, where no two rounds overlap:",
            &behind(results),
        );
        text.push_str("\n## Where Tidegate is ahead\n\n");
        list(
            &mut text,
            "How many times as much the other takes, where no two rounds overlap:",
            &ahead(results),
        );
    }
    for row in &results.rows {
        section(&mut text, results, row);
    }
    if let Some(found) = &results.cost {
        cost::section(&mut text, results, found);
    }
    text.push('\n');
    text.push_str(METHOD);
    text
}

fn warn(text: &mut String, results: &Results) {
    if results.settings.is_quick {
        text.push_str("> A run with `--quick`, which is for trying: its figures are worth nothing.\n\n");
    }
    let rows = results.rows.iter().flat_map(|row| &row.cells);
    let cases = results.cost.iter().flat_map(|cost| cost.cases.iter().chain(&cost.workers));
    let others = rows.chain(cases.map(|case| &case.cell)).filter_map(|cell| cell.figure("others"));
    let most = others.fold(0.0, f64::max);
    if most > DISTURBED {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "> Something else ran on the machine meanwhile, for up to {:.0} % of a core: the figures are not to be relied \
             on.\n",
            most * 100.0
        );
    }
}

fn facts(text: &mut String, results: &Results) {
    let (machine, settings) = (&results.machine, &results.settings);
    let kind = if machine.is_virtual { ", a virtual machine" } else { "" };
    let versions: Vec<String> =
        results.peers.iter().map(|peer| format!("{} {}", peer.title, peer.version)).collect();
    let mut lines = vec![
        ("date", results.date.clone()),
        (
            "machine",
            format!(
                "{}, {} cores, {:.0} GiB{kind}; {}, Linux {}; load before the run {}",
                machine.processor,
                machine.cores,
                machine.memory_gib,
                machine.system,
                machine.kernel,
                machine.load_before
            ),
        ),
        ("proxies", versions.join(", ")),
        (
            "size",
            format!(
                "{} rounds; windows of {} s after {} s each",
                settings.rounds, settings.window_seconds, settings.warm_seconds
            ),
        ),
    ];
    if !results.missing.is_empty() {
        let missing: Vec<String> =
            results.missing.iter().map(|peer| format!("{} ({})", peer.title, peer.install)).collect();
        lines.push(("left out", missing.join("; ")));
    }
    text.push_str("| | |\n|---|---|\n");
    for (name, what) in lines {
        let _ = writeln!(text, "| {name} | {what} |");
    }
}

fn list(text: &mut String, introduction: &str, lines: &[String]) {
    if lines.is_empty() {
        text.push_str("Nowhere that the rounds tell apart.\n");
    } else {
        let _ = writeln!(text, "{introduction}\n\n{}", lines.join("\n"));
    }
}

fn section(text: &mut String, results: &Results, row: &RowResults) {
    let meaning = Row::of(&row.id).map_or("", Row::meaning);
    let _ = write!(text, "\n## {}\n\n{}", row.title, capitalised(meaning));
    if let Some(rate) = row.cells.iter().find_map(|cell| cell.figure("rate")) {
        let _ = write!(text, ". Latencies at {} requests a second", thousands(rate));
    } else if row.id == Row::Idle.id() {
        let _ = write!(text, ". {} connections", thousands(results.settings.idle_connections as f64));
    }
    let _ = write!(text, ".\n\n{}", table(results, row));
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_has_every_part_and_warns_of_what_cannot_be_relied_on() {
        let mut run = sample::run();
        let text = page(&run);
        for part in [
            "| proxies | Tidegate 1.2.3, HAProxy 1.2.3, nginx 1.2.3 |",
            "## Where Tidegate is behind\n\nHow many",
            "## Where Tidegate is ahead\n\nNowhere",
            "Latencies at 9,000 requests a second.",
            "10,000 connections.",
            "## What our own features cost",
            "## How it is measured",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("> "), "{text}");
        run.settings.is_quick = true;
        assert!(page(&run).contains("> A run with `--quick`"));
    }
}
