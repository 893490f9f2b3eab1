//! What this command line reads of the API's answers.
//!
//! Every field has a default and unknown ones are read over, so that a command line of one release
//! still shows what it can of a Tidegate of the next.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::new(
            format!("the answer cannot be read: {error}"),
            "this command line may be older than the Tidegate it talks to; --json shows the answer as it is",
        )
    })
}

/// `GET /v1/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) generation: u64,
    pub(crate) last_reload: Option<Reload>,
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reload {
    pub(crate) at: String,
    pub(crate) ok: bool,
    pub(crate) problems: Vec<tidegate_core::validate::Problem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// `GET /v1/splits`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Splits {
    pub(crate) splits: Vec<Split>,
}

/// `GET /v1/splits/{split}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Split {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) weights: BTreeMap<String, u64>,
    pub(crate) shares: BTreeMap<String, f64>,
    pub(crate) configured_weights: BTreeMap<String, u64>,
    pub(crate) source: String,
    #[serde(rename = "override")]
    pub(crate) override_: Option<Override>,
    pub(crate) requests: BTreeMap<String, Requests>,
    pub(crate) rollout: Option<RolloutSummary>,
}

/// A split's rollout in a few words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RolloutSummary {
    pub(crate) state: String,
}

impl Split {
    /// Whether a rollout decides over it.
    pub(crate) fn has_active_rollout(&self) -> bool {
        let state = self.rollout.as_ref().map(|rollout| rollout.state.as_str());
        matches!(state, Some("running" | "paused" | "baking"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Override {
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    pub(crate) expires_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Requests {
    pub(crate) total: u64,
    pub(crate) failed: u64,
}

/// `GET /v1/pools`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pools {
    pub(crate) pools: Vec<Pool>,
}

/// `GET /v1/pools/{pool}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) state: String,
    /// Health is ignored, since too few endpoints are usable.
    pub(crate) panic: bool,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Endpoints that are no longer in the pool and still finish requests.
    pub(crate) leaving: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) weight: u64,
    pub(crate) state: String,
    pub(crate) in_flight: u64,
    pub(crate) connections: u64,
    pub(crate) last_check: Option<LastCheck>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastCheck {
    pub(crate) at: String,
    pub(crate) ok: bool,
    pub(crate) detail: Option<String>,
}

/// `POST /v1/explain`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Explanation {
    pub(crate) route: Option<String>,
    /// Where the route answers by itself.
    pub(crate) answer: Option<OwnAnswer>,
    pub(crate) split: Option<String>,
    pub(crate) key: Option<Key>,
    pub(crate) pool: Option<String>,
    /// The pool of the bucket, where another one serves.
    pub(crate) chosen: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) scores: BTreeMap<String, f64>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// The endpoint picked.
    pub(crate) endpoint: Option<String>,
    pub(crate) rejected: Vec<RejectedRoute>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OwnAnswer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Key {
    pub(crate) source: String,
    pub(crate) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RejectedRoute {
    pub(crate) route: String,
    pub(crate) why: String,
}

/// `GET /v1/history`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    pub(crate) history: Vec<Entry>,
}

/// One change, of the history or as an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) generation: u64,
    pub(crate) time: String,
    pub(crate) action: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    pub(crate) before: Option<Values>,
    pub(crate) after: Option<Values>,
    /// Of an event: what happened, in words.
    pub(crate) message: Option<String>,
    /// Of an event: so many were missed.
    pub(crate) skipped: Option<u64>,
}

/// What was in force of the splits and pools that a change touched.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Values {
    pub(crate) splits: BTreeMap<String, SplitValue>,
    pub(crate) pools: BTreeMap<String, PoolValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SplitValue {
    pub(crate) weights: BTreeMap<String, u64>,
    pub(crate) rollout: Option<RolloutValue>,
}

/// How a rollout was.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RolloutValue {
    pub(crate) id: u64,
    pub(crate) state: String,
    pub(crate) step: usize,
    pub(crate) percent: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolValue {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) draining: bool,
    pub(crate) draining_endpoints: Vec<String>,
    pub(crate) rollout: Option<PoolRolloutValue>,
}

/// How a pool's rollout was.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolRolloutValue {
    pub(crate) id: u64,
    pub(crate) strategy: String,
    pub(crate) state: String,
    pub(crate) endpoints: BTreeMap<String, String>,
}
