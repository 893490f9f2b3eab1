//! `tidegate simulate`: how soon a guard sees a bad candidate, and how often it stops a good one.
//!
//! Talks to nobody: virtual traffic goes through the very guard, on a virtual clock, once for each seed.
//! The same flags give the same figures, on however many threads.

mod plan;
mod show;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate_core::simulate::{Outcome, Scenario, Summary};
use tidegate_core::units::Span;

use super::failure::Failure;
use super::screen::Screen;
use plan::Plan;

/// The failure rates of the whole table.
const RATES: [f64; 6] = [1.0, 0.5, 0.1, 0.05, 0.01, 0.003];

/// Simulate how soon a guard stops a bad candidate, and how often a good one.
///
/// Nothing is sent, and no Tidegate need run: virtual requests go through the guard on a virtual clock.
/// The last row is a candidate that is as good as the baseline: what is stopped there is a false alarm.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate simulate --rps 200 --share 1
  tidegate simulate --candidate-failures 0.02 --users 5000
  tidegate simulate --config tidegate.toml --split checkout")]
pub(super) struct Arguments {
    /// Requests a second, of both pools together.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000.0, value_parser = rps)]
    rps: f64,
    /// The candidate's share in percent; 5, or the steps of the plan in --config.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    share: Option<f64>,
    /// The part of the baseline's requests that fails.
    #[arg(long, value_name = "RATE", default_value_t = 0.001, value_parser = rate)]
    baseline_failures: f64,
    /// The part of the candidate's requests that fails; may be given again. Without it, a table.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    candidate_failures: Vec<f64>,
    /// So many users, the n-th of whom asks 1/n times as often as the first; without it, each request
    /// is of a user of its own.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,
    /// Runs for each row.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// The first run's seed; each further run has the next.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A run ends after this time; 10m, or as long as the plan in --config holds its steps.
    #[arg(long, value_name = "TIME")]
    max_time: Option<Span>,
    /// Take the guard and the steps from a plan in this configuration file.
    #[arg(long, value_name = "FILE", requires = "split")]
    config: Option<PathBuf>,
    /// The split whose plan it is.
    #[arg(long, value_name = "SPLIT", requires = "config")]
    split: Option<String>,
    /// The chance of a false alarm that the guard may take, in place of 0.001 or the plan's.
    #[arg(long, value_name = "CHANCE", value_parser = false_alarm)]
    false_alarm: Option<f64>,
    /// How many times as often the candidate may fail, in place of 1.5 or the plan's.
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    failure_ratio: Option<f64>,
    /// Print JSON; the default where the output is not a terminal.
    #[arg(long, conflicts_with = "text")]
    json: bool,
    /// Print text, even where the output is not a terminal.
    #[arg(long)]
    text: bool,
}

/// A number in a range, and what to write when it is not.
fn number(text: &str, fits: impl Fn(f64) -> bool, hint: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| fits(*number)).ok_or_else(|| hint.to_owned())
}

fn rps(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n <= 1e7, "write requests a second, above 0 and up to 10000000")
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n <= 100.0, "write a percentage, above 0 and up to 100")
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, |n| (0.0..=1.0).contains(&n), "write a part from 0 to 1: 0.01 is one in a hundred")
}

fn false_alarm(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n < 0.5, "write a chance above 0 and below 0.5")
}

fn ratio(text: &str) -> Result<f64, String> {
    number(text, |n| n >= 1.0, "write a number of at least 1")
}

/// A row of the table.
struct Row {
    candidate_failures: f64,
    summary: Summary,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let plan = Plan::of(arguments)?;
    let screen = Screen::open(arguments.json, arguments.text);
    let mut rates = arguments.candidate_failures.clone();
    if rates.is_empty() {
        rates = RATES.into_iter().filter(|rate| *rate > arguments.baseline_failures).collect();
    }
    // The candidate that is as good comes last.
    rates.push(arguments.baseline_failures);
    let progress = progress(arguments.runs * rates.len() as u64);
    let rows: Vec<Row> = rates
        .into_iter()
        .map(|candidate_failures| {
            let scenario = Scenario { candidate_failures, ..plan.scenario.clone() };
            let outcomes = outcomes(&scenario, arguments.seed, arguments.runs, &progress);
            Row { candidate_failures, summary: Summary::of(&outcomes) }
        })
        .collect();
    progress.finish_and_clear();
    screen.show(&show::json(arguments, &plan, &rows), || show::text(arguments, &plan, &rows, screen.paint))
}

/// A bar on the standard error, if that is a terminal; `indicatif` hides it if not.
fn progress(runs: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("simulating  {bar:30}  {pos} of {len} runs  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
    bar
}

/// One run for each seed, on as many threads as there are processors.
fn outcomes(scenario: &Scenario, first_seed: u64, runs: u64, progress: &ProgressBar) -> Vec<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let run = next.fetch_add(1, Relaxed);
            if run >= runs {
                return done;
            }
            done.push(scenario.run(first_seed.wrapping_add(run)));
            progress.inc(1);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().expect("a run does not panic"));
        }
        all
    })
}

#[cfg(test)]
mod tests;
