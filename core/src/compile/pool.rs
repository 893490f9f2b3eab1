//! One pool of the table.

use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};

use super::Input;
use crate::address::Address;
use crate::cell::EndpointCell;
use crate::config::{self, EndpointTable, Initial};
use crate::eject::Policy;
use crate::gate;
use crate::health::Status;
use crate::pick::Turns;
use crate::pool::{Discovery, Endpoint, Limits, Pool, Timeouts};
use crate::pool_rollout::Stage;
use crate::snapshot::{Key, Snapshot};
use crate::split::pool_hash;
use crate::state::{Drains, Endpoints};
use crate::waiting::Waiting;

/// Compiles the pool of this name, which the file has; `found` is what its own name, where it has one,
/// was found to stand for.
pub(super) fn compile(
    input: Input<'_>,
    name: &str,
    previous: Option<&Snapshot>,
    found: Option<&[Address]>,
) -> Pool {
    let written = &input.config.pools[name];
    let before = previous.and_then(|p| p.pool_named(name)).map(Arc::as_ref);
    let drains = input.state.drains.get(name);
    let in_force = in_force(input, name, before, found);
    let endpoints = endpoints(&in_force, written, before, drains);
    let mut total = 0;
    let cumulative = endpoints
        .iter()
        .map(|e| {
            total += u64::from(e.weight);
            total
        })
        .collect();
    let rollout = input.state.pool_rollouts.get(name);
    let draining = drains.and_then(|d| d.pool.as_ref()).map(|order| drain_time(order.timeout_ms, written));
    // The users of a pool that an operator drains go elsewhere, whatever is done behind it.
    let held = rollout.filter(|rollout| draining.is_none() && rollout.holds());
    let mut pool = Pool {
        name: name.into(),
        generation: input.generation,
        leaving: leaving(before, &endpoints),
        turns: Turns::carried(before, &endpoints),
        endpoints,
        discovery: discovery(written),
        draining: draining.or(held.map(|_| written.drain_timeout.0)),
        waiting: held.map(|held| Waiting { queue: held.plan.queue, timeout: held.plan.queue_timeout.0 }),
        rollout: rollout.cloned().map(Arc::new),
        cell: before.map(|b| Arc::clone(&b.cell)).unwrap_or_default(),
        balance: written.balance,
        hash_key: written.hash_key.as_ref().map(|keys| keys.iter().map(Key::compile).collect()),
        health: written.health.clone().map(Arc::new),
        eject: written.eject.as_ref().map(Policy::compile),
        panic_threshold: written.panic_threshold,
        slow_start_ms: written.slow_start.as_ms(),
        limits: Limits::compile(written),
        timeouts: timeouts(written),
        protocol: written.protocol,
        tls: written.tls.clone(),
        cumulative,
    };
    // What a name stands for is seen, and no change.
    if let Some(before) = before
        && (found.is_some() || is_same(before, &pool))
    {
        pool.generation = before.generation;
    }
    pool
}

fn discovery(written: &config::Pool) -> Option<Discovery> {
    let name = written.dns.as_deref()?;
    Some(Discovery { name: name.into(), refresh: written.dns_refresh.0 })
}

fn timeouts(written: &config::Pool) -> Timeouts {
    Timeouts {
        connect: written.connect_timeout.0,
        read: written.read_timeout.0,
        write: written.write_timeout.0,
        idle: written.idle_timeout.0,
        tunnel_idle: written.tunnel_idle_timeout.0,
        drain: written.drain_timeout.0,
    }
}

fn drain_time(asked_ms: Option<u64>, written: &config::Pool) -> Duration {
    asked_ms.map_or(written.drain_timeout.0, Duration::from_millis)
}

/// The endpoints of a pool, as addresses with weights. Where a name stands for them and there is no
/// answer yet, the pool keeps those that it had: also on its way from written ones, or another name.
fn in_force(input: Input<'_>, name: &str, before: Option<&Pool>, found: Option<&[Address]>) -> Endpoints {
    if input.config.pools[name].dns.is_none() {
        return input.state.endpoints(input.config, name).unwrap_or_default();
    }
    let one = |address: &Address| EndpointTable { address: address.to_string(), weight: 1 };
    match (found, before) {
        (Some(addresses), _) => addresses.iter().map(one).collect(),
        (None, Some(before)) => before.endpoints.iter().map(|e| one(e.address())).collect(),
        (None, None) => Vec::new(),
    }
}

fn endpoints(
    in_force: &[EndpointTable],
    written: &config::Pool,
    before: Option<&Pool>,
    drains: Option<&Drains>,
) -> Vec<Endpoint> {
    let known: AHashMap<&Address, &Arc<EndpointCell>> =
        before.into_iter().flat_map(cells).map(|cell| (&cell.address, cell)).collect();
    let initial = initial(written.health.as_ref());
    in_force
        .iter()
        .map(|table| {
            let address: Address = table.address.parse().expect("validated: an address");
            let cell = known.get(&address).map(|cell| Arc::clone(cell));
            let drain = drains.and_then(|d| d.endpoints.get(&table.address));
            Endpoint {
                hash: pool_hash(&table.address),
                cell: cell.unwrap_or_else(|| Arc::new(EndpointCell::new(address, initial))),
                weight: table.weight,
                draining: drain.map(|order| drain_time(order.timeout_ms, written)),
            }
        })
        .collect()
}

/// Every cell that a pool knows, those that leave first, so that of two the one in use is last.
fn cells(pool: &Pool) -> impl Iterator<Item = &Arc<EndpointCell>> {
    pool.leaving.iter().chain(pool.endpoints.iter().map(|e| &e.cell))
}

/// Tells endpoints that the table about to be in force gives requests to that it does. One that had none
/// in the table before begins to warm up; where the whole pool is new, none is the one to be spared.
pub(super) fn welcome(before: Option<&Pool>, after: &Pool, now_ms: u64) {
    let had_requests: AHashSet<&Address> =
        before.into_iter().flat_map(takers).map(Endpoint::address).collect();
    for endpoint in takers(after) {
        if before.is_some() && !had_requests.contains(endpoint.address()) {
            endpoint.cell.warm_up(now_ms);
        }
        endpoint.cell.set_retired(false);
    }
}

/// The endpoints that a table gives requests to, as far as drains go.
fn takers(pool: &Pool) -> impl Iterator<Item = &Endpoint> {
    pool.endpoints.iter().filter(|e| e.draining.is_none() && pool.draining.is_none())
}

/// Tells endpoints that the table now in force gives no more requests, puts the pool's limits in force,
/// and forgets the results of a check that asks something else now. Not done while compiling, since a
/// table that is compiled may never be published.
pub(super) fn settle(before: Option<&Arc<Pool>>, after: &Pool) {
    gate::set_bounds(&after.cell, after.limits.bounds);
    let draining = after.endpoints.iter().filter(|e| e.draining.is_some() || after.draining.is_some());
    draining.map(|e| &e.cell).chain(&after.leaving).for_each(|cell| cell.set_retired(true));
    let awaited = |pool: &Pool, address: &Address| {
        pool.rollout
            .as_ref()
            .is_some_and(|r| r.is_active() && r.stage(address) == Some(Stage::WaitingHealthy))
    };
    let replaced = |cell: &&Arc<EndpointCell>| {
        awaited(after, &cell.address) && !before.is_some_and(|before| awaited(before, &cell.address))
    };
    // What was found of what ran there before says nothing of what runs there now.
    let cells = after.endpoints.iter().map(|e| &e.cell);
    cells.filter(replaced).for_each(|cell| cell.forget_checks(Status::Unknown));
    if before.is_some_and(|before| !asks_the_same(before.health.as_deref(), after.health.as_deref())) {
        for endpoint in &after.endpoints {
            endpoint.cell.forget_checks(initial(after.health.as_deref()));
            endpoint.cell.expect_up();
        }
    }
    if before.is_none() {
        after.endpoints.iter().for_each(|endpoint| endpoint.cell.expect_up());
    }
}

/// Tells the endpoints of a pool that is gone.
pub(super) fn retire_all(pool: &Pool) {
    pool.endpoints.iter().for_each(|endpoint| endpoint.cell.set_retired(true));
}

/// Whether two pools' checks ask the same. How often, how patiently and until when may change, and what
/// is known still holds.
pub(crate) fn asks_the_same(before: Option<&config::Health>, after: Option<&config::Health>) -> bool {
    question(before) == question(after)
}

fn question(health: Option<&config::Health>) -> Option<impl PartialEq> {
    let config::Health { path, tcp, grpc, status, port, host, headers, .. } = health?.clone();
    Some((path, tcp, grpc, status, port, host, headers))
}

fn initial(health: Option<&config::Health>) -> Status {
    match health.map(|h| h.initial) {
        Some(Initial::Up) => Status::Up,
        Some(Initial::Down) => Status::Down,
        Some(Initial::Unknown) | None => Status::Unknown,
    }
}

/// Endpoints that have just gone, whatever seems to be in flight to them (a request may have read the
/// table before and not be counted yet), and those that went before and are still busy.
fn leaving(before: Option<&Pool>, endpoints: &[Endpoint]) -> Vec<Arc<EndpointCell>> {
    let Some(before) = before else { return Vec::new() };
    let present: AHashSet<&Address> = endpoints.iter().map(Endpoint::address).collect();
    let busy = before.leaving.iter().filter(|cell| cell.in_flight() > 0 || cell.connections() > 0);
    let gone = before.endpoints.iter().map(|e| &e.cell).chain(busy);
    gone.filter(|cell| !present.contains(&cell.address)).cloned().collect()
}

fn revision(pool: &Pool) -> Option<(u64, u64)> {
    pool.rollout.as_ref().map(|rollout| (rollout.id, rollout.revision))
}

/// Whether nothing of the pool itself differs, so that it keeps its generation.
fn is_same(a: &Pool, b: &Pool) -> bool {
    let one = |e: &Endpoint| (e.address().clone(), e.weight, e.draining);
    let shape = |p: &Pool| p.endpoints.iter().map(one).collect::<Vec<_>>();
    let keys =
        |p: &Pool| p.hash_key.as_ref().map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>());
    let numbers = |p: &Pool| (p.panic_threshold, p.slow_start_ms, p.limits, p.timeouts);
    shape(a) == shape(b)
        && keys(a) == keys(b)
        && revision(a) == revision(b)
        && a.discovery == b.discovery
        && numbers(a) == numbers(b)
        && (a.draining, a.balance, &a.health, &a.eject, a.protocol, &a.tls)
            == (b.draining, b.balance, &b.health, &b.eject, b.protocol, &b.tls)
}
