//! `tidegate revert`: the weights of a split before its last change.

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::weights::Before;

/// Bring back the weights of a split before its last change; always allowed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The split.
    split: String,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let before = Before::of(&arguments.connection, &arguments.split).await?;
    before.post("revert", &arguments.intent.body([]), &arguments.intent).await
}
