//! `tidegate status`: everything at a glance, once or again and again.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_admin::client::{Client, ClientError, segment};
use tidegate_core::units::Span;

use super::connection::Connection;
use super::failure::Failure;
use super::model::{self, Pools, Split, Splits, Status};
use super::paint::{Paint, Tone};
use super::rollout::{self, Rollout};
use super::screen::{Format, Screen, print, print_json_line, redraw};
use super::table::{Align, Cell, Table, cell};
use super::words::{Clock, count, percent, plural, roughly};

/// Show listeners, splits, rollouts and pools.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show it again and again, until Ctrl-C; as JSON, a line each time.
    #[arg(long, short)]
    watch: bool,
    /// With --watch: how often.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Span,
    #[command(flatten)]
    connection: Connection,
}

impl Arguments {
    /// Whether it goes on until it is stopped.
    pub(super) fn is_endless(&self) -> bool {
        self.watch
    }
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span < Span::ms(100) { Err("at least 100ms".into()) } else { Ok(span) }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (client, screen) = arguments.connection.open()?;
    let answer = ask(&client).await?;
    if !arguments.watch {
        let text = page(&answer, screen.paint)?;
        return screen.show(&answer, || text);
    }
    refresh(screen, Ok(&answer))?;
    loop {
        tokio::time::sleep(arguments.interval.0).await;
        // A restart is worth watching, too.
        match ask(&client).await {
            Ok(answer) => refresh(screen, Ok(&answer))?,
            Err(failure) => refresh(screen, Err(&failure))?,
        }
    }
}

async fn ask(client: &Client) -> Result<Value, Failure> {
    let status = client.get("/v1/status").await?.body;
    let splits = client.get("/v1/splits").await?.body;
    let pools = client.get("/v1/pools").await?.body;
    let rollouts = rollouts(client, &splits).await?;
    Ok(json!({
        "status": status, "splits": splits["splits"], "pools": pools["pools"], "rollouts": rollouts
    }))
}

/// The rollouts that have not ended.
async fn rollouts(client: &Client, splits: &Value) -> Result<Vec<Value>, Failure> {
    let splits: Splits = model::read(splits)?;
    let mut rollouts = Vec::new();
    for split in splits.splits.iter().filter(|split| split.has_active_rollout()) {
        match client.get(&format!("/v1/splits/{}/rollout", segment(&split.name))).await {
            Ok(answer) => rollouts.push(answer.body),
            // Gone in between, with its split.
            Err(ClientError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rollouts)
}

fn refresh(screen: Screen, seen: Result<&Value, &Failure>) -> Result<(), Failure> {
    let text = match (screen.format, seen) {
        (Format::Json, Ok(answer)) => return print_json_line(answer),
        (Format::Json, Err(failure)) => {
            failure.tell();
            return Ok(());
        }
        (Format::Text, Ok(answer)) => page(answer, screen.paint)?,
        (Format::Text, Err(failure)) => failure.render(screen.paint),
    };
    if screen.is_terminal { redraw(&text) } else { print(&(text + "\n")) }
}

fn page(answer: &Value, paint: Paint) -> Result<String, Failure> {
    let status: Status = model::read(&answer["status"])?;
    let splits: Splits = model::read(answer)?;
    let pools: Pools = model::read(answer)?;
    let rollouts: Vec<Rollout> = model::read(&answer["rollouts"])?;
    Ok(render((&status, &splits, &pools, &rollouts), &Clock::system(), paint))
}

/// Everything there is to show.
type Seen<'a> = (&'a Status, &'a Splits, &'a Pools, &'a [Rollout]);

fn render((status, splits, pools, rollouts): Seen<'_>, clock: &Clock, paint: Paint) -> String {
    let mut text = head(status, clock, paint);
    if !splits.splits.is_empty() {
        text.push('\n');
        text.push_str(&split_table(splits, clock).render(paint));
    }
    if !rollouts.is_empty() {
        text.push('\n');
        text.push_str(&rollout::table(rollouts).render(paint));
    }
    if !pools.pools.is_empty() {
        text.push('\n');
        text.push_str(&pool_table(pools, clock).render(paint));
    }
    text
}

fn head(status: &Status, clock: &Clock, paint: Paint) -> String {
    let mut text = format!(
        "{}  up {}  generation {}\n",
        paint.strong(&format!("tidegate {}", status.version)),
        roughly(Duration::try_from_secs_f64(status.uptime_seconds).unwrap_or_default()),
        status.generation
    );
    for listener in &status.listeners {
        let _ = writeln!(text, "{} {}  {}", paint.faint("listens"), listener.address, listener.name);
    }
    let Some(reload) = status.last_reload.as_ref().filter(|reload| !reload.ok) else { return text };
    let number = plural(reload.problems.len() as u64, "problem", "problems");
    let said =
        format!("the file is not good ({number}, read {}); what was in force stays", clock.away(&reload.at));
    let _ = writeln!(text, "{}", paint.apply(Tone::Bad, &said));
    for problem in &reload.problems {
        let line = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let _ = writeln!(text, "  {line}{}: {}", problem.path, problem.message);
    }
    text
}

fn split_table(splits: &Splits, clock: &Clock) -> Table {
    let mut table = Table::new(&[
        ("split", Align::Left),
        ("pool", Align::Left),
        ("weight", Align::Right),
        ("share", Align::Right),
        ("requests", Align::Right),
        ("failed", Align::Right),
        ("source", Align::Left),
    ]);
    for split in &splits.splits {
        for (at, (pool, weight)) in split.weights.iter().enumerate() {
            let requests = split.requests.get(pool);
            let failed = requests.map_or(0, |r| r.failed);
            let name = if at == 0 { cell(&split.name, Tone::Strong) } else { Cell::default() };
            table.row([
                name,
                pool.as_str().into(),
                weight.to_string().into(),
                percent(split.shares.get(pool).copied().unwrap_or(0.0)).into(),
                count(requests.map_or(0, |r| r.total)).into(),
                cell(count(failed), if failed == 0 { Tone::Plain } else { Tone::Warn }),
                if at == 0 { source(split, clock) } else { Cell::default() },
            ]);
        }
    }
    table
}

/// Where the weights came from: `file`, or who put them and what the file says.
fn source(split: &Split, clock: &Clock) -> Cell {
    let Some(put) = &split.override_ else { return split.source.as_str().into() };
    // What a rollout does, and why, is told of the rollout.
    let by_rollout = split.source == "rollout";
    let by = if by_rollout { String::new() } else { format!(" by {}", put.actor) };
    let mut text = format!("{}{by}", split.source);
    if let Some(reason) = put.reason.as_ref().filter(|_| !by_rollout) {
        let _ = write!(text, ", {reason:?}");
    }
    let file: Vec<String> =
        split.configured_weights.iter().map(|(pool, weight)| format!("{pool}={weight}")).collect();
    let _ = write!(text, "; file: {}", file.join(" "));
    if let Some(end) = &put.expires_at {
        let _ = write!(text, ", returns {}", clock.away(end));
    }
    cell(text, Tone::Warn)
}

/// Pools with their endpoints.
fn pool_table(pools: &Pools, clock: &Clock) -> Table {
    let mut table = Table::new(&[
        ("pool", Align::Left),
        ("state", Align::Left),
        ("endpoint", Align::Left),
        ("weight", Align::Right),
        ("state", Align::Left),
        ("in flight", Align::Right),
        ("connections", Align::Right),
        ("last check", Align::Left),
    ]);
    for pool in &pools.pools {
        let state = if pool.panic { "panic" } else { &pool.state };
        let (name, state) = (cell(&pool.name, Tone::Strong), cell(state, tone(state)));
        if pool.endpoints.is_empty() {
            table.row([name.clone(), state.clone(), cell("no endpoints", Tone::Faint)]);
        }
        for (at, endpoint) in pool.endpoints.iter().enumerate() {
            let check = endpoint.last_check.as_ref().map_or_else(Cell::default, |check| {
                let verdict = if check.ok { "ok" } else { check.detail.as_deref().unwrap_or("failed") };
                cell(
                    format!("{verdict}, {}", clock.away(&check.at)),
                    if check.ok { Tone::Faint } else { Tone::Bad },
                )
            });
            table.row([
                if at == 0 { name.clone() } else { Cell::default() },
                if at == 0 { state.clone() } else { Cell::default() },
                endpoint.address.as_str().into(),
                endpoint.weight.to_string().into(),
                cell(&endpoint.state, tone(&endpoint.state)),
                count(endpoint.in_flight).into(),
                count(endpoint.connections).into(),
                check,
            ]);
        }
    }
    table
}

/// What a state of a pool or an endpoint means to who reads it.
pub(super) fn tone(state: &str) -> Tone {
    match state {
        "ready" | "up" => Tone::Good,
        "down" | "ejected" | "panic" => Tone::Bad,
        "draining" | "drained" => Tone::Warn,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests;
