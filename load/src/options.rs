//! What can be asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};

use crate::measure::Plan;
use crate::peer::{Cores, PEERS, Peer};
use crate::row::Row;

/// Runs the same work through Tidegate and other proxies, and writes tables with ratios to HAProxy.
#[derive(Parser)]
#[command(name = "cargo xtask load", version, about)]
pub(crate) struct Options {
    /// Very short windows and two rounds: to see that everything works, not for figures.
    #[arg(long)]
    quick: bool,
    /// Rounds; the figure is the median of all.
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of each window in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these rows; `cost` is what Tidegate's own features cost.
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these proxies.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = peer)]
    peers: Vec<&'static Peer>,
    /// The folder into which `performance.md` and `performance/` are written.
    #[arg(long, default_value = "docs")]
    pub(crate) out: PathBuf,
    /// Write page and chart again from the folder's `performance/results.json`, and measure nothing.
    #[arg(long)]
    pub(crate) report_only: bool,
    /// The core of the proxies.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of the load and the upstreams.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Row(Row),
    /// Tidegate against itself.
    Cost,
}

impl Part {
    /// The rows, and last the cost.
    const ALL: [Self; Row::ALL.len() + 1] = {
        let mut all = [Self::Cost; Row::ALL.len() + 1];
        let mut at = 0;
        while at < Row::ALL.len() {
            all[at] = Self::Row(Row::ALL[at]);
            at += 1;
        }
        all
    };
}

/// So that options know them by name.
impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (id, title) = match self {
            Self::Row(row) => (row.id(), row.title()),
            Self::Cost => ("cost", "What Tidegate's own features cost"),
        };
        Some(PossibleValue::new(id).help(title))
    }
}

impl Options {
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    pub(crate) fn plan(&self) -> Plan {
        let window = self.seconds.unwrap_or(if self.quick { 0.5 } else { 3.0 }).max(0.1);
        Plan {
            warm: Duration::from_secs_f64(if self.quick { 0.3 } else { 1.0 }),
            window: Duration::from_secs_f64(window),
            crowd: if self.quick { 1_000 } else { 10_000 },
        }
    }

    pub(crate) fn cores(&self) -> Cores {
        Cores { proxy: self.proxy_core, load: self.load_core }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let is_wanted = |row: &Row| self.only.is_empty() || self.only.contains(&Part::Row(*row));
        Row::ALL.into_iter().filter(is_wanted).collect()
    }

    /// Whether Tidegate is measured against itself, too.
    pub(crate) fn has_cost(&self) -> bool {
        self.only.is_empty() || self.only.contains(&Part::Cost)
    }

    pub(crate) fn peers(&self) -> Vec<&'static Peer> {
        let is_wanted =
            |peer: &&Peer| self.peers.is_empty() || self.peers.iter().any(|wanted| wanted.id == peer.id);
        PEERS.iter().filter(is_wanted).collect()
    }
}

fn peer(id: &str) -> Result<&'static Peer, String> {
    let ids: Vec<&str> = PEERS.iter().map(|peer| peer.id).collect();
    PEERS.iter().find(|peer| peer.id == id).ok_or_else(|| format!("none of {}", ids.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let read = |line: &str| Options::try_parse_from(line.split_whitespace());
        let all = read("load").expect("good");
        assert_eq!((all.rounds(), all.rows().len(), all.peers().len()), (5, Row::ALL.len(), PEERS.len()));
        let some = read("load --quick --only grpc,small --peers nginx haproxy --rounds 3").expect("good");
        assert_eq!(some.rows(), [Row::Small, Row::Grpc]);
        assert_eq!((all.has_cost(), some.has_cost()), (true, false));
        let cost = read("load --only cost").expect("good");
        assert_eq!((cost.has_cost(), cost.rows().len()), (true, 0));
        assert_eq!(some.peers().iter().map(|peer| peer.id).collect::<Vec<_>>(), ["haproxy", "nginx"]);
        assert_eq!((some.rounds(), some.is_quick()), (3, true));
        assert!(read("load --only what").is_err());
        assert!(read("load --peers what").is_err());
    }
}
