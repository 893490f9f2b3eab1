//! Requests in flight, so that one that never ends is seen all the same.
//!
//! A request takes a free slot near a random place, and gives it back at its end. A sweep looks at
//! all of them and marks those that take too long as stuck. Whether a request is counted by the
//! sweep or by its end is decided by one compare-and-swap on its slot: one of the two finds the slot
//! as it left it, the other sees the other's mark.
//!
//! A slot that was marked is given back by the sweep, not by the request: between its mark and the
//! look at the key the sweep must find the key of the request that it marked. For that there must be
//! one sweep at a time.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Slots of one side; 24 bytes each.
const SLOTS: usize = 16_384;
/// Slots looked at before a request goes unwatched.
const PROBES: usize = 8;

/// A slot's state: free, taken but not filled in, given back after it was marked, or in flight with
/// the time when it began above the flags.
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const GIVEN_BACK: u64 = 2;
const IN_FLIGHT: u64 = 4;
const KEYED: u64 = 8;
const STUCK: u64 = 16;
const STARTED_SHIFT: u32 = 5;

/// Requests in flight to one side.
#[derive(Debug)]
pub(super) struct Board(Box<[Entry]>);

#[derive(Debug)]
struct Entry {
    state: AtomicU64,
    key: AtomicU64,
    place: AtomicU64,
}

/// A request's place on the board, if there was one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(u16);

impl Slot {
    const NONE: Self = Self(u16::MAX);

    /// Whether the request is on the board.
    pub(super) fn is_some(&self) -> bool {
        *self != Self::NONE
    }
}

impl Board {
    pub(super) fn new() -> Self {
        Self::of(SLOTS)
    }

    /// A board of so many slots, a power of two.
    pub(super) fn of(slots: usize) -> Self {
        assert!(slots.is_power_of_two());
        let free = || Entry { state: AtomicU64::new(FREE), key: AtomicU64::new(0), place: AtomicU64::new(0) };
        Self((0..slots).map(|_| free()).collect())
    }

    /// Puts a request on the board, in a slot near the one given by `spread`. What `place` means is
    /// the caller's business: it is told again if the request gets stuck.
    pub(super) fn enter(&self, key: Option<u64>, now_ms: u64, spread: u64, place: u64) -> Slot {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are of use")]
        let first = spread as usize;
        for probe in 0..PROBES {
            let at = first.wrapping_add(probe) & (self.0.len() - 1);
            let entry = &self.0[at];
            if entry.state.load(Relaxed) == FREE
                && entry.state.compare_exchange(FREE, CLAIMED, Acquire, Relaxed).is_ok()
            {
                entry.key.store(key.unwrap_or(0), Relaxed);
                entry.place.store(place, Relaxed);
                let keyed = if key.is_some() { KEYED } else { 0 };
                entry.state.store(now_ms << STARTED_SHIFT | IN_FLIGHT | keyed, Release);
                return Slot(u16::try_from(at).expect("slots are fewer than 2^16"));
            }
        }
        Slot::NONE
    }

    /// Takes a request off the board; false when it was marked as stuck.
    pub(super) fn leave(&self, Slot(at): Slot) -> bool {
        let Some(entry) = self.0.get(usize::from(at)) else { return true };
        let state = entry.state.load(Relaxed);
        // Only a sweep could come between, and only with its mark.
        let is_first =
            state & STUCK == 0 && entry.state.compare_exchange(state, FREE, Release, Relaxed).is_ok();
        if !is_first {
            entry.state.store(GIVEN_BACK, Release);
        }
        is_first
    }

    /// Marks what has been in flight for `stuck_after_ms` or longer, and tells the key and place of each.
    pub(super) fn sweep(&self, now_ms: u64, stuck_after_ms: u64, mut stuck: impl FnMut(Option<u64>, u64)) {
        // The clock begins at 0: nothing is stuck yet, and nothing has been given back after a mark.
        if now_ms < stuck_after_ms {
            return;
        }
        for entry in &self.0 {
            let state = entry.state.load(Relaxed);
            if state == GIVEN_BACK {
                entry.state.store(FREE, Release);
            } else if state & (IN_FLIGHT | STUCK) == IN_FLIGHT
                && now_ms.saturating_sub(state >> STARTED_SHIFT) >= stuck_after_ms
                && entry.state.compare_exchange(state, state | STUCK, Acquire, Relaxed).is_ok()
            {
                stuck((state & KEYED != 0).then(|| entry.key.load(Relaxed)), entry.place.load(Relaxed));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.iter().filter(|entry| entry.state.load(Relaxed) != FREE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(board: &Board, now_ms: u64) -> Vec<Option<u64>> {
        let mut seen = Vec::new();
        board.sweep(now_ms, 100, |key, _| seen.push(key));
        seen
    }

    #[test]
    fn what_takes_too_long_is_told_once() {
        let board = Board::new();
        let (keyed, keyless) = (board.enter(Some(7), 1_000, 3, 0), board.enter(None, 1_001, 3, 0));
        let quick = board.enter(Some(0), 1_000, 3, 0);
        assert_eq!(stuck(&board, 1_099), []);
        assert!(board.leave(quick));
        assert_eq!(stuck(&board, 1_100), [Some(7)]);
        assert_eq!(stuck(&board, 9_999), [None]);
        assert_eq!(stuck(&board, 9_999), []);
        assert_eq!(board.taken(), 2);
        assert!(!board.leave(keyed) && !board.leave(keyless));
        assert_eq!(board.taken(), 2, "a sweep under way may still look at their keys");
        assert_eq!(stuck(&board, 9_999), []);
        assert_eq!(board.taken(), 0);
    }

    #[test]
    fn a_time_before_the_start_is_no_long_time() {
        let board = Board::new();
        let slot = board.enter(None, 1_000, 0, 0);
        assert_eq!(stuck(&board, 500), []);
        assert!(board.leave(slot));
    }

    #[test]
    fn without_a_free_slot_nearby_a_request_goes_unwatched() {
        let board = Board::new();
        let place = SLOTS as u64 - 3;
        let slots: Vec<Slot> = (0..PROBES).map(|_| board.enter(None, 0, place, 0)).collect();
        assert!(slots.iter().all(Slot::is_some), "the places go round the end");
        let none = board.enter(None, 0, place, 0);
        assert!(!none.is_some() && board.leave(none));
        assert!(board.enter(None, 0, u64::MAX / 2, 0).is_some());
        assert_eq!(stuck(&board, 1_000).len(), PROBES + 1);
        assert!(!board.enter(None, 0, place, 0).is_some(), "stuck ones keep their slots");
        for slot in slots {
            assert!(!board.leave(slot));
        }
        stuck(&board, 1_000);
        assert!(board.enter(None, 0, place, 0).is_some());
    }
}
