//! The figures, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_core::simulate::{Spread, Summary};
use tidegate_core::units::Span;

use super::super::paint::{Paint, Tone};
use super::super::table::{Align, Cell, Table, cell};
use super::super::words::{count, percent};
use super::plan::Plan;
use super::{Arguments, Row};

/// The document: what was simulated, a row for each candidate, and the one that is as good.
pub(super) fn json(arguments: &Arguments, plan: &Plan, rows: &[Row]) -> Value {
    let (scenario, settings) = (&plan.scenario, &plan.scenario.settings);
    let schedule: Vec<Value> = scenario
        .schedule
        .iter()
        .map(|stage| {
            let hold = (stage.for_ms != u64::MAX).then(|| Span::ms(stage.for_ms).to_string());
            json!({ "percent": stage.share * 100.0, "hold": hold })
        })
        .collect();
    let mut rows: Vec<Value> = rows.iter().map(|row| row_json(row, arguments)).collect();
    let as_good = rows.pop();
    json!({
        "rps": scenario.rps,
        "baseline_failure_rate": scenario.baseline_failures,
        "schedule": schedule,
        "unit": if settings.by_user { "user" } else { "request" },
        "users": arguments.users,
        "runs": arguments.runs,
        "seed": arguments.seed,
        "max_time": plan.max_time,
        "guard": {
            "failure_ratio": settings.failure_ratio,
            "false_alarm": settings.false_alarm,
            "tests": settings.tests(),
        },
        "rows": rows,
        "as_good": as_good,
    })
}

fn row_json(row: &Row, arguments: &Arguments) -> Value {
    let summary = &row.summary;
    let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1e3);
    let spread = |spread: Spread| json!({ "median": spread.median, "p95": spread.p95 });
    json!({
        "candidate_failure_rate": row.candidate_failures,
        "aborted": summary.aborted as f64 / summary.runs as f64,
        "paused": summary.paused as f64 / summary.runs as f64,
        "median_seconds": seconds(summary.median_ms),
        "p95_seconds": seconds(summary.p95_ms),
        "failed_requests": spread(summary.failed_requests),
        "failed_users": arguments.users.map(|_| spread(summary.failed_users)),
    })
}

/// What people read.
pub(super) fn text(arguments: &Arguments, plan: &Plan, rows: &[Row], paint: Paint) -> String {
    let mut text = heading(arguments, plan);
    let mut columns = vec![
        ("candidate fails", Align::Right),
        ("median", Align::Right),
        ("95 %", Align::Right),
        ("failed requests", Align::Right),
        ("95 %", Align::Right),
    ];
    if arguments.users.is_some() {
        columns.extend([("failed users", Align::Right), ("95 %", Align::Right)]);
    }
    columns.extend([("aborted", Align::Right), ("paused", Align::Right)]);
    let mut table = Table::new(&columns);
    let Some((as_good, worse)) = rows.split_last() else { return text };
    for row in worse {
        table.row(cells(row, arguments, row.summary.aborted == row.summary.runs));
    }
    text.push('\n');
    text.push_str(&table.render(paint));
    let _ = writeln!(text, "\n{}", verdict(&as_good.summary, plan, paint));
    text
}

fn heading(arguments: &Arguments, plan: &Plan) -> String {
    let (scenario, settings) = (&plan.scenario, &plan.scenario.settings);
    let shares: Vec<String> =
        scenario.schedule.iter().map(|stage| format!("{} %", short(stage.share * 100.0))).collect();
    let unit = if settings.by_user { "user" } else { "request" };
    let tests: Vec<&str> = settings.tests().iter().map(|test| test.as_str()).collect();
    format!(
        "{} requests a second, candidate at {}, baseline fails {}; {} runs each, up to {}\n\
         compared by {unit}, failure_ratio {}, false_alarm {}; tests: {}\n",
        short(scenario.rps),
        shares.join(", "),
        rate(scenario.baseline_failures),
        count(arguments.runs),
        plan.max_time,
        short(plan.guard.failure_ratio),
        short(settings.false_alarm),
        tests.join(", "),
    )
}

fn cells(row: &Row, arguments: &Arguments, all: bool) -> Vec<Cell> {
    let summary = &row.summary;
    let mut cells: Vec<Cell> = vec![rate(row.candidate_failures).into()];
    cells.extend([summary.median_ms, summary.p95_ms].map(time));
    cells.extend(spread(summary.failed_requests));
    if arguments.users.is_some() {
        cells.extend(spread(summary.failed_users));
    }
    let tone = if all { Tone::Good } else { Tone::Warn };
    cells.push(cell(part(summary.aborted, summary.runs), tone));
    cells.push(part(summary.paused, summary.runs).into());
    cells
}

/// The chance of a false alarm, as it was met.
fn verdict(summary: &Summary, plan: &Plan, paint: Paint) -> String {
    let met = summary.aborted as f64 / summary.runs as f64;
    let allowed = plan.scenario.settings.false_alarm;
    let tone = if met <= allowed { Tone::Good } else { Tone::Warn };
    let found = format!("{} of {}", count(summary.aborted), count(summary.runs));
    let paused = if summary.paused > 0 {
        format!(", paused in {} of {}", count(summary.paused), count(summary.runs))
    } else {
        String::new()
    };
    format!(
        "as good as the baseline: stopped in {} runs{paused} ({}; {} allowed)",
        paint.apply(tone, &found),
        rate(met),
        rate(allowed),
    )
}

fn time(ms: Option<u64>) -> Cell {
    match ms {
        // As it is far from every whole number of ticks.
        Some(ms) if ms < 10_000 => format!("{:.1} s", ms as f64 / 1e3).into(),
        Some(ms) => format!("{} s", count((ms + 500) / 1_000)).into(),
        None => cell("not seen", Tone::Warn),
    }
}

fn spread(spread: Spread) -> [Cell; 2] {
    [count(spread.median).into(), count(spread.p95).into()]
}

fn part(number: u64, of: u64) -> String {
    percent(number as f64 / of as f64)
}

/// A rate with as many digits as it has, up to four: `0.3 %`, `100 %`.
fn rate(rate: f64) -> String {
    format!("{} %", short(rate * 100.0))
}

fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    if number > 0.0 && number < 0.0001 || !text.contains('.') {
        return format!("{number}");
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
