//! One measurement of a case: started, set up, loaded twice over as the rows are, asked, and ended.
//!
//! All cases get the same requests: of 2,000 users to 1,000 hosts, whether the case looks at them or not. So they
//! differ by what the proxy does, and not by what it reads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::beside::{Beside, Going};
use super::case::{Case, Facts};
use super::config::{HOSTS, Setting};
use super::results::Measured;
use super::rollout;
use crate::measure::{Bench, Figures, Loaded, Work};
use crate::pace::Pacer;
use crate::peer::{Found, Serving};
use crate::row::{Door, Row};
use crate::work::Script;

const MIB: f64 = 1024.0 * 1024.0;

/// Tidegate's file, and two that may take its place; the first of these is what it begins with.
pub(super) const CONFIGS: [&str; 3] = ["tidegate.toml", "one.toml", "other.toml"];

/// Logs are written some time after: no later than a second or so.
const UNTIL_LOGGED: Duration = Duration::from_millis(1_500);

/// The programs that are measured.
pub(super) struct Programs<'a> {
    pub(super) tidegate: &'a Found,
    pub(super) bare: Option<&'a Found>,
}

impl Programs<'_> {
    async fn start(&self, bench: &Bench, case: Case) -> Result<Serving> {
        if let (Case::Bare, Some(bare)) = (case, self.bare) {
            return bare.serve(Row::Small, &bench.upstreams, bench.cores).await;
        }
        start(bench, self.tidegate, &case.facts().setting, &[bench.cores.proxy]).await
    }
}

/// Starts Tidegate with a setting on these cores.
pub(super) async fn start(
    bench: &Bench,
    tidegate: &Found,
    setting: &Setting,
    cores: &[usize],
) -> Result<Serving> {
    let one = setting.text();
    let other = Setting { is_other: true, ..*setting }.text();
    let files = [(CONFIGS[0], one.as_str()), (CONFIGS[1], one.as_str()), (CONFIGS[2], other.as_str())];
    tidegate.launch(&files, Door::Plain, &bench.upstreams, (cores, bench.cores.load)).await
}

/// What all cases are asked for.
pub(super) fn work() -> Work {
    Work::Counted(Arc::new(Script::hosts(HOSTS)))
}

/// How many requests a second a case does, roughly.
pub(super) async fn trial(bench: &Bench, programs: &Programs<'_>, case: Case) -> Result<f64> {
    let serving = programs.start(bench, case).await?;
    bench.trial(&serving, &work()).await
}

/// All figures of a case, once. `rate` is in requests a second.
pub(super) async fn measure(
    bench: &Bench,
    programs: &Programs<'_>,
    case: Case,
    rate: f64,
) -> Result<Measured> {
    let serving = programs.start(bench, case).await?;
    let facts = case.facts();
    if facts.is_guarded {
        rollout::start(serving.admin).await?;
    }
    let (closed, mut figures) = load(bench, &serving, facts.beside, Pacer::closed()).await?;
    figures.extend(closed.at_most()?);
    if facts.setting.is_logged {
        sleep(UNTIL_LOGGED).await;
        let logged = serving.logged()? as f64 / closed.outcome.answered as f64;
        figures.insert("logged".to_owned(), logged);
    }
    // What goes on beside is told of the full load; here it has to go on as well.
    let (open, _) = load(bench, &serving, facts.beside, Pacer::open(rate)).await?;
    figures.extend(open.at_rate(rate));
    figures.insert("peak_mib".to_owned(), serving.running.peak()? / MIB);
    let answered = closed.outcome.answered + open.outcome.answered;
    if facts.is_guarded {
        let seen = rollout::seen(serving.admin).await?;
        figures.insert("guarded".to_owned(), seen as f64 / answered as f64);
    }
    judged(&facts, &[closed, open], figures)
}

async fn load(bench: &Bench, serving: &Serving, beside: Beside, pacer: Pacer) -> Result<(Loaded, Figures)> {
    let going: Going = beside.start(serving).await?;
    let loaded = bench.load(serving, &work(), pacer, bench.plan).await;
    // It ends whatever has become of the load.
    let ended = going.end().await;
    Ok((loaded?, ended?))
}

/// Where nothing is changed nothing may fail; elsewhere how much did is a figure.
fn judged(facts: &Facts, loads: &[Loaded], mut figures: Figures) -> Result<Measured> {
    let failed: u64 = loads.iter().map(|loaded| loaded.outcome.failed).sum();
    let why = loads.iter().find_map(|loaded| loaded.outcome.why.clone());
    if matches!(facts.beside, Beside::Changes | Beside::Reloads) {
        figures.insert("failed".to_owned(), failed as f64);
    } else {
        ensure!(failed == 0, "{failed} requests failed, the first: {}", why.unwrap_or_default());
        return Ok(Measured { figures, why: None });
    }
    Ok(Measured { figures, why })
}
