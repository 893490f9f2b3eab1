//! The end of endpoints: of those that drain, and of those that a change has removed.
//!
//! The table has already stopped giving them new requests. This waits until nothing is in flight or
//! the drain's time is over, closes every connection to the endpoint, kept or in use, and tells how
//! it ended. Called off when a later table takes the endpoint back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_admin::Control;
use tidegate_core::address::Address;
use tidegate_core::cell::EndpointCell;
use tidegate_core::event::Kind;
use tidegate_core::pool::Pool;
use tidegate_core::snapshot::Snapshot;

use crate::peer::{self, close_connections};
use crate::shutdown::FAREWELL;

const LOOK_EVERY: Duration = Duration::from_millis(50);

type Key = (Arc<str>, Address);

/// An endpoint on its way out.
struct Leaving {
    cell: Arc<EndpointCell>,
    began_ms: u64,
    deadline_ms: u64,
    done: bool,
}

/// Follows every table, until the process ends.
pub(crate) async fn run(control: Arc<Control>) {
    let mut tables = control.tables();
    let mut leaving: HashMap<Key, Leaving> = HashMap::new();
    let mut previous = control.live().snapshot();
    loop {
        let snapshot = Arc::clone(&tables.borrow_and_update());
        follow(&previous, &snapshot, &mut leaving, control.clock().mono_ms());
        previous = snapshot;
        loop {
            look(&control, &mut leaving);
            let changed = if leaving.values().all(|l| l.done) {
                tables.changed().await
            } else {
                match tokio::time::timeout(LOOK_EVERY, tables.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => continue,
                }
            };
            if changed.is_err() {
                return;
            }
            break;
        }
    }
}

/// Takes up what this table sends away, and drops what it takes back.
fn follow(previous: &Snapshot, snapshot: &Snapshot, leaving: &mut HashMap<Key, Leaving>, now_ms: u64) {
    let mut before = std::mem::take(leaving);
    let mut take = |pool: &Pool, cell: &Arc<EndpointCell>, time: Duration| {
        let key = (Arc::clone(&pool.name), cell.address.clone());
        let known = before.remove(&key).filter(|l| Arc::ptr_eq(&l.cell, cell));
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let one = known.unwrap_or_else(|| Leaving {
            cell: Arc::clone(cell),
            began_ms: now_ms,
            deadline_ms: now_ms.saturating_add(time_ms),
            done: false,
        });
        leaving.insert(key, one);
    };
    for pool in &snapshot.pools {
        for endpoint in &pool.endpoints {
            if let Some(time) = endpoint.draining.or(pool.draining) {
                take(pool, &endpoint.cell, time);
            }
        }
        for cell in &pool.leaving {
            take(pool, cell, pool.timeouts.drain);
        }
    }
    let is_gone = |name: &str| snapshot.pool_named(name).is_none();
    for pool in previous.pools.iter().filter(|pool| is_gone(&pool.name)) {
        let cells = pool.endpoints.iter().map(|e| &e.cell).chain(&pool.leaving);
        cells.for_each(|cell| take(pool, cell, pool.timeouts.drain));
    }
    // Of pools that went earlier no table knows any more.
    leaving.extend(before.into_iter().filter(|((pool, _), one)| is_gone(pool) && !one.done));
}

fn look(control: &Control, leaving: &mut HashMap<Key, Leaving>) {
    let now_ms = control.clock().mono_ms();
    for ((pool, _), one) in leaving.iter_mut().filter(|(_, l)| !l.done) {
        let in_flight = one.cell.in_flight();
        if in_flight == 0 || now_ms >= one.deadline_ms {
            close_connections(&one.cell);
            one.done = true;
            tell(control, pool, one, in_flight, now_ms);
        } else if now_ms.saturating_add(farewell_ms()) >= one.deadline_ms {
            peer::cut(&one.cell).cancel();
        }
    }
}

/// So long before the deadline tunnels are told that they end.
fn farewell_ms() -> u64 {
    u64::try_from(FAREWELL.as_millis()).unwrap_or(u64::MAX)
}

fn tell(control: &Control, pool: &str, one: &Leaving, cut: u32, now_ms: u64) {
    let after_ms = now_ms.saturating_sub(one.began_ms);
    let address = &one.cell.address;
    let message = if cut == 0 {
        tracing::info!(pool, endpoint = %address, after_ms, "drained");
        format!("endpoint {address} of pool {pool} has drained")
    } else {
        tracing::warn!(pool, endpoint = %address, after_ms, cut, "drain deadline reached, requests were cut");
        format!("endpoint {address} of pool {pool} was cut off from {cut} request(s) at its drain's deadline")
    };
    let detail = [
        ("pool", pool.into()),
        ("endpoint", address.to_string().into()),
        ("state", "drained".into()),
        ("cut", cut.into()),
        ("after_ms", after_ms.into()),
    ];
    control.tell(Kind::Drain, "drain", message, detail);
}
