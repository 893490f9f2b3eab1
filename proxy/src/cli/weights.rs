//! A split before and after a change, as `shift`, `cutover` and `revert` show it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate_admin::client::{Client, segment};

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::model::{self, Split};
use super::paint::{Paint, Tone};
use super::screen::Screen;
use super::table::{Align, Table, cell};
use super::words::percent;

/// A split as it is before a change.
pub(crate) struct Before {
    client: Client,
    screen: Screen,
    path: String,
    etag: Option<String>,
    split: Split,
}

impl Before {
    /// Looks at the split.
    pub(crate) async fn of(connection: &Connection, split: &str) -> Result<Self, Failure> {
        let (client, screen) = connection.open()?;
        let path = format!("/v1/splits/{}", segment(split));
        let answer = client.get(&path).await?;
        let split = model::read(&answer.body)?;
        Ok(Self { client, screen, path, etag: answer.etag, split })
    }

    /// The split.
    pub(crate) fn split(&self) -> &Split {
        &self.split
    }

    /// Puts weights, unless the split has changed since, and shows what came of it.
    pub(crate) async fn put(
        &self,
        weights: &BTreeMap<String, u64>,
        more: [(&'static str, Option<Value>); 2],
        intent: &Intent,
    ) -> Result<(), Failure> {
        let body = intent.body(more.into_iter().chain([("weights", Some(json!(weights)))]));
        let path = intent.path(&format!("{}/weights", self.path));
        let answer = self.client.put(&path, &body, self.etag.as_deref()).await?;
        self.show(&answer.body, intent.dry_run)
    }

    /// Asks for a change of the split, and shows what came of it.
    pub(crate) async fn post(&self, verb: &str, body: &Value, intent: &Intent) -> Result<(), Failure> {
        let path = intent.path(&format!("{}/{verb}", self.path));
        let answer = self.client.post(&path, body).await?;
        self.show(&answer.body, intent.dry_run)
    }

    fn show(&self, answer: &Value, dry_run: bool) -> Result<(), Failure> {
        let after: Split = model::read(answer)?;
        self.screen.show(answer, || render(&self.split, &after, dry_run, self.screen.paint))
    }
}

/// The change, a line for each pool.
fn render(before: &Split, after: &Split, dry_run: bool, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("pool", Align::Left),
        ("weight", Align::Right),
        ("", Align::Left),
        ("", Align::Right),
        ("share", Align::Right),
        ("", Align::Left),
        ("", Align::Right),
    ]);
    let pools: BTreeSet<&String> = before.weights.keys().chain(after.weights.keys()).collect();
    for pool in pools {
        let weight = |split: &Split| split.weights.get(pool).map_or("–".to_owned(), u64::to_string);
        let (old, new) = (share(before, pool), share(after, pool));
        let tone =
            if before.weights.get(pool) == after.weights.get(pool) { Tone::Plain } else { Tone::Strong };
        table.row([
            pool.as_str().into(),
            weight(before).into(),
            cell("→", Tone::Faint),
            cell(weight(after), tone),
            percent(old).into(),
            cell("→", Tone::Faint),
            cell(percent(new), tone),
        ]);
    }
    let name = paint.strong(&after.name);
    let title = if dry_run {
        format!("{name} would change; nothing was done\n")
    } else {
        format!("{name} is in force with generation {}\n", after.generation)
    };
    title + &table.render(paint)
}

/// A pool's share: its weight divided by the sum.
fn share(split: &Split, pool: &str) -> f64 {
    let sum: u64 = split.weights.values().sum();
    let weight = split.weights.get(pool).copied().unwrap_or(0);
    if sum == 0 { 0.0 } else { weight as f64 / sum as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(generation: u64, weights: &[(&str, u64)]) -> Split {
        let weights: BTreeMap<_, _> = weights.iter().copied().collect();
        let answer = json!({ "name": "shop", "generation": generation, "weights": weights });
        model::read(&answer).expect("a split")
    }

    #[test]
    fn a_change_is_shown_from_before_to_after() {
        let before = split(4, &[("stable", 95), ("canary", 5)]);
        let after = split(5, &[("stable", 50), ("canary", 50)]);
        assert_eq!(
            render(&before, &after, false, Paint::plain()),
            "shop is in force with generation 5\n\
             pool    weight          share\n\
             canary       5  →  50   5.0 %  →  50.0 %\n\
             stable      95  →  50  95.0 %  →  50.0 %\n"
        );
        let after = split(4, &[("stable", 95), ("green", 95)]);
        assert_eq!(
            render(&before, &after, true, Paint::plain()),
            "shop would change; nothing was done\n\
             pool    weight          share\n\
             canary       5  →   –   5.0 %  →   0.0 %\n\
             green        –  →  95   0.0 %  →  50.0 %\n\
             stable      95  →  95  95.0 %  →  50.0 %\n"
        );
    }
}
