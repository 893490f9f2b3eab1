//! How a run is told: the JSON with every figure, and made from it a page and charts.

mod chart;
mod cost;
mod page;
mod table;
mod verdict;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::results::Results;

pub(crate) use cost::compared;

/// Writes `performance.md`, `performance/results.json` and the charts beside it into a folder.
pub(crate) fn write(results: &Results, out: &Path) -> Result<()> {
    let folder = out.join("performance");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut json = serde_json::to_string_pretty(results)?;
    json.push('\n');
    put(&folder.join("results.json"), &json)?;
    render(results, out)
}

/// Writes page and chart again, from the JSON that is there.
pub(crate) fn again(out: &Path) -> Result<()> {
    let path = out.join("performance/results.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    render(&serde_json::from_str(&text)?, out)
}

fn render(results: &Results, out: &Path) -> Result<()> {
    if !results.rows.is_empty() {
        put(&out.join("performance/chart.svg"), &chart::draw(results))?;
    }
    if let Some(cost) = &results.cost {
        put(&out.join("performance/cost.svg"), &chart::draw_cost(results, cost))?;
    }
    put(&out.join("performance.md"), &page::page(results))
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("    wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
pub(crate) mod sample {
    //! A small run, for tests of what is made from it.

    use crate::machine::Machine;
    use crate::measure::Figures;
    use crate::results::{Cell, PeerFacts, Results, RowResults, Settings};

    fn figures(of: &[(&str, f64)]) -> Figures {
        of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn cell(peer: &str, cpu: f64, p99: f64) -> Cell {
        let round = |factor: f64| {
            figures(&[
                ("cpu_us", cpu * factor),
                ("rps", 1e6 / cpu / factor),
                ("busy", 0.99),
                ("p50_us", p99 / 4.0),
                ("p99_us", p99 * factor),
                ("p999_us", p99 * 3.0),
                ("peak_mib", 12.0),
                ("rate", 9_000.0),
                ("held", 1.0),
                ("others", 0.01),
            ])
        };
        Cell { peer: peer.to_owned(), rounds: vec![round(1.0), round(1.02)], ..Cell::default() }
    }

    fn idle(peer: &str, fresh: f64) -> Cell {
        let rounds = vec![figures(&[("fresh_kib", fresh), ("used_kib", fresh * 2.0), ("base_mib", 5.0)])];
        Cell { peer: peer.to_owned(), rounds, ..Cell::default() }
    }

    /// Tidegate against HAProxy in two rows, and a proxy that failed in one.
    pub(crate) fn run() -> Results {
        let failed = Cell {
            peer: "nginx".to_owned(),
            failed: Some("an answer of status 502".to_owned()),
            ..Cell::default()
        };
        let left_out =
            Cell { peer: "nginx".to_owned(), left_out: Some("it has none".to_owned()), ..Cell::default() };
        let small = vec![cell("tidegate", 30.0, 400.0), cell("haproxy", 15.0, 390.0), failed];
        let waiting = vec![idle("tidegate", 4.0), idle("haproxy", 1.0), left_out];
        let mut rows = [("small", small), ("idle", waiting)].map(|(id, cells)| RowResults {
            id: id.to_owned(),
            title: format!("title of {id}"),
            cells,
        });
        rows.iter_mut().for_each(RowResults::summarise);
        let peers = [("tidegate", "Tidegate"), ("haproxy", "HAProxy"), ("nginx", "nginx")];
        Results {
            date: "2026-01-01".to_owned(),
            machine: Machine::look(),
            settings: Settings {
                rounds: 2,
                warm_seconds: 1.0,
                window_seconds: 3.0,
                connections: 64,
                streams: 100,
                idle_connections: 10_000,
                proxy_core: 0,
                load_core: 1,
                is_quick: false,
            },
            peers: peers
                .into_iter()
                .map(|(id, title)| PeerFacts {
                    id: id.to_owned(),
                    title: title.to_owned(),
                    version: "1.2.3".to_owned(),
                })
                .collect(),
            missing: Vec::new(),
            rows: rows.into(),
            cost: Some(crate::cost::sample()),
        }
    }
}
