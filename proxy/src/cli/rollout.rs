//! `tidegate rollout`: start one, look at it, order it about.
//!
//! A rollout is a split's, or with `--pool` a pool's; both are ordered about with the same words. What the
//! API answers to any call is the rollout itself: [`model`] reads it, [`page`] shows all of it, [`told`]
//! says in two lines what is in force and what to do next, [`watch`] follows it.

mod bar;
mod model;
mod page;
mod plan;
mod start;
mod told;
mod watch;

use serde_json::Value;
use tidegate_admin::client::segment;

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::model as answers;
use super::words::Clock;
pub(super) use model::Rollout;
pub(super) use page::table;

/// Move a split to another pool in guarded steps, or replace what runs behind a pool.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate rollout start checkout --watch
  tidegate rollout start checkout --plan canary.toml --reason 'release 7'
  tidegate rollout abort checkout
  tidegate rollout start --pool stable")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Start(start::Arguments),
    Status(Look),
    Watch(watch::Arguments),
    /// Stay at the present share; the guard goes on watching.
    Pause(Order),
    /// Go on after a pause, or without the hook or check that holds it.
    Resume(Order),
    Promote(Promote),
    /// Give the candidate's share back to the baseline, at once; it is never refused.
    Abort(Order),
}

/// A split, or a pool.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// The split.
    split: Option<String>,
    /// A pool in place of a split: what runs behind it is replaced.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
}

impl Subject {
    /// The path of the rollout.
    fn path(&self) -> String {
        match (&self.split, &self.pool) {
            (Some(split), _) => format!("/v1/splits/{}/rollout", segment(split)),
            (None, pool) => format!("/v1/pools/{}/rollout", segment(pool.as_deref().unwrap_or_default())),
        }
    }

    fn is_pool(&self) -> bool {
        self.pool.is_some()
    }
}

/// Show a rollout: how far it is, what it has seen, what was decided.
#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct Order {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

/// Go on to the next step at once, or to all of the traffic.
#[derive(Debug, clap::Args)]
struct Promote {
    /// The split.
    split: String,
    /// To all of the traffic, not only to the next step.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::Start(arguments) => start::run(arguments).await,
        Verb::Watch(arguments) => watch::run(arguments).await,
        Verb::Status(look) => status(look).await,
        Verb::Pause(order) => post(order, "pause", None).await,
        Verb::Resume(order) => post(order, "resume", None).await,
        Verb::Abort(order) => post(order, "abort", None).await,
        Verb::Promote(Promote { split, full, intent, connection }) => {
            let subject = Subject { split: Some(split.clone()), pool: None };
            let order = Order { subject, intent: intent.clone(), connection: connection.clone() };
            post(&order, "promote", full.then_some(true.into())).await
        }
    }
}

async fn status(Look { subject, connection }: &Look) -> Result<(), Failure> {
    let (client, screen) = connection.open()?;
    let answer = client.get(&subject.path()).await?.body;
    let rollout: Rollout = answers::read(&answer)?;
    screen.show(&answer, || page::render(&rollout, &Clock::system(), screen.paint))
}

async fn post(order: &Order, verb: &str, full: Option<Value>) -> Result<(), Failure> {
    let Order { subject, intent, connection } = order;
    let (client, screen) = connection.open()?;
    let path = intent.path(&format!("{}/{verb}", subject.path()));
    let answer = client.post(&path, &intent.body([("full", full)])).await?.body;
    let rollout: Rollout = answers::read(&answer)?;
    told::warn_unless_durable(&rollout);
    screen.show(&answer, || told::render(&rollout, intent.dry_run, screen.paint))
}

#[cfg(test)]
mod tests;
