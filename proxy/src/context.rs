//! One request's state, from head to log line.
//!
//! The snapshot is pinned here, so that every step of a request sees one table. What must be true
//! on every path (client gone, timeout, panic, a task dropped) is true because `Drop` does it: the
//! in-flight counts go down with their guard, and the request is counted once.

mod rescue;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::HeaderValue;
use tidegate_core::address::Address;
use tidegate_core::cell::{EndpointCell, InFlight};
use tidegate_core::decide::{Decision, Taken};
use tidegate_core::gate::Seat;
use tidegate_core::ledger::Ticket;
use tidegate_core::pick::{Entropy, Wish, pick};
use tidegate_core::pool::Pool;
use tidegate_core::record::{Failure, Outcome};
use tidegate_core::snapshot::{Route, Snapshot, Split};

use tokio::sync::OwnedSemaphorePermit;

use crate::express::Handed;
use crate::headers::Ids;
use crate::listen::Exchange;
use crate::mirror::Mirroring;
use crate::peer::InUse;

use rescue::Rescue;

pub(crate) use watch::CLIENT_GONE_CODE;

/// The status counted and logged for a client that went away (nginx's).
pub(crate) const CLIENT_GONE: u16 = 499;

/// The error code of an answer that a limit of ours has led to.
pub(crate) const OVERLOADED: &str = "overloaded";

/// What is known of a request once its head has been looked at.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) client: IpAddr,
    pub(crate) peer: IpAddr,
    pub(crate) trusted: bool,
    /// The path to send on, where it is not the one that came.
    pub(crate) clean_path: Option<String>,
    pub(crate) max_body: u64,
    pub(crate) ids: Ids,
}

/// One request's state.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What the client's side and the gateway tell each other.
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) started: Instant,
    pub(crate) entropy: Entropy,
    /// The entropy as it was before the decision, so that deciding again comes to the same pool.
    pub(crate) undecided: Entropy,
    pub(crate) facts: Option<Facts>,
    /// The route, once one has taken the request.
    pub(crate) taken: Option<Taken>,
    /// Where the request goes, unless its route answers by itself.
    pub(crate) decision: Option<Decision>,
    pub(crate) tries: Tries,
    /// When the request came, on the monotonic clock.
    pub(crate) arrived_ms: u64,
    /// When the exchange must be over, on the monotonic clock.
    pub(crate) deadline_ms: Option<u64>,
    /// What was answered; 0 = nothing yet.
    pub(crate) status: u16,
    /// The code of an answer that Tidegate made.
    pub(crate) error_code: Option<&'static str>,
    /// When the client may come again, in seconds; told with an error.
    pub(crate) retry_after_s: Option<u64>,
    /// Held while the request makes the first connection to an endpoint.
    pub(crate) first_turn: Option<OwnedSemaphorePermit>,
    /// The protocol that the client wants to go on with.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The request is a gRPC call.
    pub(crate) is_grpc: bool,
    /// How the call ended, once that is known.
    pub(crate) grpc_status: Option<u16>,
    /// The first failure of an upstream, which its pool is charged with.
    pub(crate) failure: Option<Failure>,
    pub(crate) body_bytes: u64,
    /// What the express lane has found out, where it has handed the request on.
    pub(crate) handed: Option<Handed>,
    /// The copy for other pools.
    pub(crate) mirroring: Mirroring,
    /// At the pool that serves, from when its limits have let the request in until all is over.
    seat: Option<Seat>,
    /// What becomes of the request in another pool, once this one has failed.
    rescue: Rescue,
    /// Held while a rollout watches the request.
    ticket: Option<Ticket>,
    /// Since when it does.
    watched_from: Option<Instant>,
    /// The task was dropped before the machinery could say how the last try ended.
    was_cut_off: bool,
}

/// Tries at endpoints.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the tries so far")]
pub(crate) struct Tries {
    pub(crate) count: u32,
    /// Retries that were taken from the route's number of attempts.
    pub(crate) retries: u8,
    /// A kept connection that the upstream had closed was repeated on a new one.
    pub(crate) repeated_stale: bool,
    /// The try goes to the same endpoint as the one before, over a new connection.
    pub(crate) stay: bool,
    /// No endpoint was to be had for the last try.
    pub(crate) found_none: bool,
    /// The kept connection that the try was given had just been closed to make room for another.
    pub(crate) gave_way: bool,
    /// The connection of the current try, while it is used.
    pub(crate) connection: Option<InUse>,
    endpoint: Option<usize>,
    in_flight: Option<InFlight>,
    /// The upstream's status, once its head is there.
    pub(crate) upstream_status: Option<u16>,
    /// When the current try began, on the monotonic clock.
    pub(crate) began_ms: u64,
}

impl Context {
    pub(crate) fn new(snapshot: Arc<Snapshot>, seed: u64, exchange: Arc<Exchange>) -> Self {
        let entropy = Entropy::new(seed);
        Self {
            snapshot,
            exchange,
            started: Instant::now(),
            entropy,
            undecided: entropy,
            facts: None,
            taken: None,
            decision: None,
            tries: Tries::default(),
            arrived_ms: 0,
            deadline_ms: None,
            retry_after_s: None,
            status: 0,
            error_code: None,
            first_turn: None,
            upgrade: None,
            is_grpc: false,
            grpc_status: None,
            failure: None,
            body_bytes: 0,
            handed: None,
            mirroring: Mirroring::default(),
            seat: None,
            rescue: Rescue::default(),
            ticket: None,
            watched_from: None,
            was_cut_off: false,
        }
    }

    pub(crate) fn route(&self) -> Option<&Route> {
        self.taken.map(|taken| self.snapshot.route(taken.route))
    }

    pub(crate) fn split(&self) -> Option<&Arc<Split>> {
        self.decision.map(|d| self.snapshot.split(d.split))
    }

    /// The pool that serves.
    pub(crate) fn pool(&self) -> Option<&Arc<Pool>> {
        self.decision.map(|d| self.snapshot.pool(d.serving(&self.snapshot).pool))
    }

    /// The endpoint of the current try.
    pub(crate) fn endpoint(&self) -> Option<&Arc<EndpointCell>> {
        self.tries.in_flight.as_ref().map(InFlight::endpoint)
    }

    /// The address of the endpoint last tried.
    pub(crate) fn last_endpoint(&self) -> Option<&Address> {
        Some(self.pool()?.endpoints.get(self.tries.endpoint?)?.address())
    }

    /// Leaves the request to a route that answers by itself.
    pub(crate) fn answer_by(&mut self, taken: Taken) {
        self.taken = Some(taken);
        self.decision = None;
    }

    /// Takes a decision, and counts the request as in flight to its endpoint; false when that was
    /// retired meanwhile, so that the table in force must be asked.
    pub(crate) fn take(&mut self, decision: Decision) -> bool {
        self.taken = Some(decision.taken);
        self.decision = Some(decision);
        let Some(place) = decision.endpoint else { return true };
        self.tries.in_flight = self.count_in(place);
        self.tries.endpoint = Some(place);
        self.tries.in_flight.is_some()
    }

    /// Takes a seat at the pool that serves, if the request has none there; false when it has to wait for
    /// one, or for the pool. From then on a rollout watches it; `now_ms` is on the monotonic clock.
    pub(crate) fn enter(&mut self, now_ms: u64) -> bool {
        // A route that answers by itself needs none.
        let Some(decision) = self.decision else { return true };
        let Some(pool) = self.pool().filter(|_| !decision.waits) else { return false };
        let cell = Arc::clone(&pool.cell);
        if !self.seat.as_ref().is_some_and(|seat| seat.is_of(&cell)) {
            // That at another pool is free before one is asked for here.
            self.seat = None;
            self.seat = Seat::take(&cell);
        }
        if self.seat.is_some() && self.tries.count == 0 {
            self.watch(now_ms);
        }
        self.seat.is_some()
    }

    /// Takes the seat that the request waited for.
    pub(crate) fn take_seat(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Lets go of the endpoint that was picked: the request waits, and is decided again after that.
    pub(crate) fn step_back(&mut self) {
        self.tries.in_flight = None;
    }

    /// Begins a try: the endpoint, with the request counted as in flight there.
    ///
    /// The first try takes the decision's endpoint; a further one prefers another.
    pub(crate) fn begin_try(&mut self, now_ms: u64) -> Option<Arc<EndpointCell>> {
        if self.tries.in_flight.is_none() {
            let same = self.tries.endpoint.filter(|_| self.tries.stay).and_then(|last| self.count_in(last));
            self.tries.in_flight = same.or_else(|| self.pick_another(now_ms));
        }
        self.tries.count += 1;
        self.tries.upstream_status = None;
        self.tries.began_ms = now_ms;
        self.endpoint().cloned()
    }

    /// Picks an endpoint, another than the last if there is one.
    fn pick_another(&mut self, now_ms: u64) -> Option<InFlight> {
        let hash = self.decision?.endpoint_hash;
        let pool = Arc::clone(self.pool()?);
        // Each round that fails has met an endpoint retired that instant, which no later one picks.
        for _ in 0..=pool.endpoints.len() {
            let wish = Wish { hash, now_ms, avoid: self.tries.endpoint };
            let place = pick(&pool, wish, &mut self.entropy)?;
            self.tries.endpoint = Some(place);
            if let Some(counted) = self.count_in(place) {
                return Some(counted);
            }
        }
        None
    }

    fn count_in(&self, place: usize) -> Option<InFlight> {
        let pool = self.pool()?;
        InFlight::new(Arc::clone(&pool.cell), Arc::clone(&pool.endpoints.get(place)?.cell))
    }

    /// What a try comes to that the client ended: an upstream that had answered 5xx is still to blame.
    pub(crate) fn outcome_without_client(&self) -> Outcome {
        match self.tries.upstream_status {
            Some(500..) => Outcome::Failed(Failure::Status5xx),
            _ => Outcome::Client,
        }
    }

    /// Ends the current try, if there is one; the endpoint, when the outcome says something of it.
    pub(crate) fn end_try(&mut self, outcome: Outcome) -> Option<Arc<EndpointCell>> {
        let in_flight = self.tries.in_flight.take()?;
        self.tries.connection = None;
        self.pool()?.cell.attempts.add(outcome);
        self.rescue.ended(outcome);
        if let Outcome::Failed(failure) = outcome {
            self.failure.get_or_insert(failure);
        }
        (outcome != Outcome::Client).then(|| Arc::clone(in_flight.endpoint()))
    }

    /// The status counted and logged.
    pub(crate) fn status_told(&self) -> u16 {
        if self.status == 0 { CLIENT_GONE } else { self.status }
    }

    /// Counts the request; called once, when all is over.
    fn count(&mut self) {
        let status = self.status_told();
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Some(taken) = self.taken else {
            if self.facts.is_some() {
                self.snapshot.unrouted.add(status, us);
            }
            return;
        };
        let tallies = &self.snapshot.tallies[taken.route as usize];
        let Some(decision) = self.decision else {
            // A route that answers by itself has one tally, of no pool.
            return tallies[0].add(status, us);
        };
        let split = self.snapshot.split(decision.split);
        tallies[usize::from(decision.member)].add(status, us);
        split.member(decision.chosen).charges.add(self.failure);
        if !self.count_rescue() {
            decision.count_fallback(split);
        }
        if self.error_code == Some(OVERLOADED)
            && let Some(pool) = self.pool()
        {
            pool.cell.overloaded.fetch_add(1, Relaxed);
        }
        self.end_watch();
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.was_cut_off = self.tries.in_flight.is_some();
        if self.was_cut_off {
            self.end_try(self.outcome_without_client());
        }
        self.count();
    }
}
