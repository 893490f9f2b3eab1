//! The immutable value in which the two paths cross: requests read it, changes replace it.
//!
//! Everything here is behind `Arc`s, so that a change of one split copies pointers, not tables.
//! What must outlive a snapshot (health, counts) is in the cells it points to.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;

use crate::action::Action;
use crate::address::Address;
use crate::condition::{Conditions, PathTest};
use crate::config;
use crate::edit::Edits;
use crate::ledger::{Ledger, Side};
use crate::mirror::Mirror;
use crate::pool::{Pool, PoolId};
use crate::record::{Charges, Moved, Tally};
use crate::retry;
use crate::rewrite::Rewrite;
use crate::rollout::Rollout;
use crate::route::{RouteId, RouteTable};
use crate::units::{Generation, Weight};

/// A split's place in a snapshot, from 0.
pub type SplitId = u32;

/// A pool's place in a split, from 0, in order of names.
pub type MemberId = u16;

/// A published routing table.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// What is not about routing.
    pub settings: Arc<Settings>,
    /// Which route takes a request.
    pub table: Arc<RouteTable>,
    /// What a route does, by [`RouteId`].
    pub routes: Arc<[Route]>,
    /// By [`SplitId`].
    pub splits: Vec<Arc<Split>>,
    /// By [`PoolId`].
    pub pools: Vec<Arc<Pool>>,
    /// Answers by route, then by member of the route's split; one where the route has none.
    pub tallies: Vec<Arc<[Arc<Tally>]>>,
    /// Answers to requests that no route takes.
    pub unrouted: Arc<Tally>,
}

/// Settings that a reload may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whose X-Forwarded-* are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// See [`config::Server`].
    pub express: bool,
    /// See [`config::Server`].
    pub shutdown_delay: Duration,
    /// See [`config::Server`].
    pub shutdown_timeout: Duration,
    /// The listeners, in the order written.
    pub listeners: Vec<Arc<config::Listener>>,
    /// The log.
    pub log: config::Log,
}

impl Settings {
    /// A listener's settings.
    pub fn listener(&self, name: &str) -> Option<&Arc<config::Listener>> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

/// What a route does with a request.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// What it does with a request.
    pub action: Action,
    /// What the upstream is to see of the target.
    pub rewrite: Rewrite,
    /// Edits to what is sent upstream.
    pub request_headers: Edits,
    /// Edits to everything that is answered.
    pub response_headers: Edits,
    /// Pools that get copies of requests.
    pub mirrors: Box<[Mirror]>,
    /// The whole exchange must be done within this.
    pub timeout: Option<Duration>,
    /// One try must be done within this.
    pub try_timeout: Option<Duration>,
    /// When a request is tried again.
    pub retry: retry::Rule,
}

impl Route {
    /// The split that chooses the pool; `None` where the route answers by itself.
    pub fn split(&self) -> Option<SplitId> {
        match self.action {
            Action::Split(split) => Some(split),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }
}

/// Weights over pools, and how a user is bucketed.
#[derive(Clone, Debug)]
pub struct Split {
    /// Its name; empty for the implicit split of a route that names a pool.
    pub name: Arc<str>,
    /// The generation in which it last changed.
    pub generation: Generation,
    /// The pools that may take its requests, sorted by name.
    pub members: Vec<Member>,
    /// Where the key comes from.
    pub key: Vec<Key>,
    /// Of the salt.
    pub salt_seed: u64,
    /// The id given to visitors without a key.
    pub assign: Option<config::Assign>,
    /// The first that holds wins.
    pub overrides: Vec<Override>,
    /// Tried in order when the chosen pool has no usable endpoint.
    pub fallback: Vec<MemberId>,
    /// Whether a request that has failed is sent to one of them once more.
    pub rescue: bool,
    /// The header in which the upstream is told the pool.
    pub pool_header: Option<HeaderName>,
    /// Its rollout: the one that runs, or the last.
    pub rollout: Option<Arc<Rollout>>,
    /// Requests moved to a pool of the fallback, by place `from × fallback.len() + to`.
    pub moves: Vec<Arc<Moved>>,
    /// Where a running rollout counts.
    pub watch: Option<Watch>,
}

/// What a running rollout looks at in a split.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Where requests are counted.
    pub ledger: Arc<Ledger>,
    /// The pool on trial.
    pub candidate: MemberId,
    /// The pool that it is compared with.
    pub baseline: MemberId,
}

impl Watch {
    /// The side that a pool's requests count on; `None` when it is neither of the two.
    pub fn side(&self, member: MemberId) -> Option<Side> {
        if member == self.candidate {
            Some(Side::Candidate)
        } else if member == self.baseline {
            Some(Side::Baseline)
        } else {
            None
        }
    }
}

/// A pool in a split.
#[derive(Clone, Debug)]
pub struct Member {
    /// The pool.
    pub pool: PoolId,
    /// Its name.
    pub name: Arc<str>,
    /// Its weight; `None` when it is reached only by an override or as a fallback.
    pub weight: Option<Weight>,
    /// Of its name, for bucketing.
    pub hash: u64,
    /// Requests and failures charged to it.
    pub charges: Arc<Charges>,
}

/// Where a key comes from, compiled.
#[derive(Clone, Debug)]
pub enum Key {
    /// The first line of a header.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The client's address as text.
    ClientIp,
}

impl Key {
    /// Compiles what was written.
    pub fn compile(written: &config::KeySource) -> Self {
        match written {
            config::KeySource::Header(name) => Self::Header(name.parse().expect("validated: a header name")),
            config::KeySource::Cookie(name) => Self::Cookie(name.clone()),
            config::KeySource::Query(name) => Self::Query(name.clone()),
            config::KeySource::ClientIp => Self::ClientIp,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::ClientIp => f.write_str("client_ip"),
        }
    }
}

/// A rule that sends a request to a pool whatever its bucket.
#[derive(Clone, Debug)]
pub struct Override {
    /// The path.
    pub path: PathTest,
    /// Everything else but the key.
    pub conditions: Conditions,
    /// The key is one of these, unless empty.
    pub keys: Vec<Box<[u8]>>,
    /// Only for requests from trusted proxies.
    pub trusted: bool,
    /// The pool.
    pub member: MemberId,
}

impl Snapshot {
    /// A route by its id.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id as usize]
    }

    /// A split by its id.
    pub fn split(&self, id: SplitId) -> &Arc<Split> {
        &self.splits[id as usize]
    }

    /// A pool by its id.
    pub fn pool(&self, id: PoolId) -> &Arc<Pool> {
        &self.pools[id as usize]
    }

    /// A split by its name.
    pub fn split_named(&self, name: &str) -> Option<&Arc<Split>> {
        self.named_splits().find(|s| &*s.name == name)
    }

    /// A pool by its name.
    pub fn pool_named(&self, name: &str) -> Option<&Arc<Pool>> {
        let at = self.pools.binary_search_by(|p| (*p.name).cmp(name)).ok()?;
        self.pools.get(at)
    }

    /// All splits that an operator can see.
    pub fn named_splits(&self) -> impl Iterator<Item = &Arc<Split>> {
        self.splits.iter().filter(|s| !s.name.is_empty())
    }

    /// An endpoint's pool and place.
    pub fn endpoint(&self, pool: &str, address: &Address) -> Option<(&Arc<Pool>, usize)> {
        let pool = self.pool_named(pool)?;
        Some((pool, pool.endpoints.iter().position(|e| e.address() == address)?))
    }
}

impl Split {
    /// A member by its id.
    pub fn member(&self, id: MemberId) -> &Member {
        &self.members[usize::from(id)]
    }

    /// What is counted of requests moved from one pool to another; `None` when the latter is no fallback.
    pub fn moved(&self, from: MemberId, to: MemberId) -> Option<&Arc<Moved>> {
        let to = self.fallback.iter().position(|member| *member == to)?;
        self.moves.get(usize::from(from) * self.fallback.len() + to)
    }

    /// Whether its users are known.
    pub fn is_keyed(&self) -> bool {
        !self.key.is_empty() || self.assign.is_some()
    }

    /// The weights by which requests are given out, by member: those of the table, unless its rollout
    /// is being aborted. Then the baseline has the candidate's, as it will in the next table.
    pub fn weights_now(&self) -> impl Iterator<Item = Weight> + Clone {
        let cut = self.watch.as_ref().filter(|watch| watch.ledger.is_cut());
        let given = cut.map_or(0, |watch| self.member(watch.candidate).weight.unwrap_or(0));
        self.members.iter().enumerate().map(move |(at, member)| {
            let weight = member.weight.unwrap_or(0);
            match cut {
                Some(watch) if at == usize::from(watch.candidate) => 0,
                Some(watch) if at == usize::from(watch.baseline) => weight.saturating_add(given),
                _ => weight,
            }
        })
    }

    /// Sum of the weights.
    pub fn total_weight(&self) -> u64 {
        self.members.iter().filter_map(|m| m.weight).map(u64::from).sum()
    }

    /// Each weighted pool's share of the split, a fraction of 1.
    pub fn shares(&self) -> impl Iterator<Item = (&Member, f64)> {
        let total = self.total_weight() as f64;
        self.members.iter().filter_map(move |m| Some((m, f64::from(m.weight?) / total)))
    }
}
