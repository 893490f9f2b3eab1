//! All of a rollout on a page: where it is, what it has seen, what the guard makes of it.

use std::fmt::Write as _;

use crate::cli::paint::{Paint, Tone};
use crate::cli::table::{Align, Cell, Table, cell};
use crate::cli::words::{Clock, count, plural};

use super::bar::{bar, steps};
use super::model::{ENDPOINT_STATES, FailedRequest, Rollout, Said, Side, Test, who};

/// So many failed requests are shown; the API has more.
const MOST_FAILURES: usize = 5;
/// The width of a test's bar.
const BAR: usize = 20;

/// The page.
pub(super) fn render(rollout: &Rollout, clock: &Clock, paint: Paint) -> String {
    let mut text = head(rollout, paint);
    text.push_str(&facts(rollout, clock, paint));
    if rollout.is_pool() {
        text.push('\n');
        text.push_str(&endpoints(rollout).render(paint));
        return text;
    }
    text.push('\n');
    text.push_str(&sides(rollout).render(paint));
    if !rollout.evidence.tests.is_empty() {
        text.push('\n');
        text.push_str(&tests(&rollout.evidence.tests).render(paint));
    }
    if !rollout.evidence.failures.is_empty() {
        text.push('\n');
        text.push_str(&failures(rollout, clock).render(paint));
    }
    text
}

fn head(rollout: &Rollout, paint: Paint) -> String {
    let way = if rollout.is_pool() {
        String::new()
    } else {
        format!("{} → {}  ", rollout.baseline, rollout.candidate)
    };
    format!(
        "{}  {}  {way}{}\n",
        paint.strong(&rollout.name()),
        rollout.strategy,
        paint.apply(rollout.tone(), &rollout.state)
    )
}

/// A line for each thing that there is to say.
fn facts(rollout: &Rollout, clock: &Clock, paint: Paint) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut fact = |title: &str, text: String, tone: Tone| {
        table.row([cell(format!("  {title}"), Tone::Faint), cell(text, tone)]);
    };
    let said = |said: &Said| format!("{} by {}", clock.away(&said.at), who(&said.by, said.why.as_deref()));
    fact("started", said(&rollout.started), Tone::Plain);
    fact("now", rollout.place(), Tone::Strong);
    if !rollout.is_over() {
        let left =
            rollout.time_left.as_ref().map_or_else(String::new, |left| format!(", at least {left} left"));
        fact("time", format!("{} so far{left}", rollout.elapsed), Tone::Plain);
    }
    if !rollout.is_pool() && !rollout.is_over() {
        let needed = match rollout.strategy.as_str() {
            "ab" => count(rollout.step_requests),
            _ => format!("{} of {}", count(rollout.step_requests), count(rollout.min_requests)),
        };
        let part = if rollout.state == "baking" { "the bake" } else { "this step" };
        fact("requests", format!("{needed} of {} in {part}", rollout.candidate), Tone::Plain);
    }
    if rollout.waiting_requests > 0 {
        let text = plural(rollout.waiting_requests, "request waits", "requests wait");
        fact("waiting", format!("{text} for the pool"), Tone::Warn);
    }
    if let Some(held) = &rollout.held {
        fact("held", format!("by {}", who(&held.by, Some(&held.why))), Tone::Warn);
    }
    if let Some(paused) = &rollout.paused {
        fact("paused", said(paused), Tone::Warn);
    }
    if let Some(ended) = &rollout.ended {
        fact("ended", said(ended), rollout.tone());
    }
    if !rollout.is_pool() {
        let excluded = excluded(rollout);
        if !excluded.is_empty() {
            fact("excluded", excluded, Tone::Plain);
        }
    }
    if let Some(last) = rollout.verdicts.last() {
        let mut text = format!("{} by {}, {}", last.action, last.by, clock.away(&last.time));
        // What it came to has said why already.
        let is_said = [&rollout.paused, &rollout.ended]
            .iter()
            .any(|said| said.as_ref().is_some_and(|said| said.why.as_ref() == Some(&last.why)));
        if !is_said {
            let _ = write!(text, ": {}", last.why);
        }
        fact("verdict", text, if last.action == "pass" { Tone::Good } else { Tone::Bad });
    }
    let mut text = table.render(paint);
    if !rollout.steps.is_empty() {
        let _ = writeln!(text, "\n  {}", steps(rollout, paint));
    }
    text
}

/// Requests that were left out, by reason.
fn excluded(rollout: &Rollout) -> String {
    let some = rollout.evidence.excluded.iter().filter(|(_, number)| **number > 0);
    let mut parts: Vec<String> = some.map(|(why, number)| format!("{} {why}", count(*number))).collect();
    if rollout.evidence.unwatched > 0 {
        parts.push(format!("{} not watched for getting stuck", count(rollout.evidence.unwatched)));
    }
    parts.join(", ")
}

/// A rate of failures, finer than a share: what is compared is small.
fn rate(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

/// Both pools, the candidate first.
fn sides(rollout: &Rollout) -> Table {
    let right = |title| (title, Align::Right);
    let by_user = rollout.evidence.unit == "user";
    let mut columns = vec![
        ("pool", Align::Left),
        right("requests"),
        right("failed"),
        right("rate"),
        ("95 % interval", Align::Left),
    ];
    if by_user {
        columns.extend([right("users"), right("failed")]);
    }
    columns.extend([right("p50 ms"), right("p99 ms")]);
    let mut table = Table::new(&columns);
    let evidence = &rollout.evidence;
    for (pool, side) in [(&rollout.candidate, &evidence.candidate), (&rollout.baseline, &evidence.baseline)] {
        table.row(side_cells(pool, side, by_user));
    }
    table
}

fn side_cells(pool: &str, side: &Side, by_user: bool) -> Vec<Cell> {
    let tone = |number: u64| if number == 0 { Tone::Plain } else { Tone::Warn };
    let ms = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| format!("{ms:.1}"));
    let [low, high] = side.interval;
    let interval =
        if side.requests == 0 { "–".to_owned() } else { format!("{} – {}", rate(low), rate(high)) };
    let mut cells = vec![
        cell(pool, Tone::Strong),
        count(side.requests).into(),
        cell(count(side.failures), tone(side.failures)),
        side.failure_rate.map_or("–".to_owned(), rate).into(),
        interval.into(),
    ];
    if by_user {
        cells.push(count(side.users).into());
        cells.push(cell(count(side.failed_users), tone(side.failed_users)));
    }
    cells.extend([ms(side.p50_ms).into(), ms(side.p99_ms).into()]);
    cells
}

/// Each test of the guard, and how near it is to what it must reach.
fn tests(tests: &[Test]) -> Table {
    let mut table = Table::new(&[("guard", Align::Left), ("evidence", Align::Left), ("", Align::Left)]);
    for test in tests {
        let (fraction, said) = match (test.log10_e, test.log10_boundary, test.failures, test.budget) {
            (Some(e), Some(boundary), ..) => (
                if boundary > 0.0 { e / boundary } else { 0.0 },
                format!("10^{:.1} of 10^{boundary:.1}", (e * 10.0).round() / 10.0 + 0.0),
            ),
            (_, _, Some(failures), Some(budget)) if budget > 0 => {
                (failures as f64 / budget as f64, format!("{} of {} failed", count(failures), count(budget)))
            }
            _ => (0.0, String::new()),
        };
        let tone = match fraction {
            _ if test.crossed => Tone::Bad,
            // Above half of its boundary no step passes.
            half if half > 0.5 => Tone::Warn,
            _ => Tone::Good,
        };
        let note = match (test.crossed, test.waits_for_keys) {
            (_, true) => "; reached, but too few users are behind it",
            (true, _) => "; reached",
            _ => "",
        };
        let fraction = if test.crossed { 1.0 } else { fraction };
        table.row([
            test.name.as_str().into(),
            cell(bar(fraction, BAR), tone),
            format!("{said}{note}").into(),
        ]);
    }
    table
}

/// The candidate's last failed requests, the newest first.
fn failures(rollout: &Rollout, clock: &Clock) -> Table {
    let failures = &rollout.evidence.failures;
    let title = format!("{}'s last failures", rollout.candidate);
    let mut table = Table::new(&[
        (&title, Align::Left),
        ("status", Align::Right),
        ("reason", Align::Left),
        ("endpoint", Align::Left),
        ("route", Align::Left),
        ("request id", Align::Left),
    ]);
    for FailedRequest { time, route, status, reason, endpoint, request_id } in
        failures.iter().rev().take(MOST_FAILURES)
    {
        table.row([
            clock.local(time).into(),
            status.to_string().into(),
            cell(reason, Tone::Warn),
            endpoint.as_deref().unwrap_or("–").into(),
            route.as_str().into(),
            cell(request_id, Tone::Faint),
        ]);
    }
    table
}

/// The endpoints of a pool's rollout.
fn endpoints(rollout: &Rollout) -> Table {
    let mut table = Table::new(&[("endpoint", Align::Left), ("", Align::Left)]);
    for endpoint in &rollout.endpoints {
        let state = endpoint.state.as_str();
        let words = ENDPOINT_STATES.iter().find(|(name, _)| *name == state).map_or(state, |(_, words)| words);
        let tone = match state {
            "replaced" => Tone::Good,
            "failed" => Tone::Bad,
            "waiting" => Tone::Faint,
            _ => Tone::Warn,
        };
        table.row([endpoint.address.as_str().into(), cell(words, tone)]);
    }
    table
}

/// Rollouts at a glance, a line each.
pub(crate) fn table(rollouts: &[Rollout]) -> Table {
    let mut table = Table::new(&[("rollout", Align::Left), ("state", Align::Left), ("", Align::Left)]);
    for rollout in rollouts {
        let mut text = rollout.place();
        if let Some(because) = rollout.because() {
            let _ = write!(text, "; {because}");
        }
        let name = if rollout.is_pool() {
            format!("{} {}", rollout.pool, rollout.strategy)
        } else {
            format!("{} {} → {}", rollout.split, rollout.baseline, rollout.candidate)
        };
        table.row([cell(name, Tone::Strong), cell(&rollout.state, rollout.tone()), text.into()]);
    }
    table
}
