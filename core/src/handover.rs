//! What a process hands over to the one that takes its place, beside its sockets: all that is known and
//! stands in no file.
//!
//! Runtime changes and history are in it also where they are on disk: what is in force counts, not what
//! could be written down, and the new process may write to another folder. What is known of endpoints is
//! in it so that the new process does not begin with endpoints of which nothing is known. Counters and a
//! rollout's ledger stay behind, as at any restart.
//!
//! Pure. What sends it is the data plane's `upgrade`; [`crate::live`] starts with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::cell::Known;
use crate::change::{Change, Now, Request};
use crate::compile::asks_the_same;
use crate::config::Health;
use crate::live::View;
use crate::pool_rollout;
use crate::rollout::{Act, Found, Order};
use crate::snapshot::Snapshot;
use crate::state::{Entry, State, Values};

/// All that is known and stands in no file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Handover {
    /// Runtime changes in force.
    pub state: State,
    /// Past changes, oldest first.
    pub history: Vec<Arc<Entry>>,
    /// What is known of endpoints, by pool.
    pub pools: BTreeMap<String, KnownPool>,
}

/// What is known of a pool's endpoints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KnownPool {
    /// What was asked to know it.
    check: Option<Health>,
    endpoints: BTreeMap<Address, Known>,
}

impl Handover {
    /// All that is known now.
    pub fn of(view: &View, now: Now) -> Self {
        let pools = view.snapshot.pools.iter().map(|pool| {
            let known = pool.endpoints.iter().map(|e| (e.address().clone(), e.cell.known(now.mono_ms)));
            let check = pool.health.as_deref().cloned();
            (pool.name.to_string(), KnownPool { check, endpoints: known.collect() })
        });
        Self {
            state: view.state.clone(),
            history: view.history.iter().cloned().collect(),
            pools: pools.collect(),
        }
    }

    /// Tells the endpoints of a first table what is known of them.
    pub fn tell(&self, table: &Snapshot, now: Now) {
        for pool in &table.pools {
            let Some(known) = self.pools.get(&*pool.name) else { continue };
            // The results of another question say nothing.
            let is_checked_alike = asks_the_same(known.check.as_ref(), pool.health.as_deref());
            for endpoint in &pool.endpoints {
                if let Some(known) = known.endpoints.get(endpoint.address()) {
                    endpoint.cell.take_over(known, is_checked_alike, now.mono_ms);
                }
            }
        }
    }
}

/// The changes that make an abort again which another process made: the newer one of two processes has to
/// abort, too.
pub fn abort_again(entry: &Entry) -> Vec<Request> {
    let Values { splits, pools } = &entry.after;
    let of_splits = splits.iter().filter_map(|(split, value)| {
        let id = value.rollout.as_ref()?.id;
        let verdict = entry.verdict.as_deref().cloned();
        let order = match verdict {
            None => Order::Abort,
            verdict => Order::Found(Box::new(Found { act: Act::Abort, verdict, id, revision: 0 })),
        };
        Some(Change::Rollout { split: split.clone(), order, known: None })
    });
    let of_pools = pools.iter().filter(|(_, value)| value.rollout.is_some()).map(|(pool, value)| {
        let keep = value.draining_endpoints.iter().filter_map(|address| address.parse().ok()).collect();
        let order = pool_rollout::Order::Abort { keep };
        Change::PoolRollout { pool: pool.clone(), order, seen: None }
    });
    let request =
        |change| Request { change, actor: entry.actor.clone(), reason: entry.reason.clone(), if_match: None };
    of_splits.chain(of_pools).map(request).collect()
}

#[cfg(test)]
mod tests;
