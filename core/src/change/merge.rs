//! The file against runtime changes: the newer intent wins, value by value.

use std::collections::BTreeSet;

use super::Now;
use crate::config::{Config, Endpoint, Listener};
use crate::rollout::Said;
use crate::state::{FileWeights, State, file_endpoints};
use crate::validate;

/// A runtime value that gave way to the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What it was, as `weights of split checkout`.
    pub what: String,
    /// Why it gave way.
    pub why: &'static str,
}

/// The runtime changes that stay in force beside another file, and those that do not.
///
/// One stays while the file's own value equals the one that it was made over. The same rule holds
/// for a reload and for a start: a file that changed while the process was down counts as newer.
///
/// What the state folder holds may be by another version, or by another hand: a value that could not
/// be put now is dropped too.
pub fn merge(state: &State, config: &Config, now: Now) -> (State, Vec<Dropped>) {
    const GONE: &str = "it is no longer in the file";
    const CHANGED: &str = "the file's own value changed";
    const INVALID: &str = "it is not valid";
    let mut state = state.clone();
    let mut dropped = Vec::new();
    let mut keep_unless = |what: String, why: Option<&'static str>| {
        dropped.extend(why.map(|why| Dropped { what, why }));
        why.is_none()
    };
    let file = FileWeights::of(config);
    let pools: BTreeSet<&str> = config.pools.keys().map(String::as_str).collect();
    state.weights.retain(|split, kept| {
        let why = match file.get(split) {
            None => Some(GONE),
            Some(file) if *file != kept.base => Some(CHANGED),
            Some(_) if kept.value.keys().any(|pool| !pools.contains(pool.as_str())) => Some(GONE),
            Some(_) => (!validate::weights(&kept.value, &pools, "").is_empty()).then_some(INVALID),
        };
        keep_unless(format!("weights of split {split}"), why)
    });
    state.endpoints.retain(|pool, kept| {
        let written: Vec<Endpoint> = kept.value.iter().cloned().map(Endpoint::Table).collect();
        let why = match config.pools.get(pool) {
            None => Some(GONE),
            Some(_) if file_endpoints(config, pool).as_ref() != Some(&kept.base) => Some(CHANGED),
            Some(file) => (!validate::endpoints(file, &written, "").is_empty()).then_some(INVALID),
        };
        keep_unless(format!("endpoints of pool {pool}"), why)
    });
    state.drains.retain(|pool, _| {
        let why = (!pools.contains(pool.as_str())).then_some(GONE);
        keep_unless(format!("drain of pool {pool}"), why)
    });
    for pool in state.drains.keys().cloned().collect::<Vec<_>>() {
        for address in state.forget_drains(config, &pool) {
            keep_unless(format!("drain of endpoint {address} of pool {pool}"), Some(GONE));
        }
    }
    state.earlier.retain(|split, _| file.get(split).is_some());
    state.rollouts.retain(|split, rollout| {
        let is_there = file.get(split).is_some();
        // It decides over the weights that it keeps; without them something else does.
        let kept = state.weights.get(split).map(|kept| &kept.value);
        let pools = [&rollout.plan.baseline, &rollout.plan.candidate];
        let decides = kept.is_some_and(|weights| pools.iter().all(|pool| weights.contains_key(*pool)));
        if rollout.is_active() && !decides {
            let why = match (is_there, kept) {
                (false, _) => GONE,
                (true, None) => CHANGED,
                (true, Some(_)) => INVALID,
            };
            let why_in_full = format!("the weights of split {split} no longer hold: {why}");
            *rollout =
                rollout.give_way(Said { by: "file".into(), why: Some(why_in_full), at_ms: now.wall_ms });
            keep_unless(format!("rollout of split {split}"), Some(why));
        }
        is_there
    });
    (state, dropped)
}

/// What differs between two files that only a restart can change.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut fixed = Vec::new();
    if old.server.workers != new.server.workers {
        fixed.push("server.workers".to_owned());
    }
    if old.admin != new.admin {
        fixed.push("admin".to_owned());
    }
    for listener in &old.listeners {
        match new.listeners.iter().find(|l| l.name == listener.name) {
            None => fixed.push(format!("listener `{}` (removed)", listener.name)),
            Some(other) => fixed.extend(fixed_of_listener(listener, other)),
        }
    }
    let added = new.listeners.iter().filter(|l| old.listeners.iter().all(|o| o.name != l.name));
    fixed.extend(added.map(|l| format!("listener `{}` (added)", l.name)));
    fixed
}

fn fixed_of_listener(old: &Listener, new: &Listener) -> Vec<String> {
    // Which certificates there are, and whose are trusted, may change.
    let protocol = |listener: &Listener| listener.tls.as_ref().map(|tls| (tls.min_version, tls.client_cert));
    let differs = [
        ("address", old.address != new.address),
        ("tls", protocol(old) != protocol(new)),
        ("http2", old.http2 != new.http2),
        ("proxy_protocol", old.proxy_protocol != new.proxy_protocol),
    ];
    differs
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| format!("listener `{}`: {key}", old.name))
        .collect()
}
