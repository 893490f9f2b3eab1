//! How far something is that takes a while: a bar on a terminal, else a line when the number changes.
//!
//! On the standard error, so that the standard output carries the result only.

use std::io::{self, IsTerminal as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::words::{plural, roughly};

/// Requests that finish.
pub(super) enum Progress {
    /// Somebody watches.
    Bar(ProgressBar),
    /// Nobody does; or a log.
    Lines { name: String, began: Instant, last: Option<u64> },
}

impl Progress {
    /// Begins.
    pub(super) fn begin(name: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { name: name.to_owned(), began: Instant::now(), last: None };
        }
        // The length is the largest number seen; `show` raises it.
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("draining {prefix}  {bar:30}  {msg}  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_prefix(name.to_owned());
        Self::Bar(bar)
    }

    /// So many are in flight.
    pub(super) fn show(&mut self, in_flight: u64) {
        let text = plural(in_flight, "request", "requests");
        match self {
            Self::Bar(bar) => {
                let most = bar.length().unwrap_or(0).max(in_flight);
                bar.set_length(most);
                bar.set_position(most - in_flight);
                bar.set_message(format!("{text} in flight"));
                bar.tick();
            }
            Self::Lines { name, last, .. } => {
                if last.replace(in_flight) != Some(in_flight) {
                    eprintln!("draining {name}: {text} in flight");
                }
            }
        }
    }

    /// It is over.
    pub(super) fn end(self, message: &str) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines { began, .. } => eprintln!("{message} after {}", roughly(began.elapsed())),
        }
    }
}
