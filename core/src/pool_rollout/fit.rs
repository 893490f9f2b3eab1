//! What happens to pools' rollouts when something else changes: the process, the file, the endpoints.

use std::collections::BTreeSet;

use super::{Ordered, PoolRollout, Stage};
use crate::address::Address;
use crate::change::Dropped;
use crate::config::Config;
use crate::rollout::{End, Said};
use crate::state::State;

/// Brings rollouts in line with the endpoints in force. One whose pool is gone is forgotten; one that has
/// an endpoint in hand which is gone is aborted; of others that are gone it forgets.
pub(crate) fn fit(state: &mut State, config: &Config, now_wall_ms: u64) -> Vec<Dropped> {
    const GONE: &str = "the pool is no longer in the file";
    const REPLACED: &str = "an endpoint that it was replacing is no longer in the pool";
    let mut dropped = Vec::new();
    let mut rollouts = std::mem::take(&mut state.pool_rollouts);
    rollouts.retain(|pool, rollout| {
        let what = || format!("rollout {} of pool {pool}", rollout.id);
        let Some(in_force) = state.endpoints(config, pool) else {
            dropped.extend(rollout.is_active().then(|| Dropped { what: what(), why: GONE }));
            return false;
        };
        if !rollout.is_active() {
            return true;
        }
        let there: BTreeSet<Address> = in_force.iter().filter_map(|e| e.address.parse().ok()).collect();
        if rollout.in_hand().all(|item| there.contains(&item.address)) {
            rollout.endpoints.retain(|item| there.contains(&item.address));
            return true;
        }
        dropped.push(Dropped { what: what(), why: REPLACED });
        let said = Said { by: "file".into(), why: Some(REPLACED.into()), at_ms: now_wall_ms };
        abort(state, pool, rollout, said);
        rollout.endpoints.retain(|item| there.contains(&item.address));
        true
    });
    state.pool_rollouts = rollouts;
    dropped
}

/// No rollout goes on by itself after a restart: a rolling one stands still, with what it drained. A
/// recreate that held its pool is over: requests must not wait for what nobody does.
pub(crate) fn after_restart(state: &mut State, now_wall_ms: u64) {
    let mut rollouts = std::mem::take(&mut state.pool_rollouts);
    for (pool, rollout) in rollouts.iter_mut().filter(|(_, rollout)| rollout.is_active()) {
        let said = |why: &str| Said { by: "restart".into(), why: Some(why.into()), at_ms: now_wall_ms };
        if rollout.holds() {
            let why = "the process has restarted while requests waited; what runs behind the pool may be \
                       old, new or away";
            abort(state, pool, rollout, said(why));
        } else {
            rollout.revision += 1;
            rollout.stands_still = true;
            rollout.paused.get_or_insert_with(|| said("the process has restarted; resume to go on"));
        }
    }
    state.pool_rollouts = rollouts;
}

/// Calls a rollout off on behalf of no operator. Where nothing checks whether they serve, endpoints that
/// were being replaced stay drained.
fn abort(state: &mut State, pool: &str, rollout: &mut PoolRollout, said: Said) {
    let keep: Vec<Address> = rollout
        .in_hand()
        .filter(|item| item.stage != Stage::Draining)
        .map(|item| item.address.clone())
        .collect();
    let drains = state.drains.remove(pool).unwrap_or_default();
    let mut next = Ordered { rollout: rollout.clone(), drains };
    next.rollout.revision += 1;
    next.end(End::Aborted, &keep, said);
    *rollout = next.rollout;
    if !next.drains.is_empty() {
        state.drains.insert(pool.to_owned(), next.drains);
    }
}
