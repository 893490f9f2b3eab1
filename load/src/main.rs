//! Runs the same work through Tidegate and the proxies that it is compared with: `cargo xtask load`.
//!
//! The generator and the upstreams ([`work`], [`upstream`]) share one thread on one core, the proxy has the other.
//! [`measure`] is one measurement of one proxy ([`peer`]) in one [`row`], [`run`] all of them in turn, [`results`]
//! what they come to, and [`report`] how that is told. Linux only: what a process used is read from /proc.

mod cost;
mod histogram;
mod machine;
mod measure;
mod options;
mod pace;
mod peer;
mod process;
mod progress;
mod recorder;
mod report;
mod results;
mod row;
mod run;
mod upstream;
mod wire;
mod work;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use cost::CostResults;
use measure::Bench;
use options::Options;
use peer::Tools;
use upstream::Upstreams;

fn main() -> ExitCode {
    match load(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn load(options: &Options) -> Result<bool> {
    if options.report_only {
        report::again(&options.out)?;
        return Ok(true);
    }
    let own = std::env::current_exe().context("this program's own place")?;
    let own = own.parent().context("this program is in no folder")?.to_owned();
    let fetched = own.parent().context("this program is in no target folder")?.join("load");
    // Ten thousand connections, and the proxies inherit it.
    rlimit::increase_nofile_limit(65_536).context("raising the limit of open files")?;
    let cores = options.cores();
    process::pin(&[cores.load])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(async {
        let bench = Bench { upstreams: Upstreams::start()?, cores, plan: options.plan() };
        run::run(options, &bench, &Tools { own, fetched }).await
    })?;
    report::write(&results, &options.out)?;
    let mut all_well = true;
    for (row, cell, why) in results.failures() {
        all_well = false;
        eprintln!("failed: {}, {}: {why}", row.id, cell.peer);
    }
    for (case, why) in results.cost.iter().flat_map(CostResults::failures) {
        all_well = false;
        eprintln!("failed: cost, {case}: {why}");
    }
    for verdict in results.cost.iter().flat_map(|cost| &cost.verdicts).filter(|verdict| !verdict.holds()) {
        // What a trial's figures say is told, and is nobody's fault.
        all_well &= options.is_quick();
        eprintln!("does not hold: {}: {}", verdict.what, report::compared(verdict));
    }
    Ok(all_well)
}
