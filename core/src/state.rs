//! What runtime changes leave behind: kept over reloads, and in `state_dir` over restarts.
//!
//! The configuration file and the API are merged by one rule, "the newer intent wins": a value put
//! at run time is kept with the file's value of that moment (its *base*), and holds until the file's
//! own value differs from the base. The functions here say what is in force; [`crate::change`]
//! makes the next state.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::{Config, Endpoint, EndpointTable};
use crate::pool_rollout::PoolRollout;
use crate::rollout::{Rollout, Verdict};
use crate::units::{Generation, Weight};

/// Pool to weight.
pub type Weights = BTreeMap<String, Weight>;

/// The endpoints of a pool, each with its weight.
pub type Endpoints = Vec<EndpointTable>;

/// A value put at run time over the file's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<T> {
    /// The file's value at that time.
    pub base: T,
    /// The value in force.
    pub value: T,
    /// Who put it.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// When the file's value returns, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// Whether a rollout put it.
    #[serde(default)]
    pub by_rollout: bool,
}

/// An order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOrder {
    /// How long requests in flight may go on, in milliseconds; the pool's `drain_timeout` if absent.
    pub timeout_ms: Option<u64>,
    /// Who gave it.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// The rollout of the pool that gave it, which will also call it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Generation>,
}

/// Orders to drain in one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    /// The whole pool.
    pub pool: Option<DrainOrder>,
    /// Single endpoints, by address.
    pub endpoints: BTreeMap<String, DrainOrder>,
}

impl Drains {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pool.is_none() && self.endpoints.is_empty()
    }
}

/// All that was changed at run time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The generation last published.
    pub generation: Generation,
    /// By split.
    pub weights: BTreeMap<String, Kept<Weights>>,
    /// By pool.
    pub endpoints: BTreeMap<String, Kept<Endpoints>>,
    /// By pool.
    pub drains: BTreeMap<String, Drains>,
    /// By split, its weights before they last changed, whatever changed them: what a revert brings
    /// back. Kept here because the history, which is bounded, may have forgotten.
    #[serde(default)]
    pub earlier: BTreeMap<String, Weights>,
    /// By split, its rollout: the one that runs, or the last.
    #[serde(default)]
    pub rollouts: BTreeMap<String, Rollout>,
    /// By pool, its rollout: the one that runs, or the last.
    #[serde(default)]
    pub pool_rollouts: BTreeMap<String, PoolRollout>,
}

/// What was in force of a pool at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolValue {
    /// Its endpoints.
    pub endpoints: Endpoints,
    /// Whether the pool drained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Endpoints that drained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining_endpoints: Vec<String>,
    /// Its rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<PoolRolloutValue>,
}

/// How a pool's rollout was at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRolloutValue {
    /// Its number.
    pub id: Generation,
    /// Its strategy.
    pub strategy: String,
    /// Its state, as `running`.
    pub state: String,
    /// How far each endpoint has come.
    pub endpoints: BTreeMap<String, String>,
}

impl PoolRolloutValue {
    fn of(rollout: &PoolRollout) -> Self {
        let stage = |item: &crate::pool_rollout::Item| (item.address.to_string(), item.stage.as_str().into());
        Self {
            id: rollout.id,
            strategy: rollout.strategy().to_owned(),
            state: rollout.status().as_str().to_owned(),
            endpoints: rollout.endpoints.iter().map(stage).collect(),
        }
    }
}

/// What was in force of a split at some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitValue {
    /// Its weights.
    pub weights: Weights,
    /// Its rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutValue>,
}

/// How a rollout was at some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutValue {
    /// Its number.
    pub id: Generation,
    /// Its state, as `running`.
    pub state: String,
    /// The step, from 1; 0 = before the first.
    pub step: usize,
    /// The candidate's part of what it and the baseline have together.
    pub percent: f64,
}

impl RolloutValue {
    fn of(rollout: &Rollout) -> Self {
        let state = rollout.status().as_str().to_owned();
        Self { id: rollout.id, state, step: rollout.step, percent: rollout.percent }
    }
}

/// Values in force, of the splits and pools that a change touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// By split.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub splits: BTreeMap<String, SplitValue>,
    /// By pool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, PoolValue>,
}

/// One change in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The generation that the change made.
    pub generation: Generation,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What was asked for, as `set_weights`.
    pub action: String,
    /// Who asked.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// What was in force before, of what the change touched.
    pub before: Values,
    /// What is in force since.
    pub after: Values,
    /// The evidence, where it decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<Verdict>>,
}

impl Entry {
    /// The action of the entry that a process begins with: it tells all that is in force.
    pub const START: &str = "start";

    pub(crate) fn is_start(&self) -> bool {
        self.action == Self::START
    }
}

/// What goes to disk with one change: all of the state, and the change's entry in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The state after the change.
    pub state: State,
    /// The change.
    pub entry: Entry,
}

/// The file's weights of a split, named or of a route. Looks at every route: for many splits use
/// `FileWeights`.
pub fn file_weights<'a>(config: &'a Config, split: &str) -> Option<&'a Weights> {
    config
        .splits
        .get(split)
        .map(|s| &s.weights)
        .or_else(|| config.routes.iter().find(|r| r.name == split).and_then(|r| r.weights.as_ref()))
}

/// The file's weights of every split.
#[derive(Debug)]
pub(crate) struct FileWeights<'a> {
    config: &'a Config,
    of_routes: AHashMap<&'a str, &'a Weights>,
}

impl<'a> FileWeights<'a> {
    pub(crate) fn of(config: &'a Config) -> Self {
        let with_weights = |r: &'a crate::config::Route| Some((r.name.as_str(), r.weights.as_ref()?));
        Self { config, of_routes: config.routes.iter().filter_map(with_weights).collect() }
    }

    pub(crate) fn get(&self, split: &str) -> Option<&'a Weights> {
        let named = self.config.splits.get(split).map(|s| &s.weights);
        named.or_else(|| self.of_routes.get(split).copied())
    }
}

/// The file's endpoints of a pool.
pub fn file_endpoints(config: &Config, pool: &str) -> Option<Endpoints> {
    Some(config.pools.get(pool)?.endpoints.iter().map(to_table).collect())
}

/// An endpoint as a table, whichever way it was written, its address in the one form by which
/// addresses are compared and drains are kept.
pub fn to_table(endpoint: &Endpoint) -> EndpointTable {
    let written = endpoint.address();
    let address = written.parse::<Address>().map_or_else(|_| written.to_owned(), |a| a.to_string());
    EndpointTable { address, weight: endpoint.weight() }
}

impl State {
    /// The weights of a split that are in force.
    pub fn weights<'a>(&'a self, config: &'a Config, split: &str) -> Option<&'a Weights> {
        let file = file_weights(config, split)?;
        Some(self.weights.get(split).map_or(file, |kept| &kept.value))
    }

    /// The rollout of a split, if one has not ended.
    pub fn active_rollout(&self, split: &str) -> Option<&Rollout> {
        self.rollouts.get(split).filter(|rollout| rollout.is_active())
    }

    /// The rollout of a pool, if one has not ended.
    pub fn active_pool_rollout(&self, pool: &str) -> Option<&PoolRollout> {
        self.pool_rollouts.get(pool).filter(|rollout| rollout.is_active())
    }

    /// The endpoints of a pool that are in force.
    pub fn endpoints(&self, config: &Config, pool: &str) -> Option<Endpoints> {
        let file = file_endpoints(config, pool)?;
        Some(self.endpoints.get(pool).map_or(file, |kept| kept.value.clone()))
    }

    /// Forgets drains of endpoints that are no longer in force; their addresses. What a name stands for
    /// comes and goes, and an order to drain one of these addresses stays.
    pub(crate) fn forget_drains(&mut self, config: &Config, pool: &str) -> Vec<String> {
        if config.pools.get(pool).is_some_and(|pool| pool.dns.is_some()) {
            return Vec::new();
        }
        let in_force = self.endpoints(config, pool).unwrap_or_default();
        let in_force: BTreeSet<&str> = in_force.iter().map(|e| e.address.as_str()).collect();
        let Some(drains) = self.drains.get_mut(pool) else { return Vec::new() };
        let gone: Vec<String> =
            drains.endpoints.keys().filter(|a| !in_force.contains(a.as_str())).cloned().collect();
        drains.endpoints.retain(|address, _| in_force.contains(address.as_str()));
        if drains.is_empty() {
            self.drains.remove(pool);
        }
        gone
    }

    /// What is in force of a pool.
    pub fn pool_value(&self, config: &Config, pool: &str) -> Option<PoolValue> {
        let drains = self.drains.get(pool);
        Some(PoolValue {
            endpoints: self.endpoints(config, pool)?,
            draining: drains.is_some_and(|d| d.pool.is_some()),
            draining_endpoints: drains.map(|d| d.endpoints.keys().cloned().collect()).unwrap_or_default(),
            rollout: self.pool_rollouts.get(pool).map(PoolRolloutValue::of),
        })
    }

    /// What is in force of these splits and pools.
    pub fn values<'a>(
        &self,
        config: &Config,
        splits: impl Iterator<Item = &'a str>,
        pools: impl Iterator<Item = &'a str>,
    ) -> Values {
        let file = FileWeights::of(config);
        let value = |split: &str| {
            let file = file.get(split)?;
            let weights = self.weights.get(split).map_or(file, |kept| &kept.value).clone();
            Some(SplitValue { weights, rollout: self.rollouts.get(split).map(RolloutValue::of) })
        };
        Values {
            splits: splits.filter_map(|s| Some((s.to_owned(), value(s)?))).collect(),
            pools: pools.filter_map(|p| Some((p.to_owned(), self.pool_value(config, p)?))).collect(),
        }
    }
}

/// Every split that an operator can see: the named ones, and those of routes with weights.
pub fn split_names(config: &Config) -> impl Iterator<Item = &str> {
    let of_routes = config.routes.iter().filter(|r| r.weights.is_some()).map(|r| r.name.as_str());
    config.splits.keys().map(String::as_str).chain(of_routes)
}
