//! What a pool's name was found to stand for: another table, and nothing else.
//!
//! It is seen and not intended, as health is: it makes no generation, no entry in the history and no
//! record in the journal, and a process that starts finds it anew. Which addresses a pool has is in the
//! table alone; every later table carries them over, until there is another answer.

use std::sync::Arc;

use super::Live;
use crate::address::Address;
use crate::change::Now;
use crate::compile::{Input, Reuse, compile};
use crate::pool::Endpoint;
use crate::snapshot::Snapshot;

/// A table with the addresses that a name was found to stand for.
#[derive(Clone, Debug)]
pub struct Found {
    /// The table.
    pub snapshot: Arc<Snapshot>,
    /// Addresses that the pool did not have before.
    pub added: Vec<Address>,
    /// Addresses that it no longer has.
    pub removed: Vec<Address>,
}

impl Live {
    /// Makes these addresses, each of which stands there once, the endpoints of a pool whose name is
    /// `dns`. Nothing to do where they are already, or where the pool has another name by now.
    pub fn found(&self, pool: &str, dns: &str, addresses: &[Address], now: Now) -> Option<Found> {
        // No change may come between the look at the table and the next one.
        let desired = self.desired.lock();
        let running = self.snapshot();
        let current = running.pool_named(pool)?;
        let is_asked = current.discovery.as_ref().is_some_and(|discovery| *discovery.name == *dns);
        let had: Vec<&Address> = current.endpoints.iter().map(Endpoint::address).collect();
        if !is_asked || had.iter().copied().eq(addresses) {
            return None;
        }
        let added = addresses.iter().filter(|address| !had.contains(address)).cloned().collect();
        let removed = had.iter().filter(|address| !addresses.contains(address)).map(|a| (*a).clone());
        let removed = removed.collect();
        let input = Input { config: &desired.config, state: &desired.state, generation: running.generation };
        let snapshot = Arc::new(compile(input, Reuse::Found(&running, pool, addresses)));
        self.publish(&running, &snapshot, now);
        Some(Found { snapshot, added, removed })
    }
}

#[cfg(test)]
mod tests;
