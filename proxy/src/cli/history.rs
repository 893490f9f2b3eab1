//! `tidegate history`: past changes, newest first.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Connection;
use super::failure::Failure;
use super::model::{self, Entry, History, PoolValue, Values};
use super::paint::{Paint, Tone};
use super::table::{Align, Table, cell};
use super::words::Clock;

/// Show past changes, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// So many of them.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (client, screen) = arguments.connection.open()?;
    let mut answer = client.get("/v1/history").await?.body;
    if let Some(entries) = answer["history"].as_array_mut() {
        entries.truncate(usize::try_from(arguments.limit).unwrap_or(usize::MAX));
    }
    let history: History = model::read(&answer)?;
    screen.show(&answer, || render(&history, &Clock::system(), screen.paint))
}

fn render(history: &History, clock: &Clock, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("generation", Align::Right),
        ("time", Align::Left),
        ("actor", Align::Left),
        ("action", Align::Left),
        ("change", Align::Left),
        ("reason", Align::Left),
    ]);
    for entry in &history.history {
        table.row([
            entry.generation.to_string().into(),
            clock.local(&entry.time).into(),
            entry.actor.as_str().into(),
            entry.action.clone().unwrap_or_default().into(),
            what_changed(entry).into(),
            cell(entry.reason.clone().unwrap_or_default(), Tone::Faint),
        ]);
    }
    table.render(paint)
}

/// The differences between before and after, on one line.
pub(super) fn what_changed(entry: &Entry) -> String {
    let none = Values::default();
    let (before, after) = (entry.before.as_ref().unwrap_or(&none), entry.after.as_ref().unwrap_or(&none));
    let mut changes = Vec::new();
    for (name, value) in &after.splits {
        let none = BTreeMap::new();
        let old = before.splits.get(name).map_or(&none, |split| &split.weights);
        let moved = weight_changes(old, &value.weights);
        if !moved.is_empty() {
            changes.push(format!("{name}: {}", moved.join(", ")));
        }
    }
    for (name, value) in &after.pools {
        let none = PoolValue::default();
        let moved = pool_changes(before.pools.get(name).unwrap_or(&none), value);
        if !moved.is_empty() {
            changes.push(format!("{name}: {}", moved.join(", ")));
        }
    }
    let gone = before.splits.keys().filter(|name| !after.splits.contains_key(*name));
    let gone = gone.chain(before.pools.keys().filter(|name| !after.pools.contains_key(*name)));
    changes.extend(gone.map(|name| format!("{name}: gone")));
    changes.join("; ")
}

fn weight_changes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let pools: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |weight: Option<&u64>| weight.map_or("–".to_owned(), u64::to_string);
    let changed = pools.into_iter().filter(|pool| before.get(*pool) != after.get(*pool));
    changed.map(|pool| format!("{pool} {}→{}", shown(before.get(pool)), shown(after.get(pool)))).collect()
}

fn pool_changes(before: &PoolValue, after: &PoolValue) -> Vec<String> {
    let mut changes = Vec::new();
    match (before.draining, after.draining) {
        (false, true) => changes.push("drains".to_owned()),
        (true, false) => changes.push("drains no longer".to_owned()),
        _ => {}
    }
    let new = |of: &[String], than: &[String]| of.iter().filter(|a| !than.contains(a)).cloned().collect();
    let begun: Vec<String> = new(&after.draining_endpoints, &before.draining_endpoints);
    let ended: Vec<String> = new(&before.draining_endpoints, &after.draining_endpoints);
    changes.extend(begun.iter().map(|address| format!("{address} drains")));
    changes.extend(ended.iter().map(|address| format!("{address} drains no longer")));
    let weights = |pool: &PoolValue| -> BTreeMap<String, u64> {
        pool.endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.weight)).collect()
    };
    changes.extend(endpoint_changes(&weights(before), &weights(after)));
    changes
}

fn endpoint_changes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let added = after.iter().filter(|(address, _)| !before.contains_key(*address));
    let gone = before.keys().filter(|address| !after.contains_key(*address));
    let changed = after.iter().filter_map(|(address, weight)| {
        let old = before.get(address).filter(|old| *old != weight)?;
        Some(format!("{address} weight {old}→{weight}"))
    });
    let added = added.map(|(address, _)| format!("+{address}"));
    added.chain(gone.map(|address| format!("-{address}"))).chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_each_change() {
        let history = json!({ "history": [
            { "generation": 12, "time": "2026-03-01T11:58:00Z", "actor": "api", "action": "set_weights",
              "reason": "half", "before": { "splits": { "shop": { "weights": { "stable": 95, "canary": 5 } } } },
              "after": { "splits": { "shop": { "weights": { "stable": 50, "green": 50 } } } } },
            { "generation": 3, "time": "2026-02-28T09:00:00Z", "actor": "file", "action": "reload",
              "reason": null,
              "before": { "pools": { "a": { "endpoints": [
                  { "address": "10.0.0.1:80", "weight": 1 }, { "address": "10.0.0.2:80", "weight": 1 }] },
                  "old": { "endpoints": [] } } },
              "after": { "pools": { "a": { "draining": true, "draining_endpoints": ["10.0.0.1:80"],
                  "endpoints": [
                  { "address": "10.0.0.1:80", "weight": 2 }, { "address": "10.0.0.3:80", "weight": 1 }] } } } },
        ]});
        let history = model::read(&history).expect("a history");
        let expected = "\
generation  time                 actor  action       change                                                   reason
        12  11:58:00             api    set_weights  shop: canary 5→–, green –→50, stable 95→50               half
         3  2026-02-28 09:00:00  file   reload       a: drains, 10.0.0.1:80 drains, +10.0.0.3:80, -10.0.0.2:80, 10.0.0.1:80 weight 1→2; old: gone
";
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&render(&history, &Clock::fixed(), Paint::plain())), words(expected));
    }
}
