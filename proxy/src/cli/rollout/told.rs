//! What an order came to: one line for what is in force, one for what to do next.

use std::fmt::Write as _;

use crate::cli::paint::{Paint, Tone};

use super::model::Rollout;

/// What is in force now, or would be.
pub(super) fn render(rollout: &Rollout, dry_run: bool, paint: Paint) -> String {
    let state = paint.apply(rollout.tone(), &rollout.state);
    let mut line = if dry_run {
        format!("{} would be {state}, {}; nothing was done", paint.strong(&rollout.name()), rollout.place())
    } else {
        let verb = match rollout.state.as_str() {
            "succeeded" => "has",
            "aborted" => "was",
            _ => "is",
        };
        format!("{} {verb} {state}, {}", paint.strong(&rollout.name()), rollout.place())
    };
    if let Some(because) = rollout.because().filter(|_| !dry_run) {
        line.push_str("; ");
        line.push_str(&because);
    }
    if !dry_run {
        let _ = write!(line, "\n  {} {}", paint.faint("→"), advice(rollout));
    }
    line + "\n"
}

/// What an operator may want next.
pub(super) fn advice(rollout: &Rollout) -> String {
    let subject = rollout.subject();
    let command = |verb: &str| format!("`tidegate rollout {verb} {subject}`");
    let held_by = rollout.held.as_ref().map(|held| held.by.as_str());
    match (rollout.state.as_str(), held_by) {
        ("running", Some("gate")) => format!("{} enters the next step", command("promote")),
        ("running", Some("hook" | "check")) => {
            format!("it is asked again and again; {} goes on without it", command("resume"))
        }
        ("running", _) => format!("{} follows it, {} stops it", command("watch"), command("abort")),
        ("paused", _) if rollout.is_pool() => {
            format!("{} goes on, {} calls it off", command("resume"), command("abort"))
        }
        ("paused", _) => format!(
            "{} goes on, {} gives {}'s share back to {}",
            command("resume"),
            command("abort"),
            rollout.candidate,
            rollout.baseline
        ),
        ("baking", _) => {
            format!("`tidegate revert {subject}` brings {} back at once", rollout.baseline)
        }
        ("succeeded", _) if !rollout.is_pool() && rollout.strategy != "ab" => {
            format!("`tidegate revert {subject}` brings {} back", rollout.baseline)
        }
        _ => format!("{} shows what was seen", command("status")),
    }
}

/// Says on the standard error that a restart would undo it.
pub(super) fn warn_unless_durable(rollout: &Rollout) {
    if rollout.durable == Some(false) {
        let paint = Paint::of(&std::io::stderr());
        eprintln!("{}", not_durable(paint));
    }
}

fn not_durable(paint: Paint) -> String {
    format!(
        "{} it is in force, but could not be written to the state folder: A RESTART WOULD UNDO IT\n  \
         {} make room on its disk, and look at the log; it is tried again until it can be",
        paint.apply(Tone::Bad, "warning:"),
        paint.faint("→")
    )
}
