//! The process, its configuration, routes and decisions, as answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Change, Problem, Values};

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// `starting`, `ready` or `stopping`.
    pub phase: &'static str,
    /// When it started.
    pub started: String,
    /// How long it has run.
    pub uptime: String,
    /// The same in seconds.
    pub uptime_seconds: u64,
    /// The generation in force.
    pub generation: u64,
    /// Listeners, as bound.
    pub listeners: Vec<Listener>,
    /// Where the admin API listens.
    pub admin_address: String,
    /// The configuration file.
    pub config_path: Option<String>,
    /// The last reading of the file.
    pub last_reload: LastReload,
    /// How many of each there are.
    pub counts: Counts,
    /// Where runtime changes are kept.
    pub state: StateFolder,
}

/// A listener.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
}

/// The last reading of the configuration file.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastReload {
    /// When.
    pub at: String,
    /// Whether it was good.
    pub ok: bool,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

/// How many there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Counts {
    /// Listeners.
    pub listeners: usize,
    /// Routes.
    pub routes: usize,
    /// Splits.
    pub splits: usize,
    /// Pools.
    pub pools: usize,
    /// Endpoints of all pools.
    pub endpoints: usize,
    /// Runtime changes that hold over the file.
    pub overrides: usize,
}

/// Where runtime changes are kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct StateFolder {
    /// Whether all that is in force survives a restart.
    pub durable: bool,
    /// Changes refused since the start because they could not be written down.
    pub failures: u64,
}

/// The configuration in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigFile {
    /// The file.
    pub path: Option<String>,
    /// What it says, with every default filled in.
    pub config: Value,
}

/// What came of checking a file.
#[derive(Debug, Serialize, ToSchema)]
pub struct Validated {
    /// Whether it is good. One that is not is answered with 422.
    pub ok: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What it would change.
    pub changes: WouldChange,
}

/// What putting a file in force would change.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct WouldChange {
    /// Whether anything would.
    pub any: bool,
    /// Splits and pools, as they are.
    pub before: Values,
    /// Splits and pools, as they would be.
    pub after: Values,
    /// Routes, by name.
    pub routes: RouteChanges,
    /// Runtime changes that would give way to the file, in words.
    pub dropped: Vec<String>,
    /// What would become of recent requests.
    pub recent: Recent,
}

/// A sample of recent requests, routed by the table in force and by the one that would be.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Recent {
    /// Requests in the sample; 0 before there was traffic.
    pub requests: usize,
    /// Of these, those that would go elsewhere.
    pub moved: usize,
    /// From where to where, the most first.
    pub moves: Vec<Move>,
}

/// Requests that would go elsewhere.
#[derive(Debug, Serialize, ToSchema)]
pub struct Move {
    /// Where they go.
    pub from: Place,
    /// Where they would go.
    pub to: Place,
    /// How many of the sample.
    pub requests: usize,
}

/// Where a request goes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Place {
    /// The route; null = none takes it.
    pub route: Option<String>,
    /// The pool; null = none could.
    pub pool: Option<String>,
}

impl From<tidegate_core::recent::Comparison> for Recent {
    fn from(comparison: tidegate_core::recent::Comparison) -> Self {
        let place = |(route, pool)| Place { route, pool };
        let moves = comparison.moves.into_iter();
        let mut moves: Vec<Move> =
            moves.map(|((from, to), requests)| Move { from: place(from), to: place(to), requests }).collect();
        moves.sort_by_key(|one| std::cmp::Reverse(one.requests));
        moves.truncate(100);
        Self { requests: comparison.requests, moved: comparison.moved, moves }
    }
}

/// Routes that differ, by name.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct RouteChanges {
    /// New ones.
    pub added: Vec<String>,
    /// Those that go.
    pub removed: Vec<String>,
    /// Those that differ.
    pub changed: Vec<String>,
}

/// What came of a reload.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReloadAnswer {
    /// Always true; a file that is not good is answered with 422.
    pub ok: bool,
    /// The generation in force.
    pub generation: u64,
    /// Whether the file said something new.
    pub changed: bool,
    /// The change, if there was one.
    pub change: Option<Change>,
    /// True in the answer of a dry run: nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// Routes in the order in which they are tried.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteList {
    /// One item for each host and match of a route.
    pub routes: Vec<Route>,
}

/// One way to reach a route.
#[derive(Debug, Serialize, ToSchema)]
pub struct Route {
    /// The route.
    pub name: String,
    /// Which of the route's matches, from 0.
    #[serde(rename = "match")]
    pub number: u32,
    /// The host: exact, `*.example.org`, or `*` for any.
    pub host: String,
    /// The path, as `prefix /checkout`.
    pub path: String,
    /// Other conditions, as written.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub conditions: Map<String, Value>,
    /// The split that chooses the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The pool, where the route names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// `redirect` or `respond`, where the route answers by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<&'static str>,
}

/// Where a request goes, and why.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Explained {
    /// The route; null = none takes it.
    pub route: Option<String>,
    /// What the route answers by itself; null = the request is sent to a pool.
    pub answer: Option<ExplainedAnswer>,
    /// The route's split, unless it names a pool.
    pub split: Option<String>,
    /// The user's key.
    pub key: Option<ExplainedKey>,
    /// The pool that serves.
    pub pool: Option<String>,
    /// The pool that was chosen, to which a failure is charged.
    pub chosen: Option<String>,
    /// `override`, `bucket`, `random`, `fallback` or `only`.
    pub reason: Option<&'static str>,
    /// The pool that would help if this one failed, where the split rescues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<String>,
    /// Each pool's score for the key; the highest wins.
    pub scores: BTreeMap<String, f64>,
    /// The endpoints of the pool that serves.
    pub endpoints: Vec<ExplainedEndpoint>,
    /// The endpoint picked this time; null = none can be used, or the request waits.
    pub endpoint: Option<String>,
    /// Whether the request waits, while what runs behind its pool is replaced.
    pub waits: bool,
    /// The address that counts as the client's.
    pub client: String,
    /// Every other route, in the order of trying, and why it does not take the request.
    pub rejected: Vec<Rejection>,
}

/// What a route answers by itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedAnswer {
    /// The status.
    pub status: u16,
    /// Where it redirects to, over plain HTTP at the first listener.
    pub location: Option<String>,
}

/// A user's key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedKey {
    /// Where it comes from, as `header:x-user-id`.
    pub source: String,
    /// The key.
    pub value: String,
}

/// An endpoint and its state.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedEndpoint {
    /// Its address.
    pub address: String,
    /// As in the pool.
    pub state: &'static str,
}

/// A route that does not take the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rejection {
    /// The route.
    pub route: String,
    /// Why not.
    pub why: String,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    /// `change`, `health`, `drain`, `reload`, `rollout` or `verdict`.
    pub kind: &'static str,
    /// When.
    pub time: String,
    /// The generation in force.
    pub generation: u64,
    /// Who did it.
    pub actor: String,
    /// What it was, in words.
    pub message: String,
    /// The rest, by kind.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
}
