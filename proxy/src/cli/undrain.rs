//! `tidegate undrain`: new requests again for a pool or an endpoint.

use super::connection::{Connection, Intent};
use super::drain::Place;
use super::failure::Failure;

/// Call a drain off: a pool, or one endpoint, takes requests again.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { place, intent, connection } = arguments;
    let (client, screen) = connection.open()?;
    let answer = client.post(&intent.path(&place.path("undrain")), &intent.body([])).await?;
    if intent.dry_run {
        return screen.show(&answer.body, || "it would take requests again; nothing was done\n".to_owned());
    }
    place.show(screen, &place.look(&client).await?)
}
