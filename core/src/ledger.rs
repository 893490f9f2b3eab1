//! What a running rollout is judged by, counted where requests pass: lock-free, and allocating nothing.
//!
//! A [`Ledger`] belongs to one rollout and counts two pools, the candidate and the baseline. A
//! request [`begin`](Ledger::begin)s when its pool is chosen and ends exactly once, by
//! [`end`](Ledger::end) or [`exclude`](Ledger::exclude); one that does neither within `stuck_after`
//! is counted as a failure by the next [`tick`](Ledger::tick), and its end then counts nothing. The
//! clock is the caller's. What is not here: who may be counted (the proxy knows), and what follows
//! from the counts. Stage before: [`crate::decide`]; next: [`crate::guard`].

mod board;
mod durations;
mod failures;
mod users;

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use parking_lot::Mutex;

use crate::guard::{Counts, LEAST_TIMED, Tick};
use crate::record::Failure;

pub use failures::FailedRequest;

use board::{Board, Slot};
use durations::Durations;
use failures::Failures;
use users::{Came, Users};

/// One of the two pools that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one on trial.
    Candidate,
    /// The one it is compared with.
    Baseline,
}

/// What is fixed for a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// A request in flight for so long is counted as a failure.
    pub stuck_after_ms: u64,
    /// Requests that take longer are counted as slow.
    pub max_us: Option<u64>,
}

/// Where a request went, by its places in the table that it was decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The route.
    pub route: u32,
    /// The endpoint in its pool, if one was picked.
    pub endpoint: Option<u32>,
}

impl Place {
    fn packed(self) -> u64 {
        u64::from(self.route) << 32 | u64::from(self.endpoint.map_or(0, |at| at.saturating_add(1)))
    }

    fn unpacked(packed: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "two halves")]
        let (route, endpoint) = ((packed >> 32) as u32, packed as u32);
        Self { route, endpoint: endpoint.checked_sub(1) }
    }
}

/// A request that has begun. It must be handed back to the ledger that gave it out, once, or its
/// slot on the board of requests in flight is never free again.
#[derive(Debug)]
#[must_use = "a request that never ends is counted as stuck"]
pub struct Ticket {
    side: Side,
    key_hash: Option<u64>,
    slot: Slot,
}

impl Ticket {
    /// The side that it counts on.
    pub fn side(&self) -> Side {
        self.side
    }
}

/// Why a request is no evidence of a pool's quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// An override chose the pool.
    Override,
    /// The client went away first.
    ClientGone,
    /// Refused or ended by a limit or a fault of Tidegate's own, or for what the client sent.
    OwnLimit,
    /// An operator drains the pool.
    Drained,
}

impl Excluded {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Override, Self::ClientGone, Self::OwnLimit, Self::Drained];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::ClientGone => "client_gone",
            Self::OwnLimit => "own_limit",
            Self::Drained => "drained",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its first failure, which its pool is charged with.
    pub failure: Option<Failure>,
    /// How long it took, in microseconds; `None` when another pool served.
    pub us: Option<u64>,
}

/// The counts of a running rollout.
///
/// It takes about 1 MB, whatever the traffic.
pub struct Ledger {
    spec: Spec,
    /// The limit taken from the baseline; [`NO_LIMIT`] while there is none.
    ratio_limit_us: AtomicU64,
    tick: AtomicU32,
    ticking: Mutex<()>,
    candidate: Cell,
    baseline: Cell,
    users: Users,
    excluded: [AtomicU64; Excluded::ALL.len()],
    unwatched: AtomicU64,
    failures: Failures,
    is_cut: AtomicBool,
}

const NO_LIMIT: u64 = u64::MAX;

/// What is counted of one side since the last tick, and in all.
///
/// On cache lines of its own: the two sides are written to by different requests.
#[repr(align(128))]
struct Cell {
    requests: Pair,
    users: Pair,
    timed: Pair,
    timed_ratio: Pair,
    slow_keys: Pair,
    failed_keys: AtomicU64,
    board: Board,
    durations: Durations,
}

/// Two counts in one word, so that what a request adds to both is found in the same tick: no failure
/// is taken without its request. Each stays below 2^32 between two ticks.
#[derive(Debug, Default)]
struct Pair(AtomicU64);

impl Pair {
    fn add(&self, one: bool, other: bool) {
        if one || other {
            self.0.fetch_add(u64::from(other) << 32 | u64::from(one), Relaxed);
        }
    }

    fn take(&self) -> (u64, u64) {
        let both = self.0.swap(0, Relaxed);
        (both & u64::from(u32::MAX), both >> 32)
    }
}

impl Cell {
    fn new() -> Self {
        Self {
            requests: Pair::default(),
            users: Pair::default(),
            timed: Pair::default(),
            timed_ratio: Pair::default(),
            slow_keys: Pair::default(),
            failed_keys: AtomicU64::new(0),
            board: Board::new(),
            durations: Durations::new(),
        }
    }

    fn take(&self) -> Counts {
        let (requests, failures) = self.requests.take();
        let (users, failed_users) = self.users.take();
        let (timed, over_max) = self.timed.take();
        let (timed_ratio, over_ratio) = self.timed_ratio.take();
        let (slow_max_keys, slow_ratio_keys) = self.slow_keys.take();
        let failed_keys = self.failed_keys.swap(0, Relaxed);
        Counts {
            requests,
            failures,
            users,
            failed_users,
            failed_keys,
            timed,
            over_max,
            over_ratio,
            timed_ratio,
            slow_max_keys,
            slow_ratio_keys,
        }
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            ratio_limit_us: AtomicU64::new(NO_LIMIT),
            tick: AtomicU32::new(0),
            ticking: Mutex::new(()),
            candidate: Cell::new(),
            baseline: Cell::new(),
            users: Users::new(),
            excluded: [const { AtomicU64::new(0) }; Excluded::ALL.len()],
            unwatched: AtomicU64::new(0),
            failures: Failures::default(),
            is_cut: AtomicBool::new(false),
        }
    }

    /// A request's pool has been chosen. `spread` is a random word; `now_ms` is on the clock of
    /// [`tick`](Self::tick).
    pub fn begin(&self, side: Side, key_hash: Option<u64>, now_ms: u64, spread: u64) -> Ticket {
        self.begin_at(side, key_hash, now_ms, spread, Place::default())
    }

    /// Like [`begin`](Self::begin), of a request of which more is known.
    pub fn begin_at(
        &self,
        side: Side,
        key_hash: Option<u64>,
        now_ms: u64,
        spread: u64,
        place: Place,
    ) -> Ticket {
        let slot = self.cell(side).board.enter(key_hash, now_ms, spread, place.packed());
        if !slot.is_some() {
            self.unwatched.fetch_add(1, Relaxed);
        }
        Ticket { side, key_hash, slot }
    }

    /// Counts a request that is over; false when it had been counted as stuck already.
    pub fn end(&self, ticket: Ticket, ended: Ended) -> bool {
        let Ticket { side, key_hash, slot } = ticket;
        let cell = self.cell(side);
        if !cell.board.leave(slot) {
            return false;
        }
        let mut came = Came { failed: ended.failure.is_some(), ..Came::default() };
        if let Some(us) = ended.us {
            cell.durations.add(us);
            came.over_max = self.spec.max_us.is_some_and(|max| us > max);
            cell.timed.add(true, came.over_max);
            let limit = self.ratio_limit_us.load(Relaxed);
            if limit != NO_LIMIT {
                came.over_ratio = us > limit;
                cell.timed_ratio.add(true, came.over_ratio);
            }
        }
        self.count(side, key_hash, came);
        true
    }

    /// A request is over that is no evidence; false when it had been counted as stuck already, which
    /// stands.
    pub fn exclude(&self, ticket: Ticket, why: Excluded) -> bool {
        let is_first = self.cell(ticket.side).board.leave(ticket.slot);
        if is_first {
            self.excluded_unbegun(why);
        }
        is_first
    }

    /// A request is no evidence from the start.
    pub fn excluded_unbegun(&self, why: Excluded) {
        self.excluded[why as usize].fetch_add(1, Relaxed);
    }

    /// Keeps a failed request of the candidate among the last 20. It does not wait: when others are
    /// at it too, it is left out.
    pub fn note_failure(&self, make: impl FnOnce() -> FailedRequest) {
        self.failures.note(make);
    }

    /// Counts what is stuck, begins a new tick, and says what was counted since the last one.
    ///
    /// Every request is in exactly one tick's difference, and its failure in the same one. Of users
    /// that is not so: one who was active on one side and then fails on the other within a tick is a
    /// user of the one and a failed user of the other, and one who does so while the tick turns may
    /// be a user of this tick and a failed user of the next.
    pub fn tick(&self, now_ms: u64) -> Tick {
        self.tick_telling(now_ms, |_, _| ())
    }

    /// Like [`tick`](Self::tick), and tells of each request that is stuck where it went.
    pub fn tick_telling(&self, now_ms: u64, mut stuck: impl FnMut(Side, Place)) -> Tick {
        let _one_at_a_time = self.ticking.lock();
        for (side, cell) in [(Side::Candidate, &self.candidate), (Side::Baseline, &self.baseline)] {
            cell.board.sweep(now_ms, self.spec.stuck_after_ms, |key_hash, place| {
                self.count(side, key_hash, Came { failed: true, ..Came::default() });
                stuck(side, Place::unpacked(place));
            });
        }
        // First the new tick, then the counts: a user that fails in between counts as active, too.
        self.tick.fetch_add(1, Release);
        Tick { candidate: self.candidate.take(), baseline: self.baseline.take() }
    }

    /// The duration, in microseconds, that a `quantile` (a fraction of 1) of a side's requests did
    /// not pass, over the whole rollout; up to 3.1 % too high. `None` before the first.
    pub fn quantile_us(&self, side: Side, quantile: f64) -> Option<u64> {
        self.cell(side).durations.quantile_us(quantile)
    }

    /// Requests of a side whose duration was counted, over the whole rollout.
    pub fn timed(&self, side: Side) -> u64 {
        self.cell(side).durations.total()
    }

    /// Sets what counts as slow beside the baseline, until it is set anew: `ratio` times its `quantile` so
    /// far, a fraction of 1. Nothing does while that would be noise.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; never negative")]
    pub fn freeze_ratio_limit(&self, quantile: f64, ratio: f64) {
        let is_known = self.timed(Side::Baseline) >= LEAST_TIMED;
        let quantile_us = self.quantile_us(Side::Baseline, quantile).filter(|_| is_known);
        self.set_ratio_limit_us(quantile_us.map(|us| (us as f64 * ratio).ceil() as u64));
    }

    /// Sets the limit of what counts as slow against the baseline, in microseconds.
    pub fn set_ratio_limit_us(&self, limit_us: Option<u64>) {
        self.ratio_limit_us.store(limit_us.unwrap_or(NO_LIMIT), Relaxed);
    }

    /// Sends the candidate's requests to the baseline from now on, whatever the table says: an abort is
    /// under way, and must not wait for locks or a disk until it is in the table.
    pub fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    /// Whether the candidate is to get no more requests.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// The last failed requests of the candidate, oldest first.
    pub fn failures(&self) -> Vec<FailedRequest> {
        self.failures.read()
    }

    /// How many requests were left out, by every reason there is, over the whole rollout.
    pub fn excluded(&self) -> Vec<(Excluded, u64)> {
        Excluded::ALL.into_iter().map(|why| (why, self.excluded[why as usize].load(Relaxed))).collect()
    }

    /// Requests that would not be seen if they got stuck: too many were in flight when they began.
    pub fn unwatched(&self) -> u64 {
        self.unwatched.load(Relaxed)
    }

    fn cell(&self, side: Side) -> &Cell {
        match side {
            Side::Candidate => &self.candidate,
            Side::Baseline => &self.baseline,
        }
    }

    fn count(&self, side: Side, key_hash: Option<u64>, came: Came) {
        let cell = self.cell(side);
        cell.requests.add(true, came.failed);
        let adds = self.users.note(key_hash, side, came, self.tick.load(Acquire));
        cell.users.add(adds.user, adds.failed_user);
        cell.slow_keys.add(adds.slow_max_key, adds.slow_ratio_key);
        if adds.failed_key {
            cell.failed_keys.fetch_add(1, Relaxed);
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("spec", &self.spec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
