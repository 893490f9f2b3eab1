//! `tidegate restore`: the weights and endpoints of an earlier generation.

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::history::what_changed;
use super::model::{self, Entry};
use super::paint::Paint;

/// Bring back the weights and endpoints that were in force with a generation, as a new change.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The generation, as `history` shows it.
    generation: u64,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { generation, intent, connection } = arguments;
    let (client, screen) = connection.open()?;
    let path = intent.path(&format!("/v1/history/{generation}/restore"));
    let answer = client.post(&path, &intent.body([])).await?.body;
    let entry: Entry = model::read(&answer)?;
    screen.show(&answer, || render(*generation, &entry, intent.dry_run, screen.paint))
}

fn render(restored: u64, entry: &Entry, dry_run: bool, paint: Paint) -> String {
    let changed = match what_changed(entry) {
        nothing if nothing.is_empty() => "nothing differs".to_owned(),
        changed => changed,
    };
    let title = if dry_run {
        format!("generation {restored} would come back; nothing was done")
    } else {
        format!("generation {restored} is back, as generation {}", entry.generation)
    };
    format!("{}\n  {changed}\n", paint.strong(&title))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_back_is_shown() {
        let entry = json!({
            "generation": 9,
            "before": { "splits": { "shop": { "weights": { "stable": 50, "canary": 50 } } } },
            "after": { "splits": { "shop": { "weights": { "stable": 95, "canary": 5 } } } },
        });
        let entry = model::read(&entry).expect("an entry");
        assert_eq!(
            render(4, &entry, false, Paint::plain()),
            "generation 4 is back, as generation 9\n  shop: canary 50→5, stable 50→95\n"
        );
        assert_eq!(
            render(4, &Entry::default(), true, Paint::plain()),
            "generation 4 would come back; nothing was done\n  nothing differs\n"
        );
    }
}
