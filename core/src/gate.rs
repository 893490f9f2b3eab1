//! The gate of a pool: so many exchanges at once, and a line of those that wait for one to end.
//!
//! A [`Seat`] is held until the exchange ends, and its drop gives it to the first in line: whoever
//! waits is called when there is a seat for it, one for each seat, in the order in which they came.
//! How that wakes somebody is the caller's business, who passes what is to be called. Seats are counted
//! without a bound, too, so that one that is put in force counts what is in flight already; that takes
//! no lock. The bounds are those of the table in force, whatever table a request began with.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use parking_lot::Mutex;

use crate::cell::PoolCell;

/// How many may enter, and how many wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Exchanges at once; 0 = no bound.
    pub most: u32,
    /// The length of the line.
    pub queue: u32,
}

/// A pool's gate, in its cell.
#[derive(Debug, Default)]
pub struct Gate {
    taken: AtomicU32,
    /// That of the line's bounds, to be read without the lock.
    most: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    bounds: Bounds,
    next: u64,
    waiting: VecDeque<(u64, Give)>,
}

/// Takes the seat that somebody waited for.
type Give = Box<dyn FnOnce(Seat) + Send>;

impl Gate {
    /// Seats that are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(SeqCst)
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        u32::try_from(self.line.lock().waiting.len()).unwrap_or(u32::MAX)
    }

    /// Takes a seat, unless all are taken.
    fn count_in(&self, most: u32) -> bool {
        let room = |taken: u32| (most == 0 || taken < most).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, room).is_ok()
    }

    /// The first in line, for whom a seat has been taken.
    fn next(&self) -> Option<Give> {
        let mut line = self.line.lock();
        if line.waiting.is_empty() || !self.count_in(line.bounds.most) {
            return None;
        }
        line.waiting.pop_front().map(|(_, give)| give)
    }
}

/// Puts bounds in force; lets in those for whom there is a seat now.
pub fn set_bounds(pool: &Arc<PoolCell>, bounds: Bounds) {
    let mut line = pool.gate.line.lock();
    line.bounds = bounds;
    pool.gate.most.store(bounds.most, SeqCst);
    drop(line);
    advance(pool);
}

/// Gives seats to those first in line, while there are any. Never called with the line locked: what is
/// called may drop the seat at once, which comes here again.
fn advance(pool: &Arc<PoolCell>) {
    while let Some(give) = pool.gate.next() {
        give(Seat(Arc::clone(pool)));
    }
}

/// A seat at a pool, for as long as it lives.
#[derive(Debug)]
pub struct Seat(Arc<PoolCell>);

impl Seat {
    /// Takes one at once; `None` when all are taken, or others wait already.
    pub fn take(pool: &Arc<PoolCell>) -> Option<Self> {
        let gate = &pool.gate;
        let is_in = if gate.most.load(SeqCst) == 0 {
            gate.count_in(0)
        } else {
            let line = gate.line.lock();
            line.waiting.is_empty() && gate.count_in(line.bounds.most)
        };
        is_in.then(|| Self(Arc::clone(pool)))
    }

    /// Whether it is at this pool.
    pub fn is_of(&self, pool: &Arc<PoolCell>) -> bool {
        Arc::ptr_eq(&self.0, pool)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let gate = &self.0.gate;
        gate.taken.fetch_sub(1, SeqCst);
        // Without a bound nobody is in line: whoever lifted it has let all in.
        if gate.most.load(SeqCst) > 0 {
            advance(&self.0);
        }
    }
}

/// Somebody's place in a pool's line, which is left when this is dropped.
#[derive(Debug)]
pub struct InLine {
    pool: Arc<PoolCell>,
    number: u64,
}

impl InLine {
    /// Joins the line; `give` is called once, with a seat. `None` when the line is full.
    pub fn join(pool: &Arc<PoolCell>, give: impl FnOnce(Seat) + Send + 'static) -> Option<Self> {
        let mut line = pool.gate.line.lock();
        if line.waiting.len() >= line.bounds.queue as usize {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.waiting.push_back((number, Box::new(give)));
        drop(line);
        // A seat that became free before this one was in line was given to nobody.
        advance(pool);
        Some(Self { pool: Arc::clone(pool), number })
    }

    /// Whether it is a place in this pool's line.
    pub fn is_of(&self, pool: &Arc<PoolCell>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut line = self.pool.gate.line.lock();
        let found = line.waiting.binary_search_by_key(&self.number, |(number, _)| *number);
        let left = found.ok().and_then(|at| line.waiting.remove(at));
        drop(line);
        drop(left);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.len();
        f.debug_struct("Line")
            .field("bounds", &self.bounds)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
