//! `tidegate cutover`: all of a split's traffic to one pool, in one swap.

use tidegate_core::units::Span;

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::weights::Before;

/// Send all traffic of a split to one pool, at once; `revert` brings it back.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The split.
    split: String,
    /// The pool.
    pool: String,
    /// Refuse if fewer of the pool's endpoints are up.
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_healthy: u32,
    /// Watch the pool for this long, with the guard, and the way back open: a rollout that only bakes.
    #[arg(long, value_name = "TIME")]
    bake: Option<Span>,
    /// Do it also when too few are up, and abort a rollout that decides over the split.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { split, pool, min_healthy, bake, force, intent, connection } = arguments;
    let before = Before::of(connection, split).await?;
    let body = intent.body([
        ("to", Some(pool.clone().into())),
        ("min_healthy", Some((*min_healthy).into())),
        ("bake", bake.map(|bake| bake.to_string().into())),
        ("force", force.then_some(true.into())),
    ]);
    before.post("cutover", &body, intent).await
}
