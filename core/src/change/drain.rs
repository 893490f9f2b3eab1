//! Draining and its end, by an operator. What a pool's rollout has in hand is its own to bring back.

use super::{By, Context, Next, Rejected};
use crate::address::Address;
use crate::pool_rollout;
use crate::state::{DrainOrder, Drains};
use crate::units::Span;

/// Refuses to bring back an endpoint of which a rollout has not let go.
pub(super) fn check_undrain(
    context: Context<'_>,
    pool: &str,
    endpoint: Option<&Address>,
) -> Result<(), Rejected> {
    let (Some(rollout), Some(address)) = (context.state.active_pool_rollout(pool), endpoint) else {
        return Ok(());
    };
    let is_in_hand = rollout.stage(address).is_some_and(pool_rollout::Stage::is_in_hand);
    if !is_in_hand {
        return Ok(());
    }
    let rollout = rollout.describe();
    Err(Rejected::Conflict(format!(
        "endpoint {address} of pool `{pool}` is being replaced by {rollout}; abort that instead"
    )))
}

impl Next {
    pub(super) fn drain(
        &mut self,
        pool: &str,
        endpoint: Option<&Address>,
        timeout: Option<Span>,
        by: By<'_>,
    ) {
        let order = DrainOrder {
            timeout_ms: timeout.map(Span::as_ms),
            actor: by.actor.to_owned(),
            reason: by.reason.map(str::to_owned),
            rollout: None,
        };
        let drains = self.state.drains.entry(pool.to_owned()).or_default();
        match endpoint {
            Some(address) => {
                drains.endpoints.insert(address.to_string(), order);
            }
            None => drains.pool = Some(order),
        }
        self.pools.insert(pool.to_owned());
    }

    pub(super) fn undrain(&mut self, pool: &str, endpoint: Option<&Address>) {
        match (self.state.drains.get_mut(pool), endpoint) {
            (Some(drains), Some(address)) => {
                drains.endpoints.remove(&address.to_string());
                if drains.is_empty() {
                    self.state.drains.remove(pool);
                }
            }
            (Some(_), None) => self.undrain_all(pool),
            (None, _) => {}
        }
        self.pools.insert(pool.to_owned());
    }

    /// Calls all drains of a pool off, but for those of a rollout under way.
    fn undrain_all(&mut self, pool: &str) {
        let Some(mut drains) = self.state.drains.remove(pool) else { return };
        let running = self.state.active_pool_rollout(pool).map(|rollout| rollout.id);
        drains.pool = None;
        drains.endpoints.retain(|_, order| order.rollout.is_some() && order.rollout == running);
        self.put_drains(pool, drains);
    }

    pub(super) fn put_drains(&mut self, pool: &str, drains: Drains) {
        if !drains.is_empty() {
            self.state.drains.insert(pool.to_owned(), drains);
        }
    }
}
