//! The table on the screen: one line for each pool, refreshed in place; or, where nobody watches,
//! one line after the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_admin::Control;
use tidegate_core::rollout::{Rollout, Status};
use tidegate_core::snapshot::Snapshot;

use crate::cli::words::{count, percent, plural, roughly};
use crate::cli::{Align, Cell, Failure, Paint, Table, Tone, cell, print};

use super::setup::SPLIT;
use super::tally::{Seen, Tally};

/// Within this time enough visitors come to tell the shares.
const ENOUGH: Duration = Duration::from_millis(300);

/// The table, and what it shows.
pub(super) struct Board {
    control: Arc<Control>,
    tally: Arc<Mutex<Tally>>,
    paint: Paint,
    in_place: bool,
    began: Instant,
    /// When the table in force came into force: what was seen before says nothing of it.
    since: Instant,
    /// Lines on the screen, to be written over.
    shown: usize,
}

/// A line of the table.
#[derive(Debug, PartialEq)]
struct Row {
    pool: String,
    asked: Option<f64>,
    drains: bool,
    /// How its rollout is, where it is the candidate.
    rollout: Option<String>,
    seen: Seen,
}

impl Board {
    /// An empty board; `in_place` where lines can be written over.
    pub(super) fn new(control: Arc<Control>, tally: Arc<Mutex<Tally>>, paint: Paint, in_place: bool) -> Self {
        let now = Instant::now();
        Self { control, tally, paint, in_place, began: now, since: now, shown: 0 }
    }

    /// Another table came into force.
    pub(super) fn changed(&mut self) {
        self.since = Instant::now();
    }

    /// Shows the present.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let snapshot = self.control.live().snapshot();
        let (seen, answered, lost) = {
            let mut tally = self.tally.lock();
            // Just after a change there is too little to see; the next line will tell.
            let is_fresh = now.duration_since(self.since) < ENOUGH;
            (
                tally.window(if is_fresh { self.began } else { self.since }, now),
                tally.answered(),
                tally.lost(),
            )
        };
        let rows = rows(&snapshot, seen);
        if !self.in_place {
            return print(&lines(now.duration_since(self.began).as_secs(), &rows));
        }
        let head = format!(
            "{}, generation {}, {} answers, {}",
            roughly(now.duration_since(self.began)),
            snapshot.generation,
            count(answered),
            if lost == 0 { "none lost".to_owned() } else { format!("{} lost", count(lost)) }
        );
        let text = format!("{}\n{}", self.paint.faint(&head), table(&rows).render(self.paint));
        let up = if self.shown > 0 { format!("\x1b[{}A", self.shown) } else { String::new() };
        self.shown = text.lines().count();
        print(&format!("{up}{}\x1b[J", text.replace('\n', "\x1b[K\n")))
    }
}

fn rows(snapshot: &Snapshot, mut seen: BTreeMap<Option<String>, Seen>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    if let Some(split) = snapshot.split_named(SPLIT) {
        rows.extend(split.shares().map(|(member, share)| Row {
            pool: member.name.to_string(),
            asked: Some(share),
            drains: snapshot.pool(member.pool).draining.is_some(),
            rollout: split.rollout.as_deref().and_then(|rollout| rollout_note(rollout, &member.name, share)),
            seen: seen.remove(&Some(member.name.to_string())).unwrap_or_default(),
        }));
    }
    // Against the alphabet, which puts `stable` first; and a line stays where it is whatever happens.
    rows.sort_by(|a, b| b.pool.cmp(&a.pool));
    rows.extend(seen.into_iter().map(|(version, seen)| Row {
        pool: version.unwrap_or_else(|| "(no pool)".into()),
        asked: None,
        drains: false,
        rollout: None,
        seen,
    }));
    rows
}

/// How a rollout is, told of its candidate; the end of one for as long as its share stays as it was then.
fn rollout_note(rollout: &Rollout, pool: &str, share: f64) -> Option<String> {
    if rollout.plan.candidate != pool {
        return None;
    }
    let state = rollout.status().as_str();
    let step = format!("step {} of {}", rollout.step, rollout.steps().len());
    match rollout.status() {
        Status::Running => Some(format!("rollout: {step}")),
        Status::Paused => Some(format!("rollout: {step}, paused by {}", rollout.paused.as_ref()?.by)),
        Status::Baking => Some("rollout: baking".into()),
        Status::Succeeded => (share > 0.99).then(|| format!("rollout {state}")),
        Status::Aborted => (share == 0.0)
            .then(|| format!("rollout {state} by {}", rollout.ended.as_ref().map_or("?", |e| &e.1.by))),
    }
}

fn table(rows: &[Row]) -> Table {
    let right = |title| (title, Align::Right);
    let mut table = Table::new(&[
        ("pool", Align::Left),
        right("share asked"),
        right("share seen"),
        right("requests/s"),
        right("errors"),
        right("p50 ms"),
        right("p99 ms"),
        ("", Align::Left),
    ]);
    for row in rows {
        let note = match &row.rollout {
            _ if row.drains => cell("drains: its visitors go to the other", Tone::Warn),
            Some(rollout) => cell(rollout, Tone::Warn),
            None => Cell::default(),
        };
        table.row([
            cell(&row.pool, Tone::Strong),
            row.asked.map_or("–".into(), percent).into(),
            cell(percent(row.seen.share), Tone::Strong),
            format!("{:.0}", row.seen.per_second).into(),
            cell(count(row.seen.errors), if row.seen.errors == 0 { Tone::Plain } else { Tone::Bad }),
            ms(&row.seen, row.seen.p50_us).into(),
            ms(&row.seen, row.seen.p99_us).into(),
            note,
        ]);
    }
    table
}

/// Plain lines: every one says what its numbers are.
fn lines(second: u64, rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{second:>4}s  {:<9}  asked {:>8}  seen {:>8}  {:>4.0} requests/s  {:>3} errors  p50 {:>5} ms  p99 {:>5} ms{}",
            row.pool,
            row.asked.map_or("–".into(), percent),
            percent(row.seen.share),
            row.seen.per_second,
            row.seen.errors,
            ms(&row.seen, row.seen.p50_us),
            ms(&row.seen, row.seen.p99_us),
            match &row.rollout {
                _ if row.drains => "  drains".to_owned(),
                Some(rollout) => format!("  {rollout}"),
                None => String::new(),
            },
        );
    }
    text
}

/// A time, if there was an answer to take it from.
fn ms(seen: &Seen, us: u32) -> String {
    if seen.per_second > 0.0 { format!("{:.1}", f64::from(us) / 1e3) } else { "–".into() }
}

/// What came of it all.
pub(super) fn summary(tally: &Tally, paint: Paint) -> String {
    let asked = tally.answered() + tally.lost();
    let (lost, tone) = match tally.lost() {
        0 => ("no response was lost".to_owned(), Tone::Good),
        lost => (format!("{} lost", plural(lost, "response was", "responses were")), Tone::Bad),
    };
    let errors = plural(tally.errors(), "error", "errors");
    let versions: Vec<String> = tally
        .by_version()
        .iter()
        .rev()
        .map(|(version, number)| format!("{version} {}", count(*number)))
        .collect();
    let moved = match tally.moved() {
        0 => "every visitor kept one version".to_owned(),
        moved => format!("visitors were moved to the other version {}", plural(moved, "time", "times")),
    };
    format!(
        "\n{} requests, {}, {errors}\n{}; {moved}\n",
        count(asked),
        paint.apply(tone, &lost),
        versions.join(", ")
    )
}

#[cfg(test)]
mod tests;
