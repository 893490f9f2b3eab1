//! What Tidegate's own features cost: Tidegate against itself, and without its lane against bare pingora.
//!
//! [`case`] says what is compared, [`config`] with which file, [`measure`] is one measurement; [`beside`] is what goes
//! on meanwhile and [`rollout`] what is guarded. [`memory`] and [`workers`] are two tables of their own. Rounds go
//! through the cases forwards, then backwards, as the rows go through the proxies; all comes to [`results`] and is held
//! against bounds in [`verdict`].

mod admin;
mod beside;
mod case;
mod config;
mod measure;
mod memory;
mod results;
mod rollout;
mod verdict;
mod workers;

use std::fmt::Write;

use anyhow::Result;

use crate::measure::Bench;
use crate::peer::Found;
use crate::progress::Progress;
use crate::run::{SHARE_OF_SLOWEST, order, round_down, told};
use case::Case;
use measure::Programs;
use memory::Kind;
use results::Measured;

pub(crate) use results::{CostCell, CostResults};
pub(crate) use verdict::Verdict;

/// Measures all of it on a machine of so many cores; `None` when Tidegate is not among the proxies.
pub(crate) async fn run(rounds: usize, bench: &Bench, found: &[Found], cores: usize) -> Option<CostResults> {
    let of = |id: &str| found.iter().find(|found| found.peer.id == id);
    let programs = Programs { tidegate: of("tidegate")?, bare: of("pingora") };
    println!("\n    What our own features cost");
    let is_there = |case: &Case| *case != Case::Bare || programs.bare.is_some();
    let all: Vec<Case> = Case::ALL.into_iter().filter(is_there).collect();
    let most = workers::most(cores);
    let mut turns =
        Turns { rounds, progress: Progress::of(all.len() + rounds * (all.len() + Kind::ALL.len() + most)) };
    let cases = cases(bench, &programs, &all, &mut turns).await;
    let mut memory: Vec<CostCell> =
        Kind::ALL.iter().map(|kind| CostCell::new(kind.id(), kind.title())).collect();
    turns.take("memory", &mut memory, async |at| Kind::ALL[at].measure(bench, programs.tidegate).await).await;
    let mut growth: Vec<CostCell> =
        (1..=most).map(|count| CostCell::new(&format!("workers-{count}"), &workers_title(count))).collect();
    turns
        .take("workers", &mut growth, async |at| {
            workers::measure(bench, programs.tidegate, at + 1, cores).await
        })
        .await;
    Some(CostResults::of(cases, memory, growth))
}

fn workers_title(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// The meaning of a case, for the page.
pub(crate) fn meaning(id: &str) -> Option<&'static str> {
    Some(Case::of(id)?.facts().meaning)
}

/// The cases, at a rate that all of them hold.
async fn cases(bench: &Bench, programs: &Programs<'_>, all: &[Case], turns: &mut Turns) -> Vec<CostCell> {
    let mut cells: Vec<CostCell> =
        all.iter().map(|case| case.facts()).map(|facts| CostCell::new(facts.id, facts.title)).collect();
    let mut slowest = f64::INFINITY;
    for (case, cell) in all.iter().zip(&mut cells) {
        turns.progress.next();
        match measure::trial(bench, programs, *case).await {
            Ok(rate) => {
                slowest = slowest.min(rate);
                turns.progress.tell("cost", "trial", &format!("{:<30}", cell.title), &format!("{rate:.0}/s"));
            }
            Err(why) => fail(cell, &why),
        }
    }
    let rate = round_down(slowest * SHARE_OF_SLOWEST);
    turns.take("cost", &mut cells, async |at| measure::measure(bench, programs, all[at], rate).await).await;
    cells
}

/// Rounds, and how far they are.
struct Turns {
    rounds: usize,
    progress: Progress,
}

impl Turns {
    /// Measures each of some things in each round, in turn.
    async fn take(
        &mut self,
        id: &str,
        cells: &mut [CostCell],
        measure: impl AsyncFn(usize) -> Result<Measured>,
    ) {
        for round in 0..self.rounds {
            for at in order(cells.len(), round) {
                self.progress.next();
                let cell = &mut cells[at];
                if cell.cell.failed.is_some() {
                    continue;
                }
                match measure(at).await {
                    Ok(measured) => {
                        let round = format!("round {} of {}", round + 1, self.rounds);
                        self.progress.tell(id, &round, &format!("{:<30}", cell.title), &line(&measured));
                        cell.cell.rounds.push(measured.figures);
                        if let Some(why) = measured.why {
                            cell.cell.note.get_or_insert_with(|| format!("lost a request: {why}"));
                        }
                    }
                    Err(why) => fail(cell, &why),
                }
            }
        }
    }
}

fn fail(cell: &mut CostCell, why: &anyhow::Error) {
    println!("    FAILED: cost, {}: {why:#}", cell.title);
    cell.cell.failed = Some(format!("{why:#}"));
}

/// The figures that tell whether all is well.
fn line(measured: &Measured) -> String {
    let figure = |name: &str| measured.figures.get(name).copied();
    let mut text = match (figure("each_kib"), figure("workers")) {
        (Some(each), _) => format!("{each:.2} KiB each"),
        (_, Some(_)) => format!("{:>7.0}/s", figure("rps").unwrap_or_default()),
        _ => told(&measured.figures),
    };
    for (name, what) in [("changes_per_s", "changes/s"), ("reload_ms", "ms a reload"), ("failed", "failed")] {
        if let Some(value) = figure(name) {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {value:.0} {what}");
        }
    }
    text
}

/// A small section, for tests of what is made from it.
#[cfg(test)]
pub(crate) fn sample() -> CostResults {
    let cell = |id: &str, title: &str, figures: &[(&str, f64)]| {
        let mut cell = CostCell::new(id, title);
        let figures: crate::measure::Figures =
            figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        cell.cell.rounds = vec![figures.clone(), figures];
        cell
    };
    let loaded = |id: &str, cpu: f64, more: &[(&str, f64)]| {
        let mut figures = vec![("cpu_us", cpu), ("rps", 1e6 / cpu), ("busy", 0.99), ("rate", 9_000.0)];
        figures.extend([("p50_us", 100.0), ("p99_us", 400.0), ("full_p99_us", 4_000.0)]);
        figures.extend(more);
        cell(id, Case::of(id).map_or(id, |case| case.facts().title), &figures)
    };
    let changes = [("changes", 300.0), ("changes_per_s", 100.0), ("change_ms", 1.0), ("failed", 0.0)];
    let cases = vec![
        loaded("plain", 20.0, &[]),
        loaded("split", 21.0, &[]),
        loaded("changes", 22.0, &changes),
        loaded("no-lane", 25.0, &[]),
        loaded("no-lane-all", 30.0, &[]),
        loaded("bare", 25.0, &[]),
    ];
    let memory = vec![
        cell("route", "a route", &[("each_kib", 1.5), ("count", 10_000.0)]),
        cell("connection", "a client connection", &[("fresh_kib", 1.0), ("used_kib", 3.0)]),
    ];
    let workers = [(1.0, 50_000.0), (2.0, 60_000.0)].map(|(count, rps)| {
        let shares = f64::from(u8::from(count > 1.0));
        cell("workers", &format!("{count} workers"), &[("rps", rps), ("workers", count), ("shares", shares)])
    });
    CostResults::of(cases, memory, workers.into())
}
