//! The queue in which requests wait while what runs behind their pool is replaced.
//!
//! A pool that is away has a bound and a time; its cell counts those that wait, so that the count
//! outlives tables. Waking them is the data plane's business: it waits for the next table and decides
//! again. No order is kept: who waits is let go all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::cell::PoolCell;

/// How requests wait for a pool that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// So many may wait.
    pub queue: u32,
    /// Each for so long.
    pub timeout: Duration,
}

/// Those that wait for one pool.
#[derive(Debug, Default)]
pub struct Queue(AtomicU32);

impl Queue {
    /// How many wait.
    pub fn length(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// A place in a pool's queue, for as long as it lives.
#[derive(Debug)]
pub struct Place(Arc<PoolCell>);

impl Place {
    /// Takes one of `most` places; `None` when all are taken.
    pub fn take(pool: &Arc<PoolCell>, most: u32) -> Option<Self> {
        let room = |taken: u32| (taken < most).then_some(taken + 1);
        pool.queue.0.fetch_update(Relaxed, Relaxed, room).ok()?;
        Some(Self(Arc::clone(pool)))
    }

    /// Whether it is a place in this pool's queue.
    pub fn is_of(&self, pool: &Arc<PoolCell>) -> bool {
        Arc::ptr_eq(&self.0, pool)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queue.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let pool = Arc::new(PoolCell::default());
        let first = Place::take(&pool, 2).expect("the first place");
        let second = Place::take(&pool, 2).expect("the second place");
        assert!(Place::take(&pool, 2).is_none(), "there is no third");
        assert!(Place::take(&pool, 0).is_none(), "nor one in a queue of none");
        assert_eq!(pool.queue.length(), 2);
        drop(first);
        assert!(Place::take(&pool, 2).is_some_and(|place| place.is_of(&pool)));
        drop(second);
        assert_eq!(pool.queue.length(), 0);
    }
}
