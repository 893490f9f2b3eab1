//! Going back: to a split's weights before their last change, and to what a generation had in force.
//!
//! Both make an ordinary change of it. The history holds values before and after each change, so a
//! value of any generation in it can be found although the history is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{By, Context, Next, Rejected, not_found};
use crate::state::{Entry, Values, Weights, split_names};
use crate::units::Generation;

/// A split's weights before its last change.
pub(super) fn weights_before(context: Context<'_>, split: &str) -> Result<Weights, Rejected> {
    if context.snapshot.split_named(split).is_none() {
        return Err(not_found("split", split, split_names(context.config)));
    }
    let earlier = context.state.earlier.get(split).cloned();
    earlier.ok_or_else(|| Rejected::Conflict(format!("split `{split}` has no earlier weights to go back to")))
}

/// Puts back what was in force with a generation, where it differs from what is.
pub(super) fn restore(
    next: &mut Next,
    context: Context<'_>,
    generation: Generation,
    by: By<'_>,
) -> Result<(), Rejected> {
    let oldest = context.history.front().map_or(context.state.generation, |e| e.generation);
    if generation < oldest || generation > context.state.generation {
        return Err(not_found("generation", &generation.to_string(), std::iter::empty()));
    }
    let pools = context.config.pools.keys().map(String::as_str);
    let now = context.state.values(context.config, split_names(context.config), pools);
    let then = values_at(context.history, generation);
    for (split, value) in &now.splits {
        if let Some(then) = then.splits.get(split)
            && then.weights != value.weights
        {
            super::rollout::give_way(next, split, None, by)?;
            next.set_weights(split, then.weights.clone(), None, by)?;
        }
    }
    for (pool, value) in &now.pools {
        if let Some(then) = then.pools.get(pool)
            && then.endpoints != value.endpoints
            && context.config.pools.get(pool).is_some_and(|pool| pool.dns.is_none())
        {
            next.set_endpoints(pool, then.endpoints.clone(), None, by);
        }
    }
    Ok(())
}

/// Values as they were in force with a generation: what changes since then found, and what those up
/// to it made. What neither knows has not changed at all.
fn values_at(history: &VecDeque<Arc<Entry>>, generation: Generation) -> Values {
    let mut then = Values::default();
    for entry in history.iter().rev().take_while(|e| e.generation > generation) {
        then.splits.undo(&entry.before.splits, &entry.after.splits, entry.is_start());
        then.pools.undo(&entry.before.pools, &entry.after.pools, entry.is_start());
    }
    for entry in history.iter().take_while(|e| e.generation <= generation) {
        redo(&mut then, entry);
    }
    then
}

/// The values that a history ends with.
pub(crate) fn last_known(history: &VecDeque<Arc<Entry>>) -> Values {
    let mut last = Values::default();
    for entry in history {
        redo(&mut last, entry);
    }
    last
}

fn redo(values: &mut Values, entry: &Entry) {
    if entry.is_start() {
        *values = entry.after.clone();
        return;
    }
    values.splits.redo(&entry.before.splits, &entry.after.splits);
    values.pools.redo(&entry.before.pools, &entry.after.pools);
}

/// Values by name, moved along the history.
trait Moved {
    fn redo(&mut self, before: &Self, after: &Self);
    fn undo(&mut self, before: &Self, after: &Self, is_start: bool);
}

impl<T: Clone> Moved for BTreeMap<String, T> {
    fn redo(&mut self, before: &Self, after: &Self) {
        self.retain(|name, _| after.contains_key(name) || !before.contains_key(name));
        self.extend(after.clone());
    }

    /// A start tells all that is in force after it, but only a part of what was before.
    fn undo(&mut self, before: &Self, after: &Self, is_start: bool) {
        if !is_start {
            self.retain(|name, _| before.contains_key(name) || !after.contains_key(name));
        }
        self.extend(before.clone());
    }
}
