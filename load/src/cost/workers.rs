//! The plain case with one worker, two and on, as many as there are cores and four at most.
//!
//! The workers get one core each, the load's own last: where there are as many workers as cores, the last of them
//! shares its core with the load and the upstreams, and what is seen is a machine that is full, and not how workers
//! grow.

use anyhow::Result;

use super::config::Setting;
use super::measure::{start, work};
use super::results::Measured;
use crate::measure::Bench;
use crate::pace::Pacer;
use crate::peer::{Cores, Found};

const MOST: usize = 4;
const MIB: f64 = 1024.0 * 1024.0;

/// How many there are at most on a machine of so many cores.
pub(super) fn most(cores: usize) -> usize {
    cores.clamp(1, MOST)
}

/// The cores of so many workers on a machine of so many.
fn places(workers: usize, all: usize, cores: Cores) -> Vec<usize> {
    let others = (0..all).filter(|core| *core != cores.proxy && *core != cores.load);
    std::iter::once(cores.proxy).chain(others).chain([cores.load]).take(workers).collect()
}

pub(super) async fn measure(bench: &Bench, tidegate: &Found, workers: usize, all: usize) -> Result<Measured> {
    let setting = Setting { workers, ..Setting::PLAIN };
    let places = places(workers, all, bench.cores);
    let serving = start(bench, tidegate, &setting, &places).await?;
    let loaded = bench.load(&serving, &work(), Pacer::closed(), bench.plan).await?;
    anyhow::ensure!(
        loaded.outcome.failed == 0,
        "{} requests failed, the first: {}",
        loaded.outcome.failed,
        loaded.outcome.why.clone().unwrap_or_default()
    );
    let mut figures = loaded.at_most()?;
    figures.insert("workers".to_owned(), workers as f64);
    figures.insert("shares".to_owned(), f64::from(places.contains(&bench.cores.load)));
    figures.insert("private_mib".to_owned(), serving.running.private()? / MIB);
    Ok(Measured { figures, why: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_has_its_core_alone_as_long_as_there_is_another() {
        let cores = Cores { proxy: 0, load: 1 };
        for (workers, all, wanted) in [
            (1, 2, vec![0]),
            (2, 2, vec![0, 1]),
            (2, 4, vec![0, 2]),
            (4, 4, vec![0, 2, 3, 1]),
            (4, 8, vec![0, 2, 3, 4]),
        ] {
            assert_eq!(places(workers, all, cores), wanted, "{workers} of {all}");
        }
        assert_eq!([1, 2, 3, 4, 64].map(most), [1, 2, 3, 4, 4]);
    }
}
