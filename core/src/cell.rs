//! The cells of pools and endpoints: shared, atomic, and outliving the snapshots that show them.
//!
//! A cell belongs to an identity (a pool's name; a pool's name and an address), not to a table: a
//! reload that keeps an endpoint keeps its health, its ejection and what is in flight to it.

use std::any::Any;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::eject::{Policy, Record};
use crate::health::{Health, Status, Thresholds};
use crate::record::Attempts;

/// The result of an endpoint's last active check, or of the last lookup of a pool's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether it passed.
    pub ok: bool,
    /// What was seen: a status, a count, or an error.
    pub detail: String,
}

/// What is known of an endpoint, for another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What active checks say.
    pub status: Status,
    /// The last of them.
    pub last_check: Option<LastCheck>,
    /// How long it is still left out, in milliseconds.
    pub ejected_ms: u64,
}

/// An endpoint's state.
#[derive(Debug)]
pub struct EndpointCell {
    /// The endpoint's address.
    pub address: Address,
    /// Whether the table in force gives it no new requests; see [`InFlight::new`].
    retired: AtomicBool,
    in_flight: AtomicU32,
    connections: AtomicU32,
    status: AtomicU8,
    checks: Mutex<(Health, Option<LastCheck>)>,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
    failures_in_a_row: AtomicU32,
    /// End of the ejection, on the monotonic clock; 0 = not ejected.
    ejected_until_ms: AtomicU64,
    ejections: Mutex<Record>,
    /// It was there before anything was found out about it; see [`Self::expect_up`].
    is_first: AtomicBool,
    /// When it came up, on the monotonic clock; 0 = it was up from the start.
    up_since_ms: AtomicU64,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl EndpointCell {
    /// A cell of an endpoint not seen before.
    pub fn new(address: Address, status: Status) -> Self {
        Self {
            address,
            retired: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            status: AtomicU8::new(status as u8),
            checks: Mutex::new((Health::new(status), None)),
            checks_passed: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            ejections: Mutex::new(Record::default()),
            is_first: AtomicBool::new(false),
            up_since_ms: AtomicU64::new(0),
            attachment: OnceLock::new(),
        }
    }

    /// What the data plane keeps with an endpoint, of a type that is its own business.
    pub fn attachment(&self, make: impl FnOnce() -> Box<dyn Any + Send + Sync>) -> &(dyn Any + Send + Sync) {
        self.attachment.get_or_init(make).as_ref()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// Whether it drains or is gone in the table in force, whatever the table at hand says.
    pub fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// Told when a table is put in force.
    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, SeqCst);
    }

    /// Open connections, in use or kept.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// A connection was opened.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// A connection was closed.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// What active checks say.
    pub fn status(&self) -> Status {
        match self.status.load(Relaxed) {
            1 => Status::Up,
            2 => Status::Down,
            _ => Status::Unknown,
        }
    }

    /// When it came up, on the monotonic clock, and so began to warm up; 0 = it was up from the start.
    pub fn up_since_ms(&self) -> u64 {
        self.up_since_ms.load(Relaxed)
    }

    /// Checks say that it is up and was not before: it begins to warm up.
    pub fn came_up(&self, now_ms: u64) {
        if !self.is_first.swap(false, Relaxed) {
            self.warm_up(now_ms);
        }
    }

    /// It begins to warm up, whatever was known of it.
    pub(crate) fn warm_up(&self, now_ms: u64) {
        self.up_since_ms.store(now_ms, Relaxed);
    }

    /// That it is up, if this is found out next, says how it is and not that it came up: so with all that
    /// is there when the process begins, and when a check asks something else.
    pub(crate) fn expect_up(&self) {
        self.is_first.store(true, Relaxed);
    }

    /// Takes a check's result; the old and the new status when it changed.
    pub fn checked(&self, check: LastCheck, thresholds: Thresholds) -> Option<(Status, Status)> {
        if check.ok { &self.checks_passed } else { &self.checks_failed }.fetch_add(1, Relaxed);
        let mut checks = self.checks.lock();
        let before = checks.0.status;
        checks.0 = checks.0.step(check.ok, thresholds);
        checks.1 = Some(check);
        let after = checks.0.status;
        if after != Status::Up {
            self.is_first.store(false, Relaxed);
        }
        self.status.store(after as u8, Relaxed);
        (before != after).then_some((before, after))
    }

    /// Forgets all checks: the check itself has changed.
    pub fn forget_checks(&self, status: Status) {
        *self.checks.lock() = (Health::new(status), None);
        self.status.store(status as u8, Relaxed);
    }

    /// The last check's result.
    pub fn last_check(&self) -> Option<LastCheck> {
        self.checks.lock().1.clone()
    }

    /// What another process has to know of it.
    pub fn known(&self, now_ms: u64) -> Known {
        Known {
            status: self.status(),
            last_check: self.last_check(),
            ejected_ms: self.ejected_until_ms.load(Relaxed).saturating_sub(now_ms),
        }
    }

    /// Takes over what another process knew of it; of its checks only if they are the same as here.
    pub fn take_over(&self, known: &Known, is_checked_alike: bool, now_ms: u64) {
        if is_checked_alike {
            *self.checks.lock() = (Health::new(known.status), known.last_check.clone());
            self.status.store(known.status as u8, Relaxed);
        }
        if known.ejected_ms > 0 {
            self.ejected_until_ms.store(now_ms.saturating_add(known.ejected_ms), Relaxed);
        }
    }

    /// Checks that passed and that failed.
    pub fn checks(&self) -> (u64, u64) {
        (self.checks_passed.load(Relaxed), self.checks_failed.load(Relaxed))
    }

    /// Whether it is ejected at `now_ms`.
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Relaxed) > now_ms
    }

    /// A request did well.
    pub fn did_well(&self) {
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// A request failed; whether the endpoint has now failed often enough in a row to be ejected.
    pub fn did_badly(&self, policy: &Policy) -> bool {
        self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1) >= policy.consecutive_failures
    }

    /// Leaves the endpoint out for a while; for how long, in milliseconds.
    pub fn eject(&self, now_ms: u64, policy: &Policy) -> u64 {
        let mut record = self.ejections.lock();
        let (next, end_ms) = record.eject(now_ms, policy);
        *record = next;
        self.ejected_until_ms.store(end_ms, Relaxed);
        self.failures_in_a_row.store(0, Relaxed);
        end_ms - now_ms
    }
}

/// A pool's state, beside its endpoints'.
#[derive(Debug, Default)]
pub struct PoolCell {
    in_flight: AtomicU32,
    tunnels: AtomicU32,
    /// Tries at the pool's endpoints.
    pub attempts: Attempts,
    /// Serialises ejections, so that two at once cannot pass the pool's limit.
    pub ejecting: Mutex<()>,
    /// Requests and retries of late.
    pub budget: crate::retry::Budget,
    /// Connections to its endpoints.
    connections: AtomicU32,
    /// Requests that the pool's limits, or those of the process, refused.
    pub overloaded: AtomicU64,
    /// Requests that wait while the pool is away.
    pub queue: crate::waiting::Queue,
    /// Exchanges that the pool's limits let in, and those that wait for that.
    pub gate: crate::gate::Gate,
    /// What came of the last lookup of its name.
    pub lookup: Mutex<Option<LastCheck>>,
    /// Copies of requests that were meant for it.
    pub copies: crate::mirror::Copies,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl PoolCell {
    /// What the data plane keeps with a pool, of a type that is its own business.
    pub fn attachment(&self, make: impl FnOnce() -> Box<dyn Any + Send + Sync>) -> &(dyn Any + Send + Sync) {
        self.attachment.get_or_init(make).as_ref()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Connections that go on after an upgrade.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Relaxed)
    }

    /// A connection goes on after an upgrade.
    pub fn tunnel_opened(&self) {
        self.tunnels.fetch_add(1, Relaxed);
    }

    /// It is over.
    pub fn tunnel_closed(&self) {
        self.tunnels.fetch_sub(1, Relaxed);
    }

    /// Counts a connection to one of its endpoints, unless there are `most`; 0 = no limit.
    pub fn connect(&self, most: u32) -> bool {
        let room = |open: u32| (most == 0 || open < most).then_some(open + 1);
        self.connections.fetch_update(Relaxed, Relaxed, room).is_ok()
    }

    /// One of them is closed.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Connections that are counted.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }
}

/// Counts a request as in flight to a pool and an endpoint for as long as it lives.
#[derive(Debug)]
pub struct InFlight {
    pool: Arc<PoolCell>,
    endpoint: Arc<EndpointCell>,
}

impl InFlight {
    /// Counts from now on; `None` when the endpoint was retired in the meantime.
    ///
    /// The request counts itself and then looks whether the endpoint is retired; a drain retires it
    /// and then looks at the count. In whichever order the two meet, one sees the other, so nothing
    /// reaches an endpoint that was seen to be drained.
    pub fn new(pool: Arc<PoolCell>, endpoint: Arc<EndpointCell>) -> Option<Self> {
        pool.in_flight.fetch_add(1, Relaxed);
        endpoint.in_flight.fetch_add(1, SeqCst);
        let counted = Self { pool, endpoint };
        (!counted.endpoint.is_retired()).then_some(counted)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<EndpointCell> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pool.in_flight.fetch_sub(1, Relaxed);
        self.endpoint.in_flight.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        "127.0.0.1:80".parse().expect("an address")
    }

    #[test]
    fn nothing_is_counted_at_a_retired_endpoint() {
        let pool = Arc::new(PoolCell::default());
        let cell = Arc::new(EndpointCell::new(address(), Status::Up));
        let counted = InFlight::new(Arc::clone(&pool), Arc::clone(&cell)).expect("not retired");
        cell.set_retired(true);
        assert!(InFlight::new(Arc::clone(&pool), Arc::clone(&cell)).is_none());
        assert_eq!((pool.in_flight(), cell.in_flight()), (1, 1), "what was there before may finish");
        drop(counted);
        assert_eq!((pool.in_flight(), cell.in_flight()), (0, 0));
    }

    /// A drain and requests race: once the drain has seen none in flight, none may come.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a race needs a second thread")]
    fn none_comes_after_none_was_seen() {
        for _ in 0..200 {
            let pool = Arc::new(PoolCell::default());
            let cell = Arc::new(EndpointCell::new(address(), Status::Up));
            let drained = Arc::new(AtomicBool::new(false));
            let requests = std::thread::spawn({
                let (pool, cell, drained) = (Arc::clone(&pool), Arc::clone(&cell), Arc::clone(&drained));
                move || {
                    while let Some(counted) = InFlight::new(Arc::clone(&pool), Arc::clone(&cell)) {
                        assert!(!drained.load(SeqCst), "a request after the endpoint was seen drained");
                        drop(counted);
                    }
                }
            });
            cell.set_retired(true);
            while cell.in_flight() > 0 {
                std::hint::spin_loop();
            }
            drained.store(true, SeqCst);
            requests.join().expect("no request after the drain");
        }
    }
}
