//! Tells when a pool begins to ignore health, and when that is over.
//!
//! Whether it does is decided anew by each pick ([`tidegate_core::pool::Pool::panics`]); this looks at
//! it from time to time, for ejections end without anybody's doing. Where no pool has a threshold it
//! sleeps until the next table.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate_admin::Control;
use tidegate_core::event::Kind;
use tidegate_core::pool::Pool;
use tidegate_core::snapshot::Snapshot;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Follows every table, until the process ends.
pub(crate) async fn run(control: Arc<Control>) {
    let mut tables = control.tables();
    let mut panicking: HashSet<Arc<str>> = HashSet::new();
    loop {
        let snapshot = Arc::clone(&tables.borrow_and_update());
        look(&control, &snapshot, &mut panicking);
        let changed = if snapshot.pools.iter().any(|pool| pool.panic_threshold > 0) {
            match tokio::time::timeout(LOOK_EVERY, tables.changed()).await {
                Ok(changed) => changed,
                Err(_) => continue,
            }
        } else {
            tables.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

fn look(control: &Control, snapshot: &Snapshot, panicking: &mut HashSet<Arc<str>>) {
    let now_ms = control.clock().mono_ms();
    panicking.retain(|name| snapshot.pool_named(name).is_some());
    for pool in &snapshot.pools {
        let (panics, did) = (pool.panics(now_ms), panicking.contains(&pool.name));
        if panics == did {
            continue;
        }
        if panics {
            panicking.insert(Arc::clone(&pool.name));
        } else {
            panicking.remove(&pool.name);
        }
        tell(control, pool, panics, now_ms);
    }
}

fn tell(control: &Control, pool: &Pool, panics: bool, now_ms: u64) {
    let (name, threshold, healthy) = (&*pool.name, pool.panic_threshold, pool.healthy(now_ms));
    let endpoints = pool.endpoints.len();
    let message = if panics {
        tracing::warn!(pool = name, healthy, endpoints, threshold, "panic: health is ignored");
        format!(
            "pool {name} panics: {healthy} of {endpoints} endpoints are up, under {threshold} %: health is ignored"
        )
    } else {
        tracing::info!(pool = name, healthy, endpoints, threshold, "panic is over: health counts again");
        format!(
            "pool {name} panics no longer: {healthy} of {endpoints} endpoints are up, health counts again"
        )
    };
    let detail = [
        ("pool", name.into()),
        ("state", if panics { "panic" } else { "calm" }.into()),
        ("healthy", healthy.into()),
        ("endpoints", endpoints.into()),
        ("threshold", threshold.into()),
    ];
    control.tell(Kind::Health, "health", message, detail);
}
