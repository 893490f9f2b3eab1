//! Announces each step, times it, and reports the whole run at the end.
//!
//! A step that fails ends the run: [`Steps::run`] hands the error on, and `?` does the rest.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::exec::Result;

/// The steps of one run, with the time that each took.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Announce a step, run it, remember its time.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result) -> Result {
        println!("\n==> {name}");
        let start = Instant::now();
        let outcome = step();
        let took = start.elapsed();
        self.done.push((name.to_owned(), took));
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("<== {name}: {verdict} in {:.1} s", took.as_secs_f64());
        outcome.map_err(|why| format!("{name}: {why}"))
    }

    /// The table of times, and the exit code of the process.
    pub(crate) fn report(&self, outcome: Result) -> ExitCode {
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!();
        for (name, took) in &self.done {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        println!("{:>8.1} s  in all", total.as_secs_f64());
        match outcome {
            Ok(()) => {
                println!("all passed");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("failed: {why}");
                ExitCode::FAILURE
            }
        }
    }
}
