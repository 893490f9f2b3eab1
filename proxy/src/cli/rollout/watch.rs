//! `tidegate rollout watch`: a rollout until it ends.
//!
//! On a terminal the page is drawn in place. Elsewhere, a log of a pipeline say, each landmark is a line;
//! with `--json`, each look is one. The end of the rollout is the end of the command: aborted is a failure.
//! Ctrl-C is neither: the rollout goes on, and the exit code is the shell's for that, so that no script
//! takes it for success.

use std::time::Duration;

use serde_json::Value;
use tidegate_admin::client::{Client, ClientError};
use tidegate_core::units::Span;

use crate::cli::connection::Connection;
use crate::cli::failure::Failure;
use crate::cli::model as answers;
use crate::cli::screen::{Format, Screen, print, print_json_line, redraw};
use crate::cli::words::{Clock, count};

use super::model::{Rollout, Side};
use super::{Subject, page, told};

/// Follow a rollout until it ends: exit code 0 when it has succeeded, 1 when it was aborted.
///
/// Ctrl-C ends the view, not the rollout, with exit code 130. Where the output is not a terminal, there is
/// a line whenever something has changed; with --json, a line at each look.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// How often to look.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval)]
    interval: Span,
    #[command(flatten)]
    connection: Connection,
}

/// An answer that takes longer than this is worth a word on the screen.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span < Span::ms(100) { Err("at least 100ms".into()) } else { Ok(span) }
}

pub(super) async fn run(Arguments { subject, interval, connection }: &Arguments) -> Result<(), Failure> {
    let (client, mut screen) = connection.open()?;
    if !connection.wants_json() {
        screen.format = Format::Text;
    }
    View::new(client, screen, subject, *interval).follow(None).await
}

/// What follows a rollout.
pub(super) struct View {
    client: Client,
    screen: Screen,
    path: String,
    interval: Span,
    /// The landmark last told, where they are told line by line.
    told: Option<String>,
    /// Whether it was told that there is no answer.
    is_lost: bool,
}

impl View {
    pub(super) fn new(client: Client, screen: Screen, subject: &Subject, interval: Span) -> Self {
        let client = client.with_answer_timeout(PATIENCE);
        Self { client, screen, path: subject.path(), interval, told: None, is_lost: false }
    }

    /// Follows the rollout, the one of `started` if given, until it ends or somebody ends the view.
    pub(super) async fn follow(mut self, started: Option<Rollout>) -> Result<(), Failure> {
        let mut known = started;
        let ended = tokio::select! {
            ended = self.until_end(&mut known) => Some(ended),
            Ok(()) = tokio::signal::ctrl_c() => None,
        };
        if let Some(ended) = ended {
            return ended;
        }
        Err(Failure::Left(known.map_or_else(
            || "nothing was changed".to_owned(),
            |rollout| {
                let subject = rollout.subject();
                format!(
                    "{} goes on without you: `tidegate rollout watch {subject}` follows it again, \
                     `tidegate rollout abort {subject}` stops it",
                    rollout.name()
                )
            },
        )))
    }

    async fn until_end(&mut self, known: &mut Option<Rollout>) -> Result<(), Failure> {
        loop {
            match self.client.get(&self.path).await {
                Ok(answer) => {
                    let seen: Rollout = answers::read(&answer.body)?;
                    if let Some(known) = known.as_ref().filter(|known| known.id != seen.id) {
                        return Err(replaced(known, &seen));
                    }
                    self.is_lost = false;
                    self.show(&answer.body, &seen)?;
                    if seen.is_over() {
                        return self.end(&seen);
                    }
                    *known = Some(seen);
                }
                // A restart is no reason to look away; nobody there at all is.
                Err(error) if known.is_some() && is_passing(&error) => {
                    self.lost(known.as_ref(), &Failure::Call(error))?;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(self.interval.0).await;
        }
    }

    fn show(&mut self, answer: &Value, rollout: &Rollout) -> Result<(), Failure> {
        if self.screen.format == Format::Json {
            return print_json_line(answer);
        }
        if self.screen.is_terminal {
            return redraw(&self.page(rollout, None));
        }
        let landmark = rollout.landmark();
        if self.told.as_ref() == Some(&landmark) {
            return Ok(());
        }
        self.told = Some(landmark);
        print(&line(rollout, &Clock::system()))
    }

    fn page(&self, rollout: &Rollout, lost: Option<&Failure>) -> String {
        let paint = self.screen.paint;
        let mut page = page::render(rollout, &Clock::system(), paint);
        page.push('\n');
        match lost {
            Some(failure) => page.push_str(&failure.render(paint)),
            None if rollout.is_over() => {}
            None => {
                page.push_str(&paint.faint(&told::advice(rollout)));
                page.push('\n');
                page.push_str(&paint.faint("Ctrl-C ends the view, not the rollout"));
                page.push('\n');
            }
        }
        page
    }

    /// No answer: what was seen last stays, with a word about it.
    fn lost(&mut self, known: Option<&Rollout>, failure: &Failure) -> Result<(), Failure> {
        let is_new = !std::mem::replace(&mut self.is_lost, true);
        match known {
            Some(rollout) if self.screen.format == Format::Text && self.screen.is_terminal => {
                redraw(&self.page(rollout, Some(failure)))
            }
            _ => {
                if is_new {
                    failure.tell();
                    eprintln!("  it is asked again and again");
                }
                // What comes after is worth a line, whatever it is.
                self.told = None;
                Ok(())
            }
        }
    }

    fn end(&self, rollout: &Rollout) -> Result<(), Failure> {
        let because = rollout.because().map(|because| format!(" {because}")).unwrap_or_default();
        if rollout.state == "succeeded" {
            if self.screen.format == Format::Text {
                print(&told::render(rollout, false, self.screen.paint))?;
            }
            return Ok(());
        }
        Err(Failure::new(format!("{} was aborted{because}", rollout.name()), told::advice(rollout)))
    }
}

/// Whether it may be better in a moment.
fn is_passing(error: &ClientError) -> bool {
    error.is_unreachable() || matches!(error, ClientError::Refused { status: 503, .. })
}

fn replaced(known: &Rollout, seen: &Rollout) -> Failure {
    Failure::new(
        format!("{} has ended, and {} is there in its place", known.name(), seen.name()),
        "`tidegate history` tells how it ended",
    )
}

/// A landmark, with its time.
fn line(rollout: &Rollout, clock: &Clock) -> String {
    let failed = |pool: &str, side: &Side| {
        format!("{pool} {} of {} failed", count(side.failures), count(side.requests))
    };
    let seen = if rollout.is_pool() {
        String::new()
    } else {
        let evidence = &rollout.evidence;
        format!(
            " ({}, {})",
            failed(&rollout.candidate, &evidence.candidate),
            failed(&rollout.baseline, &evidence.baseline)
        )
    };
    format!("{}  {}{seen}\n", clock.local(&clock.now.to_string()), rollout.line())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_what_and_when() {
        let rollout = answers::read(&json!({
            "split": "shop", "id": 12, "baseline": "stable", "candidate": "canary", "state": "running",
            "step": 1, "steps": [{ "percent": 5.0, "hold": "15s", "gate": null }], "percent": 5.0,
            "time_left": "12s", "evidence": { "candidate": { "requests": 1_234, "failures": 1 } },
        }));
        assert_eq!(
            line(&rollout.expect("a rollout"), &Clock::fixed()),
            "12:00:00  rollout 12 of shop: running, step 1 of 1, canary at 5.0 %; at least 12s left \
             (canary 1 of 1,234 failed, stable 0 of 0 failed)\n"
        );
    }
}
