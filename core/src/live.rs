//! The running table and the one way to replace it.
//!
//! Requests read with [`Live::snapshot`], without a lock. Changes go through [`Live::apply`]: work
//! out the next state, compile it beside the running table, hand it to the journal, swap. Nothing
//! before the swap touches anything that requests see. Changes are serialised by one lock, which
//! requests never take.

mod found;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::change::{
    Change, Context, Dropped, Expiring, Next, Now, Rejected, Request, last_known, merge, next,
};
use crate::compile::{Input, Reuse, compile, prepare, settle};
use crate::config::Config;
use crate::event::{Event, Kind};
use crate::pool_rollout::{after_restart, fit};
use crate::recent::Recent;
use crate::snapshot::Snapshot;
use crate::state::{Entry, Record, State, Values, split_names};
use crate::validate::Valid;

pub use found::Found;

/// So many past changes are kept.
pub const HISTORY_LIMIT: usize = 1_000;

/// The running table, and what it was made of.
#[derive(Debug)]
pub struct Live {
    published: ArcSwap<Snapshot>,
    recent: Recent,
    desired: Mutex<Desired>,
}

#[derive(Debug)]
struct Desired {
    config: Arc<Valid<Config>>,
    state: State,
    history: VecDeque<Arc<Entry>>,
    /// When runtime values give way, on the wall clock and, worked out once, on the monotonic one.
    deadlines: BTreeMap<Expiring, Deadline>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    wall_ms: u64,
    mono_ms: u64,
}

/// A change that was made, or by a dry run would be.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The change.
    pub entry: Arc<Entry>,
    /// The table after it.
    pub snapshot: Arc<Snapshot>,
    /// The table before it.
    pub previous: Arc<Snapshot>,
    /// The file in force with it.
    pub config: Arc<Valid<Config>>,
    /// The runtime changes in force with it.
    pub state: Arc<State>,
    /// What to tell.
    pub events: Vec<Event>,
    /// Why it is in force though it could not be written down, if so.
    pub unsaved: Option<String>,
}

/// What was in force when it was looked at, beside the table.
#[derive(Clone, Debug)]
pub struct View {
    /// The table.
    pub snapshot: Arc<Snapshot>,
    /// The file.
    pub config: Arc<Valid<Config>>,
    /// Runtime changes.
    pub state: State,
    /// Past changes, oldest first.
    pub history: VecDeque<Arc<Entry>>,
}

impl Live {
    /// Publishes the first table: the file, and what an earlier process left in `state`.
    ///
    /// The entry of the start goes to the journal like any other.
    pub fn start(
        config: Arc<Valid<Config>>,
        state: &State,
        history: VecDeque<Arc<Entry>>,
        now: Now,
    ) -> (Self, Record, Vec<Event>) {
        let generation = state.generation + 1;
        let mut kept = state.clone();
        let expired: Vec<Expiring> =
            expiries(state).filter(|(_, at)| *at <= now.wall_ms).map(|(one, _)| one).collect();
        for one in &expired {
            forget(&mut kept, one);
        }
        pause_rollouts(&mut kept, now);
        after_restart(&mut kept, now.wall_ms);
        let (mut merged, mut dropped) = merge(&kept, &config, now);
        dropped.extend(fit(&mut merged, &config, now.wall_ms));
        merged.generation = generation;
        let splits: BTreeSet<String> = split_names(&config).map(str::to_owned).collect();
        let pools: BTreeSet<String> = config.pools.keys().cloned().collect();
        let after = values(&merged, &config, &splits, &pools);
        let mut before = last_known(&history);
        keep_what_differs(&mut before, &after);
        remember_earlier(&mut merged, state, &before, &after);
        let entry = Arc::new(Entry {
            generation,
            time_ms: now.wall_ms,
            action: Entry::START.into(),
            actor: "file".into(),
            reason: None,
            before,
            after,
            verdict: None,
        });
        let input = Input { config: &config, state: &merged, generation };
        let snapshot = Arc::new(compile(input, Reuse::Cells(None)));
        settle(None, &snapshot);
        let record = Record { state: merged.clone(), entry: (*entry).clone() };
        let events = dropped.iter().map(|d| dropped_event(d, generation, now)).collect();
        let mut desired = Desired { config, state: merged, history, deadlines: BTreeMap::new() };
        desired.remember(entry);
        desired.set_deadlines(now);
        (
            Self {
                published: ArcSwap::new(snapshot),
                recent: Recent::default(),
                desired: Mutex::new(desired),
            },
            record,
            events,
        )
    }

    /// The running table, for one request.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// A sample of recent requests.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The running table, for a glance.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.published.load()
    }

    /// Everything that is in force.
    pub fn view(&self) -> View {
        let desired = self.desired.lock();
        View {
            snapshot: self.snapshot(),
            config: Arc::clone(&desired.config),
            state: desired.state.clone(),
            history: desired.history.clone(),
        }
    }

    /// What a change would do.
    pub fn dry_run(&self, request: &Request, now: Now) -> Result<Applied, Rejected> {
        let desired = self.desired.lock();
        let (_, applied) = desired.plan(request, &self.snapshot(), now)?;
        Ok(applied)
    }

    /// Makes a change: works it out, has `persist` write it down, swaps.
    ///
    /// When `persist` fails nothing has changed, and the caller is told so. Only an urgent change
    /// ([`Next::is_urgent`]) is in force all the same.
    pub fn apply(
        &self,
        request: &Request,
        now: Now,
        persist: impl FnOnce(&Record) -> Result<(), String>,
    ) -> Result<Applied, Rejected> {
        let mut desired = self.desired.lock();
        let (next, mut applied) = desired.plan(request, &self.snapshot(), now)?;
        let record = Record { state: next.state, entry: (*applied.entry).clone() };
        match persist(&record) {
            Err(error) if !next.is_urgent => return Err(Rejected::NotDurable(error)),
            written => applied.unsaved = written.err(),
        }
        self.publish(&applied.previous, &applied.snapshot, now);
        desired.config = next.config;
        desired.state = record.state;
        desired.remember(Arc::clone(&applied.entry));
        desired.forget_deadline(&request.change);
        desired.set_deadlines(now);
        Ok(applied)
    }

    fn publish(&self, previous: &Snapshot, next: &Arc<Snapshot>, now: Now) {
        prepare(previous, next, now.mono_ms);
        self.published.store(Arc::clone(next));
        settle(Some(previous), next);
    }

    /// Whether some runtime value's time is over, so that [`Change::Expire`] has something to do.
    pub fn has_expired(&self, now: Now) -> bool {
        self.desired.lock().deadlines.values().any(|at| at.mono_ms <= now.mono_ms)
    }
}

impl Desired {
    fn plan(
        &self,
        request: &Request,
        running: &Arc<Snapshot>,
        now: Now,
    ) -> Result<(Next, Applied), Rejected> {
        let expired: Vec<Expiring> = self
            .deadlines
            .iter()
            .filter(|(_, at)| at.mono_ms <= now.mono_ms)
            .map(|(one, _)| one.clone())
            .collect();
        let context = Context {
            config: &self.config,
            state: &self.state,
            snapshot: running,
            history: &self.history,
            expired: &expired,
            now,
        };
        let mut next = next(request, context)?;
        let generation = self.state.generation + 1;
        next.state.generation = generation;
        let mut before = values(&self.state, &self.config, &next.splits, &next.pools);
        let mut after = values(&next.state, &next.config, &next.splits, &next.pools);
        if matches!(request.change, Change::Reload(_)) {
            // It looks at everything; its entry shows only what it changed.
            let everything = before.clone();
            keep_what_differs(&mut before, &after);
            keep_what_differs(&mut after, &everything);
        }
        remember_earlier(&mut next.state, &self.state, &before, &after);
        let input = Input { config: &next.config, state: &next.state, generation };
        let reuse = match request.change {
            Change::Reload(_) => Reuse::Cells(Some(running)),
            _ => Reuse::AllBut(running, &next.splits, &next.pools),
        };
        let snapshot = Arc::new(compile(input, reuse));
        let entry = Arc::new(Entry {
            generation,
            time_ms: now.wall_ms,
            action: request.change.action().into(),
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            before,
            after,
            verdict: next.verdict.take(),
        });
        let mut events = vec![change_event(&entry)];
        events.extend(next.dropped.iter().map(|d| dropped_event(d, generation, now)));
        events.extend(ended_events(&entry));
        events.extend(ended_pool_events(&entry));
        let (previous, config) = (Arc::clone(running), Arc::clone(&next.config));
        let state = Arc::new(next.state.clone());
        Ok((next, Applied { entry, snapshot, previous, config, state, events, unsaved: None }))
    }

    fn remember(&mut self, entry: Arc<Entry>) {
        self.history.push_back(entry);
        while self.history.len() > HISTORY_LIMIT {
            self.history.pop_front();
        }
    }

    /// A value put again has a new end, even if the wall clock, turned back, shows the same one.
    fn forget_deadline(&mut self, change: &Change) {
        match change {
            Change::SetWeights { split, .. } => self.deadlines.remove(&Expiring::Weights(split.clone())),
            Change::SetEndpoints { pool, .. } => self.deadlines.remove(&Expiring::Endpoints(pool.clone())),
            _ => None,
        };
    }

    /// Puts the wall-clock ends of runtime values onto the monotonic clock, once for each, so that
    /// a jump of the wall clock moves none that is already set.
    fn set_deadlines(&mut self, now: Now) {
        let known = std::mem::take(&mut self.deadlines);
        self.deadlines = expiries(&self.state)
            .map(|(one, wall_ms)| {
                let set = known.get(&one).filter(|deadline| deadline.wall_ms == wall_ms).copied();
                let mono_ms = now.mono_ms.saturating_add(wall_ms.saturating_sub(now.wall_ms));
                (one, set.unwrap_or(Deadline { wall_ms, mono_ms }))
            })
            .collect();
    }
}

fn expiries(state: &State) -> impl Iterator<Item = (Expiring, u64)> + '_ {
    let weights =
        state.weights.iter().filter_map(|(s, k)| Some((Expiring::Weights(s.clone()), k.expires_at_ms?)));
    let endpoints =
        state.endpoints.iter().filter_map(|(p, k)| Some((Expiring::Endpoints(p.clone()), k.expires_at_ms?)));
    weights.chain(endpoints)
}

fn forget(state: &mut State, one: &Expiring) {
    match one {
        Expiring::Weights(split) => drop(state.weights.remove(split)),
        Expiring::Endpoints(pool) => drop(state.endpoints.remove(pool)),
    }
}

fn values(state: &State, config: &Config, splits: &BTreeSet<String>, pools: &BTreeSet<String>) -> Values {
    state.values(config, splits.iter().map(String::as_str), pools.iter().map(String::as_str))
}

/// Leaves in `values` only those that are not the same in `others`.
fn keep_what_differs(values: &mut Values, others: &Values) {
    values.splits.retain(|name, value| others.splits.get(name) != Some(value));
    values.pools.retain(|name, value| others.pools.get(name) != Some(value));
}

/// Keeps the weights of splits that change, for a revert; a rollout with all its steps is one change.
fn remember_earlier(state: &mut State, previous: &State, before: &Values, after: &Values) {
    for (split, value) in &before.splits {
        if after.splits.get(split).is_some_and(|after| after.weights != value.weights) {
            let of_rollout = previous.active_rollout(split).map(|rollout| &rollout.before);
            state.earlier.insert(split.clone(), of_rollout.unwrap_or(&value.weights).clone());
        }
    }
}

/// No rollout goes on by itself after a restart.
fn pause_rollouts(state: &mut State, now: Now) {
    for rollout in state.rollouts.values_mut().filter(|rollout| rollout.is_active()) {
        *rollout = rollout.after_restart(now.wall_ms);
    }
}

/// What a change is about, where it is about one thing: what kind of thing, and its name.
fn subject(entry: &Entry) -> Option<(&'static str, &String)> {
    let (splits, pools) = (&entry.after.splits, &entry.after.pools);
    let mut things = splits.keys().map(|name| ("split", name)).chain(pools.keys().map(|name| ("pool", name)));
    things.next().filter(|_| things.next().is_none())
}

fn change_event(entry: &Entry) -> Event {
    let mut detail = Map::new();
    detail.insert("action".into(), entry.action.clone().into());
    detail.insert("reason".into(), entry.reason.clone().into());
    detail.insert("before".into(), serde_json::to_value(&entry.before).unwrap_or(Value::Null));
    detail.insert("after".into(), serde_json::to_value(&entry.after).unwrap_or(Value::Null));
    let about = subject(entry);
    if let Some((kind, name)) = about {
        detail.insert(kind.into(), name.clone().into());
    }
    let kind = match entry.action.as_str() {
        "drain" | "undrain" => Kind::Drain,
        "reload" => Kind::Reload,
        action if action.starts_with("rollout") => Kind::Rollout,
        _ => Kind::Change,
    };
    Event {
        kind,
        time_ms: entry.time_ms,
        generation: entry.generation,
        actor: entry.actor.clone(),
        message: match about {
            Some((kind, name)) => format!("{} of {kind} {name} by {}", entry.action, entry.actor),
            None => format!("{} by {}", entry.action, entry.actor),
        },
        detail,
    }
}

/// Rollouts that another change has ended: who listens for rollouts hears of every end.
fn ended_events(entry: &Entry) -> impl Iterator<Item = Event> + '_ {
    let is_own = entry.action.starts_with("rollout");
    let others = entry.before.splits.iter().filter(move |_| !is_own);
    others.filter_map(|(split, before)| {
        let after = entry.after.splits.get(split).and_then(|value| value.rollout.as_ref());
        let (was, id) = before.rollout.as_ref().map(|was| (&was.state, was.id))?;
        let state = after.filter(|now| now.id == id).map(|now| &now.state)?;
        let mut detail = Map::new();
        detail.insert("action".into(), entry.action.clone().into());
        detail.insert("split".into(), split.clone().into());
        detail.insert("rollout".into(), serde_json::to_value(after).unwrap_or(Value::Null));
        (was != state).then(|| Event {
            kind: Kind::Rollout,
            time_ms: entry.time_ms,
            generation: entry.generation,
            actor: entry.actor.clone(),
            message: format!("rollout {id} of split {split} is {state}: {} by {}", entry.action, entry.actor),
            detail,
        })
    })
}

/// The same of rollouts of pools, which end with the pool, too.
fn ended_pool_events(entry: &Entry) -> impl Iterator<Item = Event> + '_ {
    let is_own = entry.action.starts_with("rollout");
    let others = entry.before.pools.iter().filter(move |_| !is_own);
    others.filter_map(|(pool, before)| {
        let was = before.rollout.as_ref().filter(|was| matches!(&*was.state, "running" | "paused"))?;
        let now = entry.after.pools.get(pool).and_then(|value| value.rollout.as_ref());
        let state = now.filter(|now| now.id == was.id).map_or("aborted", |now| &*now.state);
        let mut detail = Map::new();
        detail.insert("action".into(), entry.action.clone().into());
        detail.insert("pool".into(), pool.clone().into());
        detail.insert("rollout".into(), serde_json::to_value(now).unwrap_or(Value::Null));
        (was.state != state).then(|| Event {
            kind: Kind::Rollout,
            time_ms: entry.time_ms,
            generation: entry.generation,
            actor: entry.actor.clone(),
            message: format!(
                "rollout {} of pool {pool} is {state}: {} by {}",
                was.id, entry.action, entry.actor
            ),
            detail,
        })
    })
}

fn dropped_event(dropped: &Dropped, generation: u64, now: Now) -> Event {
    let mut detail = Map::new();
    detail.insert("action".into(), "file_wins".into());
    detail.insert("what".into(), dropped.what.clone().into());
    detail.insert("why".into(), dropped.why.into());
    Event {
        kind: Kind::Change,
        time_ms: now.wall_ms,
        generation,
        actor: "file".into(),
        message: format!("the runtime {} no longer holds: {}", dropped.what, dropped.why),
        detail,
    }
}

#[cfg(test)]
mod tests;
