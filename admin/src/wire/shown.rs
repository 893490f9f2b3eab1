//! Splits, pools and history, as answered.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_core::config;
use tidegate_core::rollout::Rollout;
use tidegate_core::state;
use utoipa::ToSchema;

use crate::clock::rfc3339;

/// A split.
#[derive(Debug, Serialize, ToSchema)]
pub struct Split {
    /// Its name; for the weights of a route, the route's.
    pub name: String,
    /// The generation in which it last changed, which is its `ETag`.
    pub generation: u64,
    /// Pool to weight, in force.
    pub weights: BTreeMap<String, u32>,
    /// Pool to share, a fraction of 1.
    pub shares: BTreeMap<String, f64>,
    /// Pool to weight, in the file.
    pub configured_weights: BTreeMap<String, u32>,
    /// Where the weights in force come from: `file`, `api` or `rollout`.
    pub source: &'static str,
    /// The runtime change that holds over the file.
    #[serde(rename = "override")]
    pub runtime: Option<Runtime>,
    /// Where the key of a request comes from, first to last.
    pub key: Vec<String>,
    /// Pools tried when the chosen one has no usable endpoint.
    pub fallback: Vec<String>,
    /// Its rollout: the one that runs, or the last.
    pub rollout: Option<RolloutSummary>,
    /// What each pool was charged with since the start.
    pub requests: BTreeMap<String, Tally>,
    /// False when a change is in force but could not be written down: a restart would undo it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Only in the answer of a dry run.
    #[serde(flatten)]
    pub dry_run: DryRun,
}

/// How far a split's rollout is.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutSummary {
    /// Its number: the generation of its start.
    pub id: u64,
    /// `running`, `paused`, `baking`, `succeeded` or `aborted`.
    pub state: &'static str,
    /// `canary`, `blue_green` or `ab`.
    #[schema(value_type = String)]
    pub strategy: config::SplitStrategy,
    /// The pool to move from.
    pub baseline: String,
    /// The pool to move to.
    pub candidate: String,
    /// The step, from 1; 0 = before the first.
    pub step: usize,
    /// The candidate's part of what it and the baseline have together.
    pub percent: f64,
}

impl RolloutSummary {
    pub(crate) fn of(rollout: &Rollout) -> Self {
        Self {
            id: rollout.id,
            state: rollout.status().as_str(),
            strategy: rollout.plan.strategy,
            baseline: rollout.plan.baseline.clone(),
            candidate: rollout.plan.candidate.clone(),
            step: rollout.step,
            percent: rollout.percent,
        }
    }
}

/// Who changed something at run time, and until when it holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Runtime {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// When the file's value returns.
    pub expires_at: Option<String>,
}

impl Runtime {
    pub(crate) fn of<T>(kept: &state::Kept<T>) -> Self {
        Self {
            actor: kept.actor.clone(),
            reason: kept.reason.clone(),
            expires_at: kept.expires_at_ms.map(rfc3339),
        }
    }
}

/// Requests charged to a pool of a split.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
}

/// What a dry run adds to the object as it would be.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct DryRun {
    /// True: nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// What the change would touch, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Values>,
    /// What the change would touch, as it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Values>,
}

impl DryRun {
    pub(crate) fn of(entry: &state::Entry) -> Self {
        Self {
            dry_run: Some(true),
            before: Some(Values::from(&entry.before)),
            after: Some(Values::from(&entry.after)),
        }
    }
}

/// All splits.
#[derive(Debug, Serialize, ToSchema)]
pub struct SplitList {
    /// By name.
    pub splits: Vec<Split>,
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The generation in which it last changed, which is its `ETag`.
    pub generation: u64,
    /// `ready`, `draining` or `drained`.
    pub state: &'static str,
    /// Whether so few endpoints are usable that health is ignored: `panic_threshold`.
    pub panic: bool,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Endpoints that are no longer in the pool and still finish requests.
    pub leaving: Vec<Leaving>,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that wait for a place, or for the pool to come back.
    pub waiting: u32,
    /// Where its endpoints come from: `file` or `api`.
    pub source: &'static str,
    /// The name that stands for its endpoints, where they are not written.
    pub dns: Option<Dns>,
    /// The runtime change of its endpoints that holds over the file.
    #[serde(rename = "override")]
    pub runtime: Option<Runtime>,
    /// Only in the answer of a dry run.
    #[serde(flatten)]
    pub dry_run: DryRun,
}

/// A name that stands for the endpoints of a pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dns {
    /// The name, and the port.
    pub name: String,
    /// How often it is resolved again.
    pub refresh: String,
    /// What came of the last lookup.
    pub last_lookup: Option<LastCheck>,
}

/// An endpoint of a pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoint {
    /// Its address.
    pub address: String,
    /// Its weight among the pool's endpoints.
    pub weight: u32,
    /// The part of its weight that it has while it warms up; absent = all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warming: Option<f64>,
    /// `up`, `down`, `unknown`, `ejected`, `draining` or `drained`.
    pub state: &'static str,
    /// Requests in flight.
    pub in_flight: u32,
    /// Open connections.
    pub connections: u32,
    /// The last active check.
    pub last_check: Option<LastCheck>,
}

/// The result of an active check, or of a lookup.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastCheck {
    /// When.
    pub at: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// An endpoint that is no longer in its pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leaving {
    /// Its address.
    pub address: String,
    /// Requests in flight.
    pub in_flight: u32,
    /// Open connections.
    pub connections: u32,
}

/// All pools.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolList {
    /// By name.
    pub pools: Vec<Pool>,
}

/// Past changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryList {
    /// Newest first.
    pub history: Vec<Change>,
}

/// A change that was made, or by a dry run would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// The generation that it made.
    pub generation: u64,
    /// When.
    pub time: String,
    /// Who.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// What was asked for, as `set_weights`.
    pub action: String,
    /// What it touched, as it was before.
    pub before: Values,
    /// What it touched, as it is since.
    pub after: Values,
    /// The evidence, where it decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<super::Verdict>,
    /// True in the answer of a dry run: nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl From<&state::Entry> for Change {
    fn from(entry: &state::Entry) -> Self {
        Self {
            generation: entry.generation,
            time: rfc3339(entry.time_ms),
            actor: entry.actor.clone(),
            reason: entry.reason.clone(),
            action: entry.action.clone(),
            before: Values::from(&entry.before),
            after: Values::from(&entry.after),
            verdict: entry.verdict.as_deref().map(super::Verdict::of),
            dry_run: None,
        }
    }
}

/// Values of the splits and pools that a change touches.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Values {
    /// By split.
    pub splits: BTreeMap<String, SplitValue>,
    /// By pool.
    pub pools: BTreeMap<String, PoolValue>,
}

/// What is in force of a split.
#[derive(Debug, Serialize, ToSchema)]
pub struct SplitValue {
    /// Pool to weight.
    pub weights: BTreeMap<String, u32>,
    /// Its rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutValue>,
}

/// How a rollout was.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutValue {
    /// Its number.
    pub id: u64,
    /// Its state.
    pub state: String,
    /// The step, from 1; 0 = before the first.
    pub step: usize,
    /// The candidate's part of what it and the baseline have together.
    pub percent: f64,
}

/// What is in force of a pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolValue {
    /// Its endpoints.
    pub endpoints: Vec<EndpointValue>,
    /// Whether it drains.
    pub draining: bool,
    /// Endpoints that drain.
    pub draining_endpoints: Vec<String>,
    /// Its rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<PoolRolloutValue>,
}

/// How a pool's rollout was.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolRolloutValue {
    /// Its number.
    pub id: u64,
    /// `rolling` or `recreate`.
    pub strategy: String,
    /// Its state.
    pub state: String,
    /// How far each endpoint had come.
    pub endpoints: BTreeMap<String, String>,
}

/// An endpoint as a change names it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointValue {
    /// Its address.
    pub address: String,
    /// Its weight.
    pub weight: u32,
}

impl From<&state::Values> for Values {
    fn from(values: &state::Values) -> Self {
        let split = |value: &state::SplitValue| SplitValue {
            weights: value.weights.clone(),
            rollout: value.rollout.as_ref().map(|rollout| RolloutValue {
                id: rollout.id,
                state: rollout.state.clone(),
                step: rollout.step,
                percent: rollout.percent,
            }),
        };
        let pool = |value: &state::PoolValue| PoolValue {
            endpoints: value
                .endpoints
                .iter()
                .map(|e| EndpointValue { address: e.address.clone(), weight: e.weight })
                .collect(),
            draining: value.draining,
            draining_endpoints: value.draining_endpoints.clone(),
            rollout: value.rollout.as_ref().map(|rollout| PoolRolloutValue {
                id: rollout.id,
                strategy: rollout.strategy.clone(),
                state: rollout.state.clone(),
                endpoints: rollout.endpoints.clone(),
            }),
        };
        Self {
            splits: values.splits.iter().map(|(name, value)| (name.clone(), split(value))).collect(),
            pools: values.pools.iter().map(|(name, value)| (name.clone(), pool(value))).collect(),
        }
    }
}
