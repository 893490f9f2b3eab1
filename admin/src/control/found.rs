//! What a pool's name was found to stand for, on its way into the table.
//!
//! It comes by the same door as a change and under the same lock, so that tables are told in the order
//! in which they come into force. It waits for no disk: nothing of it is written down.

use std::sync::Arc;

use serde_json::Value;
use tidegate_core::address::Address;
use tidegate_core::event::Kind;
use tidegate_core::live::Found;

use super::{Control, blocking};

impl Control {
    /// Takes the addresses that `dns`, the name of a pool's endpoints, was found to stand for; whether
    /// that made another table.
    pub async fn found(self: &Arc<Self>, pool: Arc<str>, dns: Arc<str>, addresses: Vec<Address>) -> bool {
        let control = Arc::clone(self);
        // A change that waits for its disk has the lock.
        blocking(move || {
            let _one_at_a_time = control.keeper.lock();
            let Some(found) = control.live.found(&pool, &dns, &addresses, control.clock.now()) else {
                return false;
            };
            control.tables.send_replace(Arc::clone(&found.snapshot));
            control.tell_found(&pool, &dns, &found);
            true
        })
        .await
    }

    fn tell_found(&self, pool: &str, dns: &str, found: &Found) {
        let (added, removed) = (found.added.len(), found.removed.len());
        tracing::info!(pool, dns, added, removed, "the name has other addresses");
        let list = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Value>();
        let message = format!("{dns} of pool {pool} has other addresses: {added} new, {removed} gone");
        let detail = [
            ("action", "resolve".into()),
            ("pool", pool.into()),
            ("dns", dns.into()),
            ("added", list(&found.added)),
            ("removed", list(&found.removed)),
        ];
        self.tell(Kind::Change, "dns", message, detail);
    }
}
