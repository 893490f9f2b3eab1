//! `tidegate drain`: no new requests for a pool or an endpoint, then wait until it is empty.

use std::time::Duration;

use serde_json::Value;
use tidegate_admin::client::{Client, segment};
use tidegate_core::address::Address;
use tidegate_core::units::Span;

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::model::{self, Endpoint, Pool};
use super::paint::Paint;
use super::progress::Progress;
use super::screen::Screen;
use super::status::tone;
use super::table::{Align, Table, cell};
use super::words::plural;

/// How often the pool is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Stop new requests for a pool or one endpoint, and wait until those in flight are done.
///
/// The drain goes on when you stop waiting; `undrain` calls it off.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How long requests in flight may go on; the pool's `drain_timeout` by default.
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Do not wait.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

/// A pool, or one of its endpoints.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The pool.
    pool: String,
    /// One endpoint, as 10.0.0.1:8080 or unix:/run/app.sock; all of the pool by default.
    endpoint: Option<Address>,
}

impl Place {
    fn pool_path(&self) -> String {
        format!("/v1/pools/{}", segment(&self.pool))
    }

    /// The path of a call about it.
    pub(super) fn path(&self, verb: &str) -> String {
        let pool = self.pool_path();
        match &self.endpoint {
            Some(endpoint) => format!("{pool}/endpoints/{}/{verb}", segment(&endpoint.to_string())),
            None => format!("{pool}/{verb}"),
        }
    }

    /// The pool's answer.
    pub(super) async fn look(&self, client: &Client) -> Result<Value, Failure> {
        Ok(client.get(&self.pool_path()).await?.body)
    }

    /// Shows the pool, or what of it was asked for.
    pub(super) fn show(&self, screen: Screen, answer: &Value) -> Result<(), Failure> {
        let mut pool: Pool = model::read(answer)?;
        if let Some(address) = &self.endpoint {
            pool.endpoints.retain(|endpoint| is_at(endpoint, address));
        }
        screen.show(answer, || render(&pool, screen.paint))
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { place, timeout, no_wait, intent, connection } = arguments;
    let (client, screen) = connection.open()?;
    let body = intent.body([("timeout", timeout.map(|timeout| timeout.to_string().into()))]);
    let answer = client.post(&intent.path(&place.path("drain")), &body).await?;
    if intent.dry_run {
        return screen.show(&answer.body, || format!("{} would drain; nothing was done\n", place.pool));
    }
    let answer = if *no_wait { place.look(&client).await? } else { wait(place, &client).await? };
    place.show(screen, &answer)
}

async fn wait(place: &Place, client: &Client) -> Result<Value, Failure> {
    let name = place.endpoint.as_ref().map_or_else(|| place.pool.clone(), ToString::to_string);
    let mut progress = Progress::begin(&name);
    loop {
        let answer = place.look(client).await?;
        match progress_of(&model::read(&answer)?, place.endpoint.as_ref()) {
            Seen::Draining { in_flight } => progress.show(in_flight),
            Seen::Drained => {
                progress.end(&format!("{name} is drained"));
                return Ok(answer);
            }
            Seen::CalledOff => {
                progress.end(&format!("{name} drains no longer"));
                return Err(Failure::new(
                    format!("the drain of {name} was called off before it was done"),
                    "`tidegate history` tells by whom",
                ));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a drain is.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Requests are in flight.
    Draining { in_flight: u64 },
    /// None is left.
    Drained,
    /// It drains no longer.
    CalledOff,
}

fn progress_of(pool: &Pool, endpoint: Option<&Address>) -> Seen {
    let (state, in_flight) = match endpoint {
        None => (pool.state.as_str(), pool.endpoints.iter().map(|endpoint| endpoint.in_flight).sum()),
        Some(address) => match pool.endpoints.iter().find(|endpoint| is_at(endpoint, address)) {
            Some(endpoint) => (endpoint.state.as_str(), endpoint.in_flight),
            // A change took it out of the pool, which is a drain as well.
            None => match pool.leaving.iter().find(|endpoint| is_at(endpoint, address)) {
                Some(leaving) if leaving.in_flight > 0 => ("draining", leaving.in_flight),
                _ => ("drained", 0),
            },
        },
    };
    match state {
        "drained" => Seen::Drained,
        "draining" => Seen::Draining { in_flight },
        _ => Seen::CalledOff,
    }
}

fn is_at(endpoint: &Endpoint, address: &Address) -> bool {
    endpoint.address.parse().as_ref() == Ok(address)
}

/// A pool with its endpoints.
fn render(pool: &Pool, paint: Paint) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]);
    for endpoint in &pool.endpoints {
        table.row([
            format!("  {}", endpoint.address).into(),
            cell(&endpoint.state, tone(&endpoint.state)),
            plural(endpoint.in_flight, "request in flight", "requests in flight").into(),
        ]);
    }
    let state = paint.apply(tone(&pool.state), &pool.state);
    format!("{} is {state}\n{}", paint.strong(&pool.name), table.render(paint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(state: &str, endpoints: &[(&str, &str, u64)]) -> Pool {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, state, n)| json!({ "address": address, "state": state, "in_flight": n }))
            .collect();
        model::read(&json!({ "name": "canary", "state": state, "endpoints": endpoints })).expect("a pool")
    }

    #[test]
    fn a_drain_is_done_when_nothing_is_in_flight() {
        let busy = pool("draining", &[("127.0.0.1:1", "draining", 2), ("127.0.0.1:2", "drained", 0)]);
        let mut gone = pool("ready", &[]);
        gone.leaving = pool("", &[("127.0.0.1:1", "", 4)]).endpoints;
        let at = |port: u16| Some(Address::Tcp(([127, 0, 0, 1], port).into()));
        for (pool, endpoint, seen) in [
            (&busy, None, Seen::Draining { in_flight: 2 }),
            (&busy, at(1), Seen::Draining { in_flight: 2 }),
            (&busy, at(2), Seen::Drained),
            (&busy, at(3), Seen::Drained),
            (&gone, at(1), Seen::Draining { in_flight: 4 }),
            (&pool("drained", &[]), None, Seen::Drained),
            (&pool("ready", &[("127.0.0.1:1", "up", 9)]), None, Seen::CalledOff),
            (&pool("ready", &[("127.0.0.1:1", "up", 9)]), at(1), Seen::CalledOff),
        ] {
            assert_eq!(progress_of(pool, endpoint.as_ref()), seen, "{endpoint:?}");
        }
    }

    #[test]
    fn a_pool_is_shown_with_its_endpoints() {
        let pool = pool("draining", &[("127.0.0.1:1", "draining", 1), ("127.0.0.1:20", "drained", 0)]);
        assert_eq!(
            render(&pool, Paint::plain()),
            "canary is draining\n  \
             127.0.0.1:1   draining  1 request in flight\n  \
             127.0.0.1:20  drained   0 requests in flight\n"
        );
    }

    #[test]
    fn paths_hold_any_address() {
        let place = |endpoint: Option<&str>| Place {
            pool: "canary".into(),
            endpoint: endpoint.map(|address| address.parse().expect("an address")),
        };
        for (endpoint, path) in [
            (None, "/v1/pools/canary/drain"),
            (Some("127.0.0.1:9001"), "/v1/pools/canary/endpoints/127.0.0.1%3A9001/drain"),
            (Some("[::1]:9001"), "/v1/pools/canary/endpoints/%5B%3A%3A1%5D%3A9001/drain"),
            (Some("unix:/run/a b"), "/v1/pools/canary/endpoints/unix%3A%2Frun%2Fa%20b/drain"),
        ] {
            assert_eq!(place(endpoint).path("drain"), path);
        }
    }
}
