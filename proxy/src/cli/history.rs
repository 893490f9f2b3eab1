//! `tidegate history`: past changes, newest first.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Connection;
use super::failure::Failure;
use super::model::{self, Entry, History, PoolRolloutValue, PoolValue, RolloutValue, Values};
use super::paint::{Paint, Tone};
use super::table::{Align, Table, cell};
use super::words::{Clock, percent};

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
            action(entry).into(),
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
        let mut moved = weight_changes(old, &value.weights);
        let old = before.splits.get(name).and_then(|split| split.rollout.as_ref());
        moved.extend(value.rollout.as_ref().and_then(|rollout| rollout_change(old, rollout)));
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

/// The action as people read it.
fn action(entry: &Entry) -> String {
    let action = entry.action.as_deref().unwrap_or_default();
    action.strip_prefix("rollout_").map_or(action.to_owned(), |verb| format!("rollout {verb}"))
}

/// `rollout 12 in step 2 at 25.0 %`, if it is not as it was.
fn rollout_change(before: Option<&RolloutValue>, after: &RolloutValue) -> Option<String> {
    let RolloutValue { id, state, step, percent: of_100 } = after;
    let before = before.filter(|before| before.id == *id);
    let place =
        if *step == 0 { String::new() } else { format!(" in step {step} at {}", percent(of_100 / 100.0)) };
    let said = match before {
        None => format!("begins{place}"),
        Some(before) if before.state != *state && state != "running" => state.clone(),
        Some(before) if before.state != *state && before.step == *step => format!("goes on{place}"),
        Some(before) if before.step != *step => place.trim_start().to_owned(),
        Some(_) => return None,
    };
    Some(format!("rollout {id} {said}"))
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
    if let Some(rollout) = &after.rollout {
        changes.extend(pool_rollout_changes(before.rollout.as_ref(), rollout));
    }
    changes
}

/// `rolling rollout 20 begins`, `10.0.0.1:80 replaced`.
fn pool_rollout_changes(before: Option<&PoolRolloutValue>, after: &PoolRolloutValue) -> Vec<String> {
    let PoolRolloutValue { id, strategy, state, endpoints } = after;
    let before = before.filter(|before| before.id == *id);
    let said = match before {
        None => Some("begins"),
        Some(before) if before.state != *state && state == "running" => Some("goes on"),
        Some(before) if before.state != *state => Some(state.as_str()),
        Some(_) => None,
    };
    let mut changes: Vec<String> =
        said.map(|said| format!("{strategy} rollout {id} {said}")).into_iter().collect();
    if let Some(before) = before {
        let moved =
            endpoints.iter().filter(|(address, state)| before.endpoints.get(*address) != Some(*state));
        changes.extend(moved.map(|(address, state)| format!("{address} {}", state.replace('_', " "))));
    }
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
            { "generation": 11, "time": "2026-03-01T11:57:00Z", "actor": "guard", "action": "rollout_abort",
              "reason": "it fails",
              "before": { "splits": { "shop": { "weights": { "stable": 75, "canary": 25 },
                  "rollout": { "id": 8, "state": "running", "step": 2, "percent": 25.0 } } } },
              "after": { "splits": { "shop": { "weights": { "stable": 100, "canary": 0 },
                  "rollout": { "id": 8, "state": "aborted", "step": 2, "percent": 0.0 } } } } },
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
        11  11:57:00 guard rollout abort shop: canary 25→0, stable 75→100, rollout 8 aborted it fails
         3  2026-02-28 09:00:00  file   reload       a: drains, 10.0.0.1:80 drains, +10.0.0.3:80, -10.0.0.2:80, 10.0.0.1:80 weight 1→2; old: gone
";
        // Whatever the columns are.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&render(&history, &Clock::fixed(), Paint::plain())), words(expected));
    }

    #[test]
    fn how_a_pools_rollout_went_on() {
        let value = |state: &str, stage: &str| PoolRolloutValue {
            id: 20,
            strategy: "rolling".into(),
            state: state.into(),
            endpoints: BTreeMap::from([("10.0.0.1:80".to_owned(), stage.to_owned())]),
        };
        for (before, after, said) in [
            (None, value("running", "waiting"), "rolling rollout 20 begins"),
            (Some(value("running", "waiting")), value("running", "draining"), "10.0.0.1:80 draining"),
            (
                Some(value("running", "replacing")),
                value("running", "waiting_healthy"),
                "10.0.0.1:80 waiting healthy",
            ),
            (Some(value("running", "draining")), value("paused", "draining"), "rolling rollout 20 paused"),
            (Some(value("paused", "draining")), value("running", "draining"), "rolling rollout 20 goes on"),
            (
                Some(value("running", "waiting_healthy")),
                value("succeeded", "replaced"),
                "rolling rollout 20 succeeded, 10.0.0.1:80 replaced",
            ),
        ] {
            assert_eq!(pool_rollout_changes(before.as_ref(), &after).join(", "), said);
        }
    }

    #[test]
    fn how_a_rollout_went_on() {
        let value = |state: &str, step, percent| RolloutValue { id: 8, state: state.into(), step, percent };
        for (before, after, said) in [
            (None, value("running", 0, 0.0), Some("rollout 8 begins")),
            (None, value("running", 1, 1.0), Some("rollout 8 begins in step 1 at 1.0 %")),
            (Some(value("running", 1, 1.0)), value("running", 2, 5.0), Some("rollout 8 in step 2 at 5.0 %")),
            (Some(value("running", 2, 5.0)), value("paused", 2, 5.0), Some("rollout 8 paused")),
            (
                Some(value("paused", 2, 5.0)),
                value("running", 2, 5.0),
                Some("rollout 8 goes on in step 2 at 5.0 %"),
            ),
            (Some(value("paused", 2, 5.0)), value("running", 3, 25.0), Some("rollout 8 in step 3 at 25.0 %")),
            (Some(value("running", 5, 100.0)), value("baking", 5, 100.0), Some("rollout 8 baking")),
            (Some(value("aborted", 2, 0.0)), value("aborted", 2, 0.0), None),
        ] {
            assert_eq!(rollout_change(before.as_ref(), &after).as_deref(), said, "{before:?} {after:?}");
        }
    }
}
