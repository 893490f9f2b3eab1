//! The whole run: each row with all proxies, round by round, in turn.
//!
//! Rounds go A B C, then C B A, and so on, so that a drift of the machine falls on all alike. A proxy is started anew
//! for each measurement and is the only one that runs. What fails is told, kept out of the figures, and makes the
//! whole run end with an error; the others go on.

use anyhow::Result;

use crate::cost;
use crate::machine::Machine;
use crate::measure::{Bench, CONNECTIONS, Figures, STREAMS};
use crate::options::Options;
use crate::peer::{Found, Tools};
use crate::progress::Progress;
use crate::results::{Cell, Missing, PeerFacts, Results, RowResults, Settings};
use crate::row::Row;

/// Of what the slowest proxy does at most: this much all can hold without a queue of their own making.
pub(crate) const SHARE_OF_SLOWEST: f64 = 0.5;

/// Measures what was asked for.
pub(crate) async fn run(options: &Options, bench: &Bench, tools: &Tools) -> Result<Results> {
    let machine = Machine::look();
    let (found, missing) = look(options, tools);
    let rows = options.rows();
    let per_row = found.len() * (options.rounds() + 1);
    let mut progress = Progress::of(rows.len() * per_row);
    let mut results = Vec::new();
    for row in rows {
        results.push(one_row(row, options.rounds(), bench, &found, &mut progress).await);
    }
    let cost = if options.has_cost() {
        cost::run(options.rounds(), bench, &found, machine.cores).await
    } else {
        None
    };
    Ok(Results {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        machine,
        settings: settings(options, bench),
        peers: found
            .iter()
            .map(|found| PeerFacts {
                id: found.peer.id.to_owned(),
                title: found.peer.title.to_owned(),
                version: found.version.clone(),
            })
            .collect(),
        missing,
        rows: results,
        cost,
    })
}

fn settings(options: &Options, bench: &Bench) -> Settings {
    Settings {
        rounds: options.rounds(),
        warm_seconds: bench.plan.warm.as_secs_f64(),
        window_seconds: bench.plan.window.as_secs_f64(),
        connections: CONNECTIONS,
        streams: STREAMS,
        idle_connections: bench.plan.crowd,
        proxy_core: bench.cores.proxy,
        load_core: bench.cores.load,
        is_quick: options.is_quick(),
    }
}

/// Which proxies are here.
fn look(options: &Options, tools: &Tools) -> (Vec<Found>, Vec<Missing>) {
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for peer in options.peers() {
        if let Some(found) = peer.find(tools) {
            println!("    {} {}", peer.title, found.version);
            here.push(found);
        } else {
            println!("    {} is not here and left out: {}", peer.title, peer.install);
            missing.push(Missing {
                id: peer.id.to_owned(),
                title: peer.title.to_owned(),
                install: peer.install.to_owned(),
            });
        }
    }
    (here, missing)
}

async fn one_row(
    row: Row,
    rounds: usize,
    bench: &Bench,
    found: &[Found],
    progress: &mut Progress,
) -> RowResults {
    println!("\n    {}", row.title());
    let mut cells: Vec<Cell> = found.iter().map(|found| empty(found, row)).collect();
    let mut slowest = f64::INFINITY;
    for (found, cell) in found.iter().zip(&mut cells) {
        progress.next();
        if row == Row::Idle || cell.left_out.is_some() {
            continue;
        }
        match bench.pilot(found, row).await {
            Ok(rate) => {
                slowest = slowest.min(rate);
                progress.tell(row.id(), "trial", found.peer.title, &format!("{rate:.0}/s"));
            }
            Err(why) => fail(cell, row, found, &why),
        }
    }
    let rate = round_down(slowest * SHARE_OF_SLOWEST);
    for round in 0..rounds {
        for at in order(found.len(), round) {
            progress.next();
            let (found, cell) = (&found[at], &mut cells[at]);
            if cell.left_out.is_some() || cell.failed.is_some() {
                continue;
            }
            let measured = if row == Row::Idle {
                bench.idle(found).await
            } else {
                bench.measure(found, row, rate).await
            };
            match measured {
                Ok(figures) => {
                    let round = format!("round {} of {rounds}", round + 1);
                    progress.tell(row.id(), &round, found.peer.title, &told(&figures));
                    cell.rounds.push(figures);
                }
                Err(why) => fail(cell, row, found, &why),
            }
        }
    }
    let mut results = RowResults { id: row.id().to_owned(), title: row.title().to_owned(), cells };
    results.summarise();
    results
}

fn empty(found: &Found, row: Row) -> Cell {
    let note = found.peer.notes.iter().find(|(of, _)| *of == row).map(|(_, note)| (*note).to_owned());
    let left_out = found.peer.lack(row).map(str::to_owned);
    Cell { peer: found.peer.id.to_owned(), note, left_out, ..Cell::default() }
}

fn fail(cell: &mut Cell, row: Row, found: &Found, why: &anyhow::Error) {
    println!("    FAILED: {}, {}: {why:#}", row.id(), found.peer.title);
    cell.failed = Some(format!("{why:#}"));
}

/// Forwards, then backwards, and so on.
pub(crate) fn order(count: usize, round: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

/// Two digits that stand for something.
pub(crate) fn round_down(rate: f64) -> f64 {
    if !rate.is_finite() || rate < 1.0 {
        return 1.0;
    }
    let scale = 10_f64.powf(rate.log10().floor() - 1.0);
    (rate / scale).floor() * scale
}

/// The figures that tell whether all is well.
pub(crate) fn told(figures: &Figures) -> String {
    let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
    if figures.contains_key("rps") {
        format!(
            "{:>7.0}/s, {:>6.1} us of CPU each, its core {:>3.0} % busy; at {:.0}/s p99 {:>7.0} us",
            figure("rps"),
            figure("cpu_us"),
            figure("busy") * 100.0,
            figure("rate"),
            figure("p99_us")
        )
    } else {
        format!("{:.2} KiB fresh, {:.2} KiB after a request", figure("fresh_kib"), figure("used_kib"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_there_and_back() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
        assert_eq!(order(3, 2), [0, 1, 2]);
    }

    #[test]
    fn rates_are_round() {
        for (rate, wanted) in [(12_345.0, 12_000.0), (999.0, 990.0), (7.0, 7.0), (f64::INFINITY, 1.0)] {
            assert!((round_down(rate) - wanted).abs() < 1e-6, "{rate}");
        }
    }
}
