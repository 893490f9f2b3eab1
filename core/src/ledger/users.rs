//! What is remembered of each user: whether it was active in this tick, and where it has failed.
//!
//! One map for both sides: whether a user can still fail for the first time then depends only on its
//! past, not on the side that it is on now. With a map for each, a share that grows would bring users
//! into the candidate whose failures had already been counted in the baseline, and a candidate that
//! is as good would look worse.
//!
//! A user is known by 16 bits of its key's hash: users who share them count as one, on both sides
//! alike. The stamp of a tick has 27 bits: a user who was last active 2^27 ticks ago to the tick (155
//! days at ten a second) is overlooked in that one tick.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Side;

const PLACES: usize = 65_536;

const FAILED_CANDIDATE: u32 = 1;
const FAILED_BASELINE: u32 = 2;
const SLOW_MAX: u32 = 4;
const SLOW_RATIO: u32 = 8;
/// Set once a stamp is: the stamp of no tick is 0 then.
const STAMPED: u32 = 16;
const STAMP_SHIFT: u32 = 5;

/// The map of users.
#[derive(Debug)]
pub(super) struct Users(Box<[AtomicU32]>);

/// What came of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) failed: bool,
    pub(super) over_max: bool,
    pub(super) over_ratio: bool,
}

/// What a request adds to the counts by user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each adds to a count of its own")]
pub(super) struct Adds {
    pub(super) user: bool,
    pub(super) failed_user: bool,
    pub(super) failed_key: bool,
    pub(super) slow_max_key: bool,
    pub(super) slow_ratio_key: bool,
}

impl Users {
    pub(super) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU32::new(0)).collect())
    }

    /// Takes what came of a user's request in a tick; what came of one without a key is news as it is.
    pub(super) fn note(&self, key: Option<u64>, side: Side, came: Came, tick: u32) -> Adds {
        let Some(key) = key else {
            let is_candidate = side == Side::Candidate;
            return Adds {
                user: true,
                failed_user: came.failed,
                failed_key: came.failed,
                slow_max_key: is_candidate && came.over_max,
                slow_ratio_key: is_candidate && came.over_ratio,
            };
        };
        let place = &self.0[place(key)];
        let mut before = place.load(Relaxed);
        loop {
            let (after, adds) = step(before, side, came, tick);
            if after == before {
                return adds;
            }
            match place.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return adds,
                Err(now) => before = now,
            }
        }
    }
}

/// The highest bits: a hash's lowest choose among a power of two elsewhere.
fn place(key: u64) -> usize {
    (key >> 48) as usize
}

/// A user's word after a request, and what the request adds to the counts.
fn step(before: u32, side: Side, came: Came, tick: u32) -> (u32, Adds) {
    let failed_here = match side {
        Side::Candidate => FAILED_CANDIDATE,
        Side::Baseline => FAILED_BASELINE,
    };
    let stamp = tick << STAMP_SHIFT | STAMPED;
    let flags = STAMPED - 1;
    let at_risk = before & (FAILED_CANDIDATE | FAILED_BASELINE) == 0;
    let news = |flag: u32, holds: bool| if holds && before & flag == 0 { flag } else { 0 };
    let failed = news(failed_here, came.failed);
    let is_candidate = side == Side::Candidate;
    let slow_max = news(SLOW_MAX, is_candidate && came.over_max);
    let slow_ratio = news(SLOW_RATIO, is_candidate && came.over_ratio);
    // Of a user who has failed no stamp is needed any more, and so most words come to rest.
    let stamped = if at_risk { stamp | before & flags } else { before };
    let adds = Adds {
        user: at_risk && before & !flags != stamp,
        failed_user: at_risk && came.failed,
        failed_key: failed != 0,
        slow_max_key: slow_max != 0,
        slow_ratio_key: slow_ratio != 0,
    };
    (stamped | failed | slow_max | slow_ratio, adds)
}

#[cfg(test)]
mod tests;
