//! What the controller knows of rollouts beyond the table, for whoever wants to see it.
//!
//! The table holds a rollout as of its last change; between two changes evidence gathers every 100 ms,
//! and that is here. Nothing depends on it: it is written by one task and read by calls and scrapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_core::guard::Test;
use tidegate_core::rollout::{Known, Rollout, Said};
use tidegate_core::snapshot::Snapshot;
use tidegate_core::state::Entry;
use tidegate_core::units::Generation;

use crate::controller::Ended;

/// A rollout at its last look.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) id: Generation,
    pub(crate) known: Known,
    pub(crate) tests: Vec<Test>,
}

/// All rollouts, by split.
#[derive(Debug, Default)]
pub(crate) struct Board {
    watched: Mutex<BTreeMap<String, Watched>>,
    ended: Mutex<Ended>,
    /// Those of pools.
    pub(crate) pools: crate::pool_controller::Board,
}

impl Board {
    pub(crate) fn put(&self, split: &str, watched: Watched) {
        self.watched.lock().insert(split.to_owned(), watched);
    }

    /// The rollout's last look, if there was one.
    pub(crate) fn get(&self, split: &str, id: Generation) -> Option<Watched> {
        self.watched.lock().get(split).filter(|watched| watched.id == id).cloned()
    }

    pub(crate) fn retain(&self, is_running: impl Fn(&str) -> bool) {
        self.watched.lock().retain(|split, _| is_running(split));
    }

    /// Notes the rollouts that a change has ended: their hooks are to be told.
    pub(crate) fn note_ended(&self, entry: &Entry, before: &Snapshot, after: &Snapshot) {
        for split in entry.after.splits.keys() {
            let of = |table: &Snapshot| table.split_named(split)?.rollout.clone();
            let (was, is) = (of(before), of(after));
            let replaced = was.as_ref().filter(|was| was.is_active());
            if let Some(was) = replaced.filter(|was| is.as_ref().is_none_or(|is| is.id != was.id)) {
                // Another one has begun in its place by the same change.
                let (by, why) = (entry.actor.clone(), entry.reason.clone());
                let ended = was.give_way(Said { by, why, at_ms: entry.time_ms });
                self.ended.lock().push_back((split.clone(), Arc::new(ended)));
            }
            let Some(rollout) = is.filter(|rollout| !rollout.is_active()) else { continue };
            let was = was.filter(|was| was.id == rollout.id);
            if was.is_none_or(|was| was.status() != rollout.status()) {
                self.ended.lock().push_back((split.clone(), rollout));
            }
        }
    }

    pub(crate) fn take_ended(&self) -> Vec<(String, Arc<Rollout>)> {
        std::mem::take(&mut *self.ended.lock()).into()
    }
}
