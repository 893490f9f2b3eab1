//! What the operator wrote: the configuration file as types, one file per section.
//!
//! Every key is documented here with its default; the JSON schema in `config/schema.json` and the
//! structural checks in [`read`] come from these very types. Nothing here is checked for meaning:
//! [`crate::validate`] does that, and [`crate::compile`] turns the result into what requests read.

mod depth;
mod edge;
mod env;
pub mod plan;
pub mod plan_file;
mod pool;
pub mod read;
mod rollout;
mod route;
pub mod schema;
mod split;
mod structure;
mod syntax;
mod tree;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use edge::{
    Admin, Certificate, ClientCert, Listener, ListenerTls, Log, LogOutput, OnOff, Server, TlsVersion,
};
pub use pool::{Balance, Eject, Endpoint, EndpointTable, Health, Initial, Limits, Pool, PoolTls, Protocol};
pub use rollout::{
    Check, Gate, Guard, Hook, HookOn, LatencyGuard, OnSuccess, PoolRollout, PoolStrategy, Rollout,
    SplitStrategy, Step, Unit,
};
pub use route::{
    HeaderEdits, HeaderValues, Match, Mirror, PathMatch, PathRewrite, Redirect, Respond, Retry, RetryOn,
    Rewrite, Route, StringMatch,
};
pub use split::{Assign, KeySource, Override, SameSite, Split};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process as a whole.
    pub server: Server,
    /// Addresses that accept client connections. At least one is required.
    pub listeners: Vec<Listener>,
    /// The program's log and the access log.
    pub log: Log,
    /// The admin API.
    pub admin: Admin,
    /// Pools by name: each is one version of a service.
    pub pools: BTreeMap<String, Pool>,
    /// Splits by name: weights over pools, and how a user is bucketed.
    pub splits: BTreeMap<String, Split>,
    /// Routes, matched by precedence; the order in the file only breaks ties.
    pub routes: Vec<Route>,
}
