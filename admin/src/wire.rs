//! The API's types: what goes over the wire, never the core's own.
//!
//! Inputs deny unknown fields, so that a misspelt one is not silently ignored; outputs may gain
//! fields. Times are RFC 3339 in UTC, durations strings such as `"30s"`.

mod input;
mod plan;
mod pool_rollout;
mod rollout;
mod shown;
mod system;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use input::{
    Cutover, Drain, EndpointInput, Explain, HeaderInput, Promote, Reason, SetEndpoints, SetWeights,
};
pub use plan::{PoolRolloutPlan, RolloutPlan, StartPoolRollout, StartRollout};
pub use pool_rollout::{PoolRollout, RolledEndpoint};
pub use rollout::{Evidence, FailedRequest, Held, Rollout, Said, Side, Step, Test, Verdict};
pub use shown::{
    Change, Dns, DryRun, Endpoint, EndpointValue, HistoryList, LastCheck, Leaving, Pool, PoolList,
    PoolRolloutValue, PoolValue, RolloutSummary, RolloutValue, Runtime, Split, SplitList, SplitValue, Tally,
    Values,
};
pub use system::{
    ConfigFile, Counts, Event, Explained, ExplainedAnswer, ExplainedEndpoint, ExplainedKey, LastReload,
    Listener, Move, Place, Recent, Rejection, ReloadAnswer, Route, RouteChanges, RouteList, StateFolder,
    Status, Validated, WouldChange,
};

/// An error, as RFC 9457 has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// What kind of error, as `urn:tidegate:problem:stale`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
    /// Every value that cannot be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// With status 412: the split or pool that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Value>,
}

/// One value that cannot be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where, as `weights.canary` or `routes[2].matches[0].path`.
    pub path: String,
    /// The line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<tidegate_core::validate::Problem> for Problem {
    fn from(problem: tidegate_core::validate::Problem) -> Self {
        let tidegate_core::validate::Problem { path, line, message, hint } = problem;
        Self { path, line, message, hint }
    }
}
