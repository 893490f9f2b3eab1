//! From what is in force to the table that requests read.
//!
//! Pure: `(valid file, runtime state, previous table) → table`. Cells are carried over by identity,
//! and everything that a change did not touch is shared with the previous table, so that a shift of
//! one split copies pointers, not routes. Cannot fail: what could be wrong was found by
//! [`crate::validate`]. Next stage: [`crate::live`] swaps.

mod pool;
mod route;
mod split;

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;

use crate::address::Address;
use crate::config::Config;
use crate::pool::Pool;
use crate::record::Tally;
use crate::route::RouteTable;
use crate::snapshot::{Route, Settings, Snapshot, Split};
use crate::state::State;
use crate::units::Generation;
use crate::validate::Valid;

pub(crate) use pool::asks_the_same;

/// What a table is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The file.
    pub config: &'a Arc<Valid<Config>>,
    /// Runtime changes.
    pub state: &'a State,
    /// The table's number.
    pub generation: Generation,
}

/// What a table shares with the one before.
#[derive(Clone, Copy, Debug)]
pub enum Reuse<'a> {
    /// Cells only: the file is another one, or this is the first table.
    Cells(Option<&'a Snapshot>),
    /// Everything but these splits and pools.
    AllBut(&'a Snapshot, &'a BTreeSet<String>, &'a BTreeSet<String>),
    /// Everything but this pool, whose name was found to stand for these addresses.
    Found(&'a Snapshot, &'a str, &'a [Address]),
}

/// Compiles a table.
pub fn compile(input: Input<'_>, reuse: Reuse<'_>) -> Snapshot {
    match reuse {
        Reuse::Cells(previous) => compile_all(input, previous),
        Reuse::AllBut(previous, splits, pools) => compile_some(input, previous, splits, pools),
        Reuse::Found(previous, pool, addresses) => compile_found(input, previous, pool, addresses),
    }
}

fn compile_all(input: Input<'_>, previous: Option<&Snapshot>) -> Snapshot {
    let config: &Config = input.config;
    let pools: Vec<_> =
        config.pools.keys().map(|name| Arc::new(pool::compile(input, name, previous, None))).collect();
    let defined = split::definitions(config);
    let before = previous.map(split::Before::of).unwrap_or_default();
    let splits: Vec<_> = defined
        .list
        .iter()
        .map(|d| Arc::new(split::compile(input, d, &pools, d.continued(&before))))
        .collect();
    let routes: Arc<[Route]> = config.routes.iter().map(|r| route::compile(r, &defined, &pools)).collect();
    let counted: AHashMap<&str, Counted<'_>> = previous.into_iter().flat_map(counted).collect();
    let split_of = |route: &Route| route.split().map(|id| &*splits[id as usize]);
    let tallies = routes.iter().map(|r| tallies(split_of(r), counted.get(&*r.name).copied())).collect();
    Snapshot {
        generation: input.generation,
        settings: Arc::new(settings(config)),
        table: Arc::new(RouteTable::compile(&config.routes)),
        routes,
        splits,
        pools,
        tallies,
        unrouted: previous.map(|p| Arc::clone(&p.unrouted)).unwrap_or_default(),
    }
}

fn compile_some(
    input: Input<'_>,
    previous: &Snapshot,
    changed_splits: &BTreeSet<String>,
    changed_pools: &BTreeSet<String>,
) -> Snapshot {
    let mut pools = previous.pools.clone();
    for pool in pools.iter_mut().filter(|p| changed_pools.contains(&*p.name)) {
        *pool = Arc::new(pool::compile(input, &Arc::clone(&pool.name), Some(previous), None));
    }
    let mut splits = previous.splits.clone();
    let mut tallies_of = previous.tallies.clone();
    for (at, split) in splits.iter_mut().enumerate().filter(|(_, s)| changed_splits.contains(&*s.name)) {
        let Some(defined) = split::named(input.config, &split.name) else { continue };
        let compiled = Arc::new(split::compile(input, &defined, &pools, Some(split)));
        let same_members = compiled.members.iter().map(|m| m.pool).eq(split.members.iter().map(|m| m.pool));
        if !same_members {
            for (route, of_route) in previous.routes.iter().zip(&mut tallies_of) {
                if route.split().is_some_and(|id| id as usize == at) {
                    *of_route = tallies(Some(&compiled), Some((Some(split), of_route)));
                }
            }
        }
        *split = compiled;
    }
    Snapshot {
        generation: input.generation,
        settings: Arc::clone(&previous.settings),
        table: Arc::clone(&previous.table),
        routes: Arc::clone(&previous.routes),
        splits,
        pools,
        tallies: tallies_of,
        unrouted: Arc::clone(&previous.unrouted),
    }
}

fn compile_found(input: Input<'_>, previous: &Snapshot, name: &str, addresses: &[Address]) -> Snapshot {
    let none = BTreeSet::new();
    let mut next = compile_some(input, previous, &none, &none);
    for pool in next.pools.iter_mut().filter(|pool| *pool.name == *name) {
        *pool = Arc::new(pool::compile(input, name, Some(previous), Some(addresses)));
    }
    next
}

fn settings(config: &Config) -> Settings {
    Settings {
        trusted_proxies: config.server.trusted_proxies.iter().map(|c| c.0).collect(),
        express: config.server.express,
        shutdown_delay: config.server.shutdown_delay.0,
        shutdown_timeout: config.server.shutdown_timeout.0,
        listeners: config.listeners.iter().cloned().map(Arc::new).collect(),
        log: config.log.clone(),
    }
}

/// What was counted of a route: its split, if it has one, and its tallies by the split's members.
type Counted<'a> = (Option<&'a Split>, &'a [Arc<Tally>]);

fn counted(snapshot: &Snapshot) -> impl Iterator<Item = (&str, Counted<'_>)> {
    let routes = snapshot.routes.iter().zip(&snapshot.tallies);
    let split = |route: &Route| route.split().map(|id| &**snapshot.split(id));
    routes.map(move |(route, tallies)| (&*route.name, (split(route), &**tallies)))
}

/// A route's tallies, one for each member of its split, or one where it has none; carried over by names.
fn tallies(split: Option<&Split>, counted: Option<Counted<'_>>) -> Arc<[Arc<Tally>]> {
    let Some(split) = split else {
        let carried = counted.filter(|(before, _)| before.is_none()).and_then(|(_, tallies)| tallies.first());
        return [carried.cloned().unwrap_or_default()].into();
    };
    let counted = counted.and_then(|(before, tallies)| Some((before?, tallies)));
    let counted = counted.filter(|(before, _)| before.name == split.name);
    let carried = |pool: &str| {
        let (before, tallies) = counted?;
        let at = before.members.iter().position(|m| &*m.name == pool)?;
        tallies.get(at).cloned()
    };
    split.members.iter().map(|m| carried(&m.name).unwrap_or_default()).collect()
}

/// Does what must be done to the cells before a table is in force: whoever reads it may use them.
pub(crate) fn prepare(before: &Snapshot, next: &Snapshot, now_ms: u64) {
    changed_pools(Some(before), next)
        .for_each(|(before, after)| pool::welcome(before.map(Arc::as_ref), after, now_ms));
}

/// Does what a table that is now in force asks of the cells that it shares with the one before.
pub(crate) fn settle(before: Option<&Snapshot>, published: &Snapshot) {
    changed_pools(before, published).for_each(|(before, after)| pool::settle(before, after));
    let gone = before.into_iter().flat_map(|b| &b.pools).filter(|p| published.pool_named(&p.name).is_none());
    gone.for_each(|pool| pool::retire_all(pool));
}

/// Pools that are not the same as before, with what they were.
fn changed_pools<'a>(
    before: Option<&'a Snapshot>,
    after: &'a Snapshot,
) -> impl Iterator<Item = (Option<&'a Arc<Pool>>, &'a Arc<Pool>)> {
    let pairs = after.pools.iter().map(move |pool| (before.and_then(|b| b.pool_named(&pool.name)), pool));
    pairs.filter(|(before, after)| before.is_none_or(|before| !Arc::ptr_eq(before, after)))
}

#[cfg(test)]
mod tests;
