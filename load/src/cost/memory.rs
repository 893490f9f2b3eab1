//! Memory that is the process's own, for each route, endpoint and client connection.
//!
//! For the first two, the difference between two starts, one with none and one with ten thousand, divided by their
//! number; what reading so long a file leaves behind is in it.

use anyhow::Result;
use tokio::time::sleep;

use super::config::{HOSTS, PATHS, Setting};
use super::measure::start;
use super::results::Measured;
use crate::measure::{Bench, Figures};
use crate::peer::Found;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

const ENDPOINTS: usize = 10_000;

/// What the memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Route,
    Endpoint,
    Connection,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Route, Self::Endpoint, Self::Connection];

    /// Its name in the JSON.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Endpoint => "endpoint",
            Self::Connection => "connection",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Route => "a route",
            Self::Endpoint => "an endpoint",
            Self::Connection => "a client connection",
        }
    }

    pub(super) async fn measure(self, bench: &Bench, tidegate: &Found) -> Result<Measured> {
        let plain = Setting::PLAIN;
        let figures = match self {
            Self::Route => {
                let many = Setting { hosts: HOSTS, ..plain };
                between(bench, tidegate, &many, HOSTS * PATHS).await?
            }
            Self::Endpoint => {
                let many = Setting { endpoints: ENDPOINTS, ..plain };
                between(bench, tidegate, &many, ENDPOINTS).await?
            }
            Self::Connection => {
                let serving = start(bench, tidegate, &plain, &[bench.cores.proxy]).await?;
                let mut figures = bench.crowd(&serving).await?;
                figures.insert("count".to_owned(), bench.plan.crowd as f64);
                figures
            }
        };
        Ok(Measured { figures, why: None })
    }
}

async fn between(bench: &Bench, tidegate: &Found, many: &Setting, count: usize) -> Result<Figures> {
    let base = settled(bench, tidegate, &Setting::PLAIN).await?;
    let large = settled(bench, tidegate, many).await?;
    Ok(each(base, large, count))
}

/// Some time after the start.
async fn settled(bench: &Bench, tidegate: &Found, setting: &Setting) -> Result<f64> {
    let serving = start(bench, tidegate, setting, &[bench.cores.proxy]).await?;
    sleep(bench.plan.warm).await;
    serving.running.private()
}

/// Of bytes.
fn each(base: f64, large: f64, count: usize) -> Figures {
    Figures::from([
        ("count".to_owned(), count as f64),
        ("base_mib".to_owned(), base / MIB),
        ("large_mib".to_owned(), large / MIB),
        ("each_kib".to_owned(), (large - base) / KIB / count as f64),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_divided_among_all() {
        let figures = each(10.0 * MIB, 30.0 * MIB, 10_240);
        for (name, wanted) in [("base_mib", 10.0), ("large_mib", 30.0), ("each_kib", 2.0)] {
            assert!((figures[name] - wanted).abs() < 1e-9, "{name}");
        }
    }
}
