//! Pools and endpoints: what is in flight, connected, tried and checked.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use tidegate_core::health::Status;
use tidegate_core::mirror::Outcome;
use tidegate_core::pool::{Pool, PoolId};
use tidegate_core::snapshot::Snapshot;

use super::family::{Family, number};

/// The families of a table; `mono_ms` is on the monotonic clock.
pub(super) fn families(snapshot: &Snapshot, mono_ms: u64) -> Vec<Family> {
    let mut families = of_pools(snapshot, mono_ms);
    families.push(copies(snapshot));
    families.extend(of_endpoints(snapshot));
    families
}

fn of_pools(snapshot: &Snapshot, mono_ms: u64) -> Vec<Family> {
    let mut in_flight = Family::gauge("tidegate_requests_in_flight", "Requests in flight to a pool.");
    let mut waiting = Family::gauge(
        "tidegate_requests_waiting",
        "Requests that wait for a place at a pool, or for the pool.",
    );
    let mut overloaded = Family::counter(
        "tidegate_overloaded_total",
        "Requests refused because too much was asked of a pool.",
    );
    let mut panic = Family::gauge(
        "tidegate_pool_panic",
        "Whether so few endpoints are usable that health is ignored; only with a threshold.",
    );
    let mut tunnels = Family::gauge(
        "tidegate_tunnels",
        "Connections to a pool that go on after an upgrade, as WebSockets do.",
    );
    let mut attempts = Family::counter("tidegate_attempts_total", "Tries at a pool's endpoints, by outcome.");
    let mut connections =
        Family::gauge("tidegate_upstream_connections", "Connections to a pool's endpoints.");
    for pool in &snapshot.pools {
        let name = &*pool.name;
        in_flight.add(&[("pool", name)], f64::from(pool.cell.in_flight()));
        waiting.add(&[("pool", name)], f64::from(pool.waiting()));
        overloaded.add(&[("pool", name)], number(pool.cell.overloaded.load(Relaxed)));
        if pool.panic_threshold > 0 {
            panic.add(&[("pool", name)], f64::from(u8::from(pool.panics(mono_ms))));
        }
        tunnels.add(&[("pool", name)], f64::from(pool.cell.tunnels()));
        for (outcome, count) in pool.cell.attempts.read() {
            attempts.add(&[("pool", name), ("outcome", outcome)], number(count));
        }
        let (active, idle) = connections_of(pool);
        connections.add(&[("pool", name), ("state", "active")], number(active));
        connections.add(&[("pool", name), ("state", "idle")], number(idle));
    }
    vec![in_flight, waiting, overloaded, panic, tunnels, attempts, connections]
}

/// Copies of requests, of pools that a route mirrors to.
fn copies(snapshot: &Snapshot) -> Family {
    let mut copies = Family::counter("tidegate_mirrored_total", "Copies of requests, by outcome.");
    let pools: BTreeSet<PoolId> = snapshot.routes.iter().flat_map(|r| &r.mirrors).map(|m| m.pool).collect();
    for pool in pools.into_iter().map(|id| snapshot.pool(id)) {
        for outcome in Outcome::ALL {
            let labels = [("pool", &*pool.name), ("outcome", outcome.as_str())];
            copies.add(&labels, number(pool.cell.copies.count(outcome)));
        }
    }
    copies
}

/// Connections in use and kept. A request in flight holds one, except while it waits to connect.
fn connections_of(pool: &Pool) -> (u64, u64) {
    let cells = pool.endpoints.iter().map(|endpoint| &endpoint.cell).chain(&pool.leaving);
    cells.fold((0, 0), |(active, idle), cell| {
        let (open, used) = (cell.connections(), cell.in_flight().min(cell.connections()));
        (active + u64::from(used), idle + u64::from(open - used))
    })
}

fn of_endpoints(snapshot: &Snapshot) -> Vec<Family> {
    let mut up =
        Family::gauge("tidegate_endpoint_up", "Whether an endpoint passes its checks; 1 without checks.");
    let mut in_flight = Family::gauge("tidegate_endpoint_in_flight", "Requests in flight to an endpoint.");
    let mut checks = Family::counter("tidegate_health_checks_total", "Active checks, by outcome.");
    for pool in &snapshot.pools {
        for endpoint in &pool.endpoints {
            let (cell, address) = (&endpoint.cell, endpoint.address().to_string());
            let labels = [("pool", &*pool.name), ("endpoint", &*address)];
            up.add(&labels, if pool.status(cell) == Status::Up { 1.0 } else { 0.0 });
            in_flight.add(&labels, f64::from(cell.in_flight()));
            if pool.health.is_some() {
                let (passed, failed) = cell.checks();
                checks.add(&[labels[0], labels[1], ("outcome", "passed")], number(passed));
                checks.add(&[labels[0], labels[1], ("outcome", "failed")], number(failed));
            }
        }
    }
    vec![up, in_flight, checks]
}
