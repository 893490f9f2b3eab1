//! The one way to change anything: a [`Change`] makes the next [`State`], or is rejected.
//!
//! Pure: `(change, what is in force, now) → next`. Nothing here touches the running table, so there
//! is no rollback code, only rollback as another change. Stage before: the file, the API; next:
//! [`crate::live`], which compiles, journals and swaps.

mod drain;
mod merge;
mod past;
mod pool_rollout;
mod rollout;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::address::Address;
use crate::config::{self, Config, Endpoint};
use crate::pool_rollout::fit;
use crate::rollout::{Known, Order, Verdict};
use crate::snapshot::Snapshot;
use crate::state::{
    Endpoints, Entry, Kept, State, Weights, file_endpoints, file_weights, split_names, to_table,
};
use crate::units::{Generation, Span};
use crate::validate::{self, Problem, Valid};

pub use merge::{Dropped, merge};
pub(crate) use past::last_known;

/// Something that someone wants changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// Replace a split's weights.
    SetWeights {
        /// The split.
        split: String,
        /// All its weights.
        weights: Weights,
        /// The file's weights return after this.
        ttl: Option<Span>,
        /// Abort a rollout that decides over them.
        force: bool,
    },
    /// Send all of a split's traffic to one pool.
    Cutover {
        /// The split.
        split: String,
        /// The pool.
        to: String,
        /// Refuse if fewer of its endpoints are up.
        min_healthy: usize,
        /// Watch it for this long, with the way back open.
        bake: Option<Span>,
        /// Do it all the same, and abort a rollout that decides over the split.
        force: bool,
    },
    /// Bring back the weights before the split's last change.
    Revert {
        /// The split.
        split: String,
    },
    /// Start a split's rollout.
    StartRollout {
        /// The split.
        split: String,
        /// The plan; absent = the file's.
        plan: Option<Box<config::Rollout>>,
    },
    /// Order a split's rollout about.
    Rollout {
        /// The split.
        split: String,
        /// What is wanted.
        order: Order,
        /// What it has seen by now, if the caller knows.
        known: Option<Box<Known>>,
    },
    /// Start a pool's rollout.
    StartPoolRollout {
        /// The pool.
        pool: String,
        /// The plan; absent = the file's.
        plan: Option<Box<config::PoolRollout>>,
    },
    /// Order a pool's rollout about.
    PoolRollout {
        /// The pool.
        pool: String,
        /// What is wanted.
        order: crate::pool_rollout::Order,
        /// Refuse if the rollout's revision is another.
        seen: Option<u64>,
    },
    /// Replace a pool's endpoints.
    SetEndpoints {
        /// The pool.
        pool: String,
        /// All its endpoints.
        endpoints: Vec<Endpoint>,
        /// The file's endpoints return after this.
        ttl: Option<Span>,
    },
    /// Drain a pool, or one endpoint of it.
    Drain {
        /// The pool.
        pool: String,
        /// The endpoint; absent = the whole pool.
        endpoint: Option<Address>,
        /// How long requests in flight may go on.
        timeout: Option<Span>,
    },
    /// Call a drain off.
    Undrain {
        /// The pool.
        pool: String,
        /// The endpoint; absent = the whole pool, and its endpoints.
        endpoint: Option<Address>,
    },
    /// Bring back the weights and endpoints that were in force with a generation.
    Restore {
        /// The generation.
        generation: Generation,
    },
    /// Let the file's value return where a runtime value's time is over.
    Expire,
    /// Put another file in force.
    Reload(Arc<Valid<Config>>),
}

impl Change {
    /// Whether it is an abort, which must not wait for anything.
    pub fn is_abort(&self) -> bool {
        match self {
            Self::Rollout { order, .. } => order.is_abort(),
            Self::PoolRollout { order, .. } => order.is_abort(),
            _ => false,
        }
    }

    /// The action's name, for the history.
    pub fn action(&self) -> &'static str {
        match self {
            Self::SetWeights { .. } => "set_weights",
            Self::Cutover { .. } => "cutover",
            Self::Revert { .. } => "revert",
            Self::StartRollout { .. } | Self::StartPoolRollout { .. } => "rollout_start",
            Self::Rollout { order, .. } => order.action(),
            Self::PoolRollout { order, .. } => order.action(),
            Self::SetEndpoints { .. } => "set_endpoints",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Restore { .. } => "restore",
            Self::Expire => "expire",
            Self::Reload(_) => "reload",
        }
    }
}

/// A change with who wants it and why.
#[derive(Clone, Debug)]
pub struct Request {
    /// What.
    pub change: Change,
    /// Who.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// Refuse if the split or pool has changed since this generation; for a reload or a restore, if
    /// anything has.
    pub if_match: Option<Generation>,
}

/// What time it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// On a clock that never jumps, in milliseconds since the process began.
    pub mono_ms: u64,
    /// Since the Unix epoch, for people and for what outlives the process.
    pub wall_ms: u64,
}

/// Why a change was not made. Knows no HTTP; the admin API maps it to a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no such thing.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The nearest name that there is.
        hint: Option<String>,
    },
    /// The values cannot be.
    #[error("{} problem(s): {}", .0.len(), .0.first().map_or("", |p| p.message.as_str()))]
    Invalid(Vec<Problem>),
    /// It has changed since.
    #[error("it changed in generation {current}")]
    Stale {
        /// The generation in which it last changed.
        current: Generation,
    },
    /// It cannot be done now.
    #[error("{0}")]
    Conflict(String),
    /// A reload would change what only a restart can.
    #[error("a restart is needed to change {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// The change could not be written to `state_dir`, so it was not made.
    #[error("the change could not be written to the state folder, and was not made: {0}")]
    NotDurable(String),
    /// Another process is taking over, so that what would be changed here would be lost.
    #[error("a new process is taking over; ask again in a moment")]
    TakingOver,
}

/// What a change may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The file in force.
    pub config: &'a Arc<Valid<Config>>,
    /// Runtime changes in force.
    pub state: &'a State,
    /// The table in force.
    pub snapshot: &'a Snapshot,
    /// Past changes, oldest first.
    pub history: &'a VecDeque<Arc<Entry>>,
    /// Runtime values whose time is over, as `(kind, name)`.
    pub expired: &'a [Expiring],
    /// The time.
    pub now: Now,
}

/// A runtime value that has a `ttl`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiring {
    /// A split's weights.
    Weights(String),
    /// A pool's endpoints.
    Endpoints(String),
}

/// What a change comes to.
#[derive(Clone, Debug)]
pub struct Next {
    /// The file in force, another one after a reload.
    pub config: Arc<Valid<Config>>,
    /// Runtime changes in force; the generation is not counted up yet.
    pub state: State,
    /// The splits it touches.
    pub splits: BTreeSet<String>,
    /// The pools it touches.
    pub pools: BTreeSet<String>,
    /// Runtime values that gave way to the file's.
    pub dropped: Vec<Dropped>,
    /// The evidence, where it decided.
    pub verdict: Option<Box<Verdict>>,
    /// Whether it takes traffic away from a version that may be bad: it must be in force also when it
    /// cannot be written down.
    pub is_urgent: bool,
}

/// What a change comes to, or why it is not made.
pub fn next(request: &Request, context: Context<'_>) -> Result<Next, Rejected> {
    let mut next = Next {
        config: Arc::clone(context.config),
        state: context.state.clone(),
        splits: BTreeSet::new(),
        pools: BTreeSet::new(),
        dropped: Vec::new(),
        verdict: None,
        is_urgent: false,
    };
    make(&mut next, request, context)?;
    let gave_way = fit(&mut next.state, &next.config, context.now.wall_ms);
    next.dropped.extend(gave_way);
    Ok(next)
}

fn make(next: &mut Next, request: &Request, context: Context<'_>) -> Result<(), Rejected> {
    let by = By { actor: &request.actor, reason: request.reason.as_deref(), now: context.now };
    match &request.change {
        Change::SetWeights { split, weights, ttl, force } => {
            check_split(request, context, split)?;
            rollout::give_way(next, split, Some(*force), by)?;
            next.set_weights(split, weights.clone(), *ttl, by)?;
        }
        Change::Cutover { split, to, min_healthy, bake, force } => {
            check_split(request, context, split)?;
            rollout::give_way(next, split, Some(*force), by)?;
            let weights = cutover(context, split, to, *min_healthy, *force)?;
            match bake {
                Some(bake) => rollout::cutover(next, context, split, to, *bake, by)?,
                None => next.set_weights(split, weights, None, by)?,
            }
        }
        Change::Revert { split } => {
            if !rollout::revert(next, request, context, split, by)? {
                let weights = past::weights_before(context, split)?;
                next.set_weights(split, weights, None, by)?;
            }
        }
        Change::StartRollout { split, plan } => {
            rollout::start(next, request, context, split, plan.as_deref(), by)?;
        }
        Change::Rollout { split, order, known } => {
            rollout::order(next, request, context, split, (order, known.as_deref()), by)?;
        }
        Change::StartPoolRollout { pool, plan } => {
            pool_rollout::start(next, request, context, pool, plan.as_deref(), by)?;
        }
        Change::PoolRollout { pool, order, seen } => {
            pool_rollout::order(next, request, context, pool, (order, *seen), by)?;
        }
        Change::SetEndpoints { pool, endpoints, ttl } => {
            check_pool(request, context, pool)?;
            let written = context.config.pools.get(pool);
            let problems = written.map(|pool| validate::endpoints(pool, endpoints, "endpoints"));
            let problems = problems.unwrap_or_default();
            if !problems.is_empty() {
                return Err(Rejected::Invalid(problems));
            }
            next.set_endpoints(pool, endpoints.iter().map(to_table).collect(), *ttl, by);
        }
        Change::Drain { pool, endpoint, timeout } => {
            check_pool(request, context, pool)?;
            check_endpoint(context, pool, endpoint.as_ref())?;
            next.drain(pool, endpoint.as_ref(), *timeout, by);
        }
        Change::Undrain { pool, endpoint } => {
            check_pool(request, context, pool)?;
            check_endpoint(context, pool, endpoint.as_ref())?;
            drain::check_undrain(context, pool, endpoint.as_ref())?;
            next.undrain(pool, endpoint.as_ref());
        }
        Change::Restore { generation } => {
            check_generation(request, context.snapshot.generation)?;
            past::restore(next, context, *generation, by)?;
        }
        Change::Expire => next.expire(context.expired),
        Change::Reload(config) => {
            check_generation(request, context.snapshot.generation)?;
            next.reload(config, context.now)?;
        }
    }
    Ok(())
}

/// Who changes, why and when.
#[derive(Clone, Copy)]
struct By<'a> {
    actor: &'a str,
    reason: Option<&'a str>,
    now: Now,
}

impl By<'_> {
    fn keep<T>(self, base: T, value: T, ttl: Option<Span>) -> Kept<T> {
        Kept {
            base,
            value,
            actor: self.actor.to_owned(),
            reason: self.reason.map(str::to_owned),
            expires_at_ms: ttl.map(|ttl| self.now.wall_ms.saturating_add(ttl.as_ms())),
            by_rollout: false,
        }
    }
}

impl Next {
    fn set_weights(
        &mut self,
        split: &str,
        weights: Weights,
        ttl: Option<Span>,
        by: By<'_>,
    ) -> Result<(), Rejected> {
        let known: BTreeSet<&str> = self.config.pools.keys().map(String::as_str).collect();
        let problems = validate::weights(&weights, &known, "weights");
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        let base = file_weights(&self.config, split).cloned().unwrap_or_default();
        self.state.weights.insert(split.to_owned(), by.keep(base, weights, ttl));
        self.splits.insert(split.to_owned());
        Ok(())
    }

    fn set_endpoints(&mut self, pool: &str, endpoints: Endpoints, ttl: Option<Span>, by: By<'_>) {
        let base = file_endpoints(&self.config, pool).unwrap_or_default();
        self.state.endpoints.insert(pool.to_owned(), by.keep(base, endpoints, ttl));
        self.state.forget_drains(&self.config, pool);
        self.pools.insert(pool.to_owned());
    }

    fn expire(&mut self, expired: &[Expiring]) {
        for one in expired {
            match one {
                Expiring::Weights(split) => {
                    self.state.weights.remove(split);
                    self.splits.insert(split.clone());
                }
                Expiring::Endpoints(pool) => {
                    self.state.endpoints.remove(pool);
                    self.state.forget_drains(&self.config, pool);
                    self.pools.insert(pool.clone());
                }
            }
        }
    }

    fn reload(&mut self, config: &Arc<Valid<Config>>, now: Now) -> Result<(), Rejected> {
        let fixed = merge::needs_restart(&self.config, config);
        if !fixed.is_empty() {
            return Err(Rejected::NeedsRestart(fixed));
        }
        self.splits = split_names(&self.config).chain(split_names(config)).map(str::to_owned).collect();
        self.pools = self.config.pools.keys().chain(config.pools.keys()).cloned().collect();
        (self.state, self.dropped) = merge(&self.state, config, now);
        self.config = Arc::clone(config);
        Ok(())
    }
}

fn check_split(request: &Request, context: Context<'_>, name: &str) -> Result<(), Rejected> {
    let Some(split) = context.snapshot.split_named(name) else {
        return Err(not_found("split", name, split_names(context.config)));
    };
    check_generation(request, split.generation)
}

fn check_pool(request: &Request, context: Context<'_>, name: &str) -> Result<(), Rejected> {
    let Some(pool) = context.snapshot.pool_named(name) else {
        return Err(not_found("pool", name, context.config.pools.keys().map(String::as_str)));
    };
    check_generation(request, pool.generation)
}

fn check_endpoint(context: Context<'_>, pool: &str, endpoint: Option<&Address>) -> Result<(), Rejected> {
    let Some(address) = endpoint else { return Ok(()) };
    if context.snapshot.endpoint(pool, address).is_some() {
        return Ok(());
    }
    let known = context
        .snapshot
        .pool_named(pool)
        .map(|p| p.endpoints.iter().map(|e| e.address().to_string()).collect());
    let known: Vec<String> = known.unwrap_or_default();
    Err(not_found("endpoint", &address.to_string(), known.iter().map(String::as_str)))
}

fn check_generation(request: &Request, current: Generation) -> Result<(), Rejected> {
    match request.if_match {
        Some(seen) if seen != current => Err(Rejected::Stale { current }),
        _ => Ok(()),
    }
}

fn not_found<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Rejected {
    let hint = validate::nearest(name, known).map(|near| format!("did you mean `{near}`?"));
    Rejected::NotFound { kind, name: name.to_owned(), hint }
}

/// The weights that send everything to one pool: the others stay in the split, with weight 0.
fn cutover(
    context: Context<'_>,
    split: &str,
    to: &str,
    min_healthy: usize,
    force: bool,
) -> Result<Weights, Rejected> {
    let mut weights = context.state.weights(context.config, split).cloned().unwrap_or_default();
    if !weights.contains_key(to) {
        return Err(Rejected::Invalid(vec![Problem {
            path: "to".into(),
            line: None,
            message: format!("pool `{to}` is not in split `{split}`"),
            hint: Some(format!("its pools are {}", weights.keys().cloned().collect::<Vec<_>>().join(", "))),
        }]));
    }
    let healthy = context.snapshot.pool_named(to).map_or(0, |pool| pool.healthy(context.now.mono_ms));
    if healthy < min_healthy && !force {
        return Err(Rejected::Conflict(format!(
            "pool `{to}` has {healthy} healthy endpoint(s), {min_healthy} are needed; \
             bring it up, or send \"force\": true"
        )));
    }
    for (pool, weight) in &mut weights {
        *weight = if pool == to { 100 } else { 0 };
    }
    Ok(weights)
}

#[cfg(test)]
mod tests;
