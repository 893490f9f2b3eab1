//! Active health checks: one task an endpoint, whatever its pool's weight.
//!
//! The tasks follow the table: each new one is held against those that run, endpoint by endpoint, so
//! that a reload which keeps a check keeps its rhythm. The first check is made at once. What the
//! results mean is decided by [`tidegate_core::health`].

mod check;
mod grpc;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_admin::Control;
use tidegate_core::address::Address;
use tidegate_core::cell::{EndpointCell, LastCheck};
use tidegate_core::config::Health;
use tidegate_core::event::Kind;
use tidegate_core::health::{Status, Thresholds};
use tidegate_core::snapshot::Snapshot;
use tokio::task::JoinHandle;

use check::Check;

/// A running check: of which endpoint of which pool.
type Key = (Arc<str>, Address);

struct Running {
    cell: Arc<EndpointCell>,
    health: Arc<Health>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs the checks of every table, until the process ends.
pub(crate) async fn run(control: Arc<Control>) {
    let mut tables = control.tables();
    let mut running: HashMap<Key, Running> = HashMap::new();
    loop {
        let snapshot = Arc::clone(&tables.borrow_and_update());
        follow(&control, &snapshot, &mut running);
        if tables.changed().await.is_err() {
            return;
        }
    }
}

fn follow(control: &Arc<Control>, snapshot: &Snapshot, running: &mut HashMap<Key, Running>) {
    let mut before = std::mem::take(running);
    for pool in &snapshot.pools {
        let Some(health) = &pool.health else { continue };
        for endpoint in &pool.endpoints {
            let key = (Arc::clone(&pool.name), endpoint.address().clone());
            let kept =
                before.remove(&key).filter(|r| Arc::ptr_eq(&r.cell, &endpoint.cell) && r.health == *health);
            let run = kept.unwrap_or_else(|| {
                let (cell, health) = (Arc::clone(&endpoint.cell), Arc::clone(health));
                let checks = check_forever(
                    Arc::clone(control),
                    Arc::clone(&pool.name),
                    Arc::clone(&cell),
                    Arc::clone(&health),
                );
                Running { cell, health, task: tokio::spawn(checks) }
            });
            running.insert(key, run);
        }
    }
}

async fn check_forever(control: Arc<Control>, pool: Arc<str>, cell: Arc<EndpointCell>, health: Arc<Health>) {
    let check = Check::new(&health, &cell.address, control.locate(&cell.address));
    let thresholds =
        Thresholds { healthy_after: health.healthy_after, unhealthy_after: health.unhealthy_after };
    loop {
        let speech = control.live().peek().pool_named(&pool).map(|pool| control.speech(pool));
        let (ok, detail) = match check.run(&speech.unwrap_or_default()).await {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let at_ms = control.clock().now().wall_ms;
        if let Some((_, after)) = cell.checked(LastCheck { at_ms, ok, detail: detail.clone() }, thresholds) {
            if after == Status::Up {
                cell.came_up(control.clock().mono_ms());
            }
            tell_health(&control, &pool, &cell, after, &detail);
        }
        tokio::time::sleep(health.interval.0.mul_f64(jitter())).await;
    }
}

/// Between 0.9 and 1.1, so that checks do not come in step.
fn jitter() -> f64 {
    0.9 + 0.2 * (crate::entropy::seed() >> 11) as f64 / (1u64 << 53) as f64
}

fn tell_health(control: &Control, pool: &str, cell: &EndpointCell, status: Status, detail: &str) {
    let message = format!("endpoint {} of pool {pool} is {}: {detail}", cell.address, status.as_str());
    match status {
        Status::Down => tracing::warn!(pool, endpoint = %cell.address, "{message}"),
        Status::Up | Status::Unknown => tracing::info!(pool, endpoint = %cell.address, "{message}"),
    }
    tell(control, pool, cell, status.as_str(), message, ("detail", detail.into()));
}

/// Tells that an endpoint was ejected for failing requests.
pub(crate) fn tell_ejected(control: &Control, pool: &str, cell: &EndpointCell, for_ms: u64) {
    let message = format!(
        "endpoint {} of pool {pool} is ejected for {for_ms} ms after failures in a row",
        cell.address
    );
    tracing::warn!(pool, endpoint = %cell.address, for_ms, "{message}");
    tell(control, pool, cell, "ejected", message, ("for_ms", for_ms.into()));
}

fn tell(
    control: &Control,
    pool: &str,
    cell: &EndpointCell,
    state: &str,
    message: String,
    more: (&str, Value),
) {
    let endpoint = cell.address.to_string().into();
    let detail = [("pool", pool.into()), ("endpoint", endpoint), ("state", state.into()), more];
    control.tell(Kind::Health, "health", message, detail);
}
