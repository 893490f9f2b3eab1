//! Rollouts of pools, as answered.

use serde::Serialize;
use tidegate_core::config;
use utoipa::ToSchema;

use super::{DryRun, Held, PoolRolloutPlan, Said};

/// A rollout of a pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolRollout {
    /// The pool.
    pub pool: String,
    /// Its number: the generation of its start.
    pub id: u64,
    /// The generation in which the pool last changed, which is its `ETag`.
    pub generation: u64,
    /// `rolling` or `recreate`.
    #[schema(value_type = String)]
    pub strategy: config::PoolStrategy,
    /// `running`, `paused`, `succeeded` or `aborted`.
    pub state: &'static str,
    /// What keeps a running rollout from going on: `hook`, `health`, `drain` or `state`.
    pub held: Option<Held>,
    /// Who has paused it.
    pub paused: Option<Said>,
    /// Who has ended it: `rollout` when it came to its end by itself.
    pub ended: Option<Said>,
    /// Who has started it.
    pub started: Said,
    /// Its endpoints, in the order in which they are replaced.
    pub endpoints: Vec<RolledEndpoint>,
    /// Requests that wait for the pool.
    pub waiting_requests: u32,
    /// How long it has lasted.
    pub elapsed: String,
    /// The plan, with its defaults.
    #[schema(value_type = PoolRolloutPlan)]
    pub plan: config::PoolRollout,
    /// False when it is in force but could not be written down: a restart would undo the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Only in the answer of a dry run.
    #[serde(flatten)]
    pub dry_run: DryRun,
}

/// An endpoint that is replaced.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolledEndpoint {
    /// Its address.
    pub address: String,
    /// `waiting`, `draining`, `replacing`, `waiting_healthy`, `replaced` or `failed`.
    pub state: &'static str,
}
