//! `tidegate events`: what happens, as it happens.

use serde_json::Value;

use super::connection::Connection;
use super::failure::Failure;
use super::history::what_changed;
use super::model::{self, Entry};
use super::paint::{Paint, Tone};
use super::screen::{Format, print, print_json_line};
use super::words::{Clock, plural};

/// Show what happens as it happens: changes, health, drains, reloads; a line each, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (client, screen) = arguments.connection.open()?;
    let mut events = client.events().await?;
    while let Some((kind, event)) = events.next().await? {
        match screen.format {
            Format::Json => print_json_line(&event)?,
            Format::Text => print(&render(&kind, &event, &Clock::system(), screen.paint)?)?,
        }
    }
    Err(Failure::new("Tidegate ended the event stream", "it may be stopping; try again in a moment"))
}

fn render(kind: &str, event: &Value, clock: &Clock, paint: Paint) -> Result<String, Failure> {
    let entry: Entry = model::read(event)?;
    if let Some(skipped) = entry.skipped {
        let missed = plural(skipped, "event was", "events were");
        let said = format!("{missed} missed, for want of speed; `tidegate history` has the changes\n");
        return Ok(paint.apply(Tone::Warn, &said));
    }
    let mut said = entry.message.clone().unwrap_or_default();
    for more in [what_changed(&entry), entry.reason.unwrap_or_default()] {
        if !more.is_empty() {
            said.push_str(if said.is_empty() { "" } else { "; " });
            said.push_str(&more);
        }
    }
    // Padded before it is coloured: colours have no width.
    let tone = if kind == "health" { Tone::Warn } else { Tone::Strong };
    let generation = format!("gen {}", entry.generation);
    Ok(format!(
        "{}  {}  {generation:<8}  {said}\n",
        paint.faint(&clock.local(&entry.time)),
        paint.apply(tone, &format!("{kind:<7}")),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let cases = [
            (
                "change",
                json!({
                    "kind": "change", "time": "2026-03-01T11:58:00Z", "generation": 7, "actor": "api",
                    "message": "set_weights by api", "action": "set_weights", "reason": "half",
                    "before": { "splits": { "shop": { "weights": { "stable": 95 } } } },
                    "after": { "splits": { "shop": { "weights": { "stable": 50 } } } },
                }),
                "11:58:00  change   gen 7     set_weights by api; shop: stable 95→50; half\n",
            ),
            (
                "health",
                json!({ "time": "2026-03-01T11:58:01Z", "generation": 7, "message": "127.0.0.1:1 is down" }),
                "11:58:01  health   gen 7     127.0.0.1:1 is down\n",
            ),
            (
                "skipped",
                json!({ "skipped": 7 }),
                "7 events were missed, for want of speed; `tidegate history` has the changes\n",
            ),
            ("new", json!({}), "  new      gen 0     \n"),
        ];
        for (kind, event, line) in cases {
            assert_eq!(render(kind, &event, &Clock::fixed(), Paint::plain()).expect("read"), line);
        }
    }
}
