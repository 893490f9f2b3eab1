//! A pool as requests read it: its endpoints, their weights, and whether they may be used.

use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::cell::{EndpointCell, PoolCell};
use crate::config::{self, Balance, Protocol};
use crate::eject::Policy;
use crate::gate::Bounds;
use crate::health::Status;
use crate::pick::Turns;
use crate::pool_rollout::PoolRollout;
use crate::snapshot::Key;
use crate::units::{Generation, Weight};
use crate::waiting::Waiting;
use crate::warming;

/// A pool's place in a snapshot, from 0, in order of names.
pub type PoolId = u32;

/// How long things may take, in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting.
    pub connect: Duration,
    /// One read.
    pub read: Duration,
    /// One write.
    pub write: Duration,
    /// Keeping an unused connection; zero = none is kept.
    pub idle: Duration,
    /// A tunnel that carries nothing.
    pub tunnel_idle: Duration,
    /// Draining.
    pub drain: Duration,
}

/// How much a pool may be asked for at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges, and those that wait.
    pub bounds: Bounds,
    /// How long one may wait.
    pub queue_timeout: Duration,
    /// Connections to the endpoints; 0 = no limit.
    pub max_connections: u32,
}

impl Limits {
    /// Compiles what was written.
    ///
    /// In HTTP/1 each exchange needs a connection of its own, so a limit of connections is one of
    /// exchanges as well, and those above it can wait in the queue (as for a server's `maxconn` in HAProxy).
    pub fn compile(written: &config::Pool) -> Self {
        let config::Limits { max_in_flight, max_connections, queue, queue_timeout } = written.limits;
        let is_http1 = match written.protocol {
            Protocol::Http1 => true,
            Protocol::Auto => written.tls.is_none(),
            Protocol::H2 => false,
        };
        let as_exchanges = if is_http1 { max_connections } else { 0 };
        let most = match (max_in_flight, as_exchanges) {
            (0, most) | (most, 0) => most,
            (one, other) => one.min(other),
        };
        Self { bounds: Bounds { most, queue }, queue_timeout: queue_timeout.0, max_connections }
    }
}

/// The name that stands for a pool's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// `host:port`.
    pub name: Arc<str>,
    /// How often it is resolved again.
    pub refresh: Duration,
}

/// An endpoint in a pool.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its state, shared with other snapshots.
    pub cell: Arc<EndpointCell>,
    /// Its weight, 1 or more.
    pub weight: Weight,
    /// Whether it drains; with the time given to requests in flight.
    pub draining: Option<Duration>,
    /// Of its address, for balancing by hash.
    pub(crate) hash: u64,
}

impl Endpoint {
    /// Its address.
    pub fn address(&self) -> &Address {
        &self.cell.address
    }
}

/// One version of a service.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// The generation in which it last changed.
    pub generation: Generation,
    /// Its endpoints, in the order written, or in that of their addresses where a name stands for them.
    pub endpoints: Vec<Endpoint>,
    /// Where its endpoints are not written: the name that stands for them.
    pub discovery: Option<Discovery>,
    /// Endpoints that are no longer in the pool but may still have requests in flight.
    pub leaving: Vec<Arc<EndpointCell>>,
    /// Whether the whole pool drains; with the time given to requests in flight.
    pub draining: Option<Duration>,
    /// While all that runs behind it is replaced: requests wait. It then drains, too.
    pub waiting: Option<Waiting>,
    /// Its rollout: the one that runs, or the last.
    pub rollout: Option<Arc<PoolRollout>>,
    /// Its state, shared with other snapshots.
    pub cell: Arc<PoolCell>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// For balancing by hash.
    pub hash_key: Option<Vec<Key>>,
    /// Active checks.
    pub health: Option<Arc<config::Health>>,
    /// Passive ejection.
    pub eject: Option<Policy>,
    /// Health is ignored while fewer of its endpoints are usable, in percent; 0 = never.
    pub panic_threshold: u8,
    /// How long an endpoint that came up takes to reach its full weight; 0 = no time.
    pub slow_start_ms: u64,
    /// How much it may be asked for at once.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What is spoken to the endpoints.
    pub protocol: Protocol,
    /// TLS to the endpoints; whom to trust is in files, which are not the table's affair.
    pub tls: Option<config::PoolTls>,
    /// Sums of the endpoints' weights up to and with each.
    pub(crate) cumulative: Vec<u64>,
    /// For balancing in turn.
    pub(crate) turns: Arc<Turns>,
}

/// Whether an endpoint may take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Yes.
    Yes,
    /// Only while no other may: it has not been checked yet.
    LastResort,
    /// No.
    No,
}

/// An endpoint's state as shown: down before ejected, as the contract has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    Up,
    /// Fails its checks.
    Down,
    /// Not checked yet.
    Unknown,
    /// Left out after failures.
    Ejected,
    /// Takes no new requests, some are in flight.
    Draining,
    /// Takes no new requests, none is in flight.
    Drained,
}

impl State {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

impl Pool {
    /// What checks say of an endpoint; without checks it is up.
    pub fn status(&self, endpoint: &EndpointCell) -> Status {
        if self.health.is_some() { endpoint.status() } else { Status::Up }
    }

    /// Whether an endpoint is ejected; without a policy none is, whatever happened under an earlier one.
    pub fn is_ejected(&self, endpoint: &EndpointCell, now_ms: u64) -> bool {
        self.eject.is_some() && endpoint.is_ejected(now_ms)
    }

    /// Whether an endpoint of this pool drains.
    pub(crate) fn drains(&self, endpoint: &Endpoint) -> bool {
        endpoint.draining.is_some() || self.draining.is_some()
    }

    /// Whether so few endpoints are usable that health and ejections are ignored: with most of them out,
    /// it is the checks that are likely to be wrong, and the few that are left would be overrun.
    ///
    /// Endpoints that drain are not counted in either number: that is nobody's failure. One that has not
    /// been checked yet counts as usable.
    pub fn panics(&self, now_ms: u64) -> bool {
        if self.panic_threshold == 0 {
            return false;
        }
        let taking = || self.endpoints.iter().filter(|e| !self.drains(e));
        let usable = taking().filter(|e| self.usable(e, now_ms) != Usable::No).count();
        usable * 100 < usize::from(self.panic_threshold) * taking().count()
    }

    /// The part of its weight that an endpoint has while it warms up, in thousandths.
    pub fn part(&self, endpoint: &EndpointCell, now_ms: u64) -> u32 {
        match endpoint.up_since_ms() {
            since_ms if self.slow_start_ms > 0 && since_ms > 0 => {
                warming::part(now_ms, since_ms, self.slow_start_ms)
            }
            _ => warming::FULL,
        }
    }

    /// Whether an endpoint of this pool may take a request, by itself.
    pub fn usable(&self, endpoint: &Endpoint, now_ms: u64) -> Usable {
        if self.drains(endpoint) || self.is_ejected(&endpoint.cell, now_ms) {
            return Usable::No;
        }
        match self.status(&endpoint.cell) {
            Status::Up => Usable::Yes,
            Status::Unknown => Usable::LastResort,
            Status::Down => Usable::No,
        }
    }

    /// An endpoint's state as shown.
    pub fn state(&self, endpoint: &Endpoint, now_ms: u64) -> State {
        let cell = &endpoint.cell;
        if self.drains(endpoint) {
            return if cell.in_flight() == 0 { State::Drained } else { State::Draining };
        }
        match self.status(cell) {
            Status::Down => State::Down,
            _ if self.is_ejected(cell, now_ms) => State::Ejected,
            Status::Up => State::Up,
            Status::Unknown => State::Unknown,
        }
    }

    /// Whether an operator has it drained, whole or endpoint by endpoint: that it takes no requests is
    /// not its own doing then.
    pub fn is_draining(&self) -> bool {
        let all = || !self.endpoints.is_empty() && self.endpoints.iter().all(|e| e.draining.is_some());
        self.draining.is_some() || all()
    }

    /// Requests that wait: for a place, or for the pool to come back.
    pub fn waiting(&self) -> u32 {
        self.cell.queue.length() + self.cell.gate.waiting()
    }

    /// Endpoints that are up and take requests.
    pub fn healthy(&self, now_ms: u64) -> usize {
        self.endpoints.iter().filter(|e| self.usable(e, now_ms) == Usable::Yes).count()
    }

    /// Takes the outcome of a try at an endpoint; for how long the endpoint was ejected, in
    /// milliseconds, if it was. Call it on the pool that is in force now, not on that of the
    /// snapshot which the request began with: only it knows what drains, and so which is the last.
    pub fn observe(&self, endpoint: &EndpointCell, failed: bool, now_ms: u64) -> Option<u64> {
        let policy = self.eject.as_ref()?;
        if !failed {
            endpoint.did_well();
            return None;
        }
        // What fails during an ejection was sent before it, and counts for nothing after it.
        if endpoint.is_ejected(now_ms) || !endpoint.did_badly(policy) {
            return None;
        }
        let _one_at_a_time = self.cell.ejecting.lock();
        let ejected = self.endpoints.iter().filter(|e| e.cell.is_ejected(now_ms)).count();
        let is_last = !self
            .endpoints
            .iter()
            .any(|e| !std::ptr::eq(&raw const *e.cell, endpoint) && self.usable(e, now_ms) == Usable::Yes);
        let already = endpoint.is_ejected(now_ms);
        (!is_last && !already && policy.allows(ejected, self.endpoints.len()))
            .then(|| endpoint.eject(now_ms, policy))
    }
}

#[cfg(test)]
mod tests;
