//! How much memory copies may take in all: heads and bodies, gathered, waiting and on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// For all copies of the process.
const MOST_BYTES: usize = 64 << 20;

/// What is kept of it.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

/// A part of the budget, for as long as it lives.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reserved {
    /// Nothing yet.
    pub(super) fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes more of the budget; false, and nothing is taken, when there is not so much.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let room = |kept: usize| kept.checked_add(bytes).filter(|sum| *sum <= MOST_BYTES);
        let has_room = self.budget.0.fetch_update(Relaxed, Relaxed, room).is_ok();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_given_back() {
        let budget = Arc::new(Budget::default());
        let (mut one, mut two) = (Reserved::none(&budget), Reserved::none(&budget));
        assert!(one.grow(MOST_BYTES - 10) && two.grow(10));
        assert!(!two.grow(1) && !one.grow(usize::MAX), "there is no more, and no overflow");
        drop(one);
        assert!(two.grow(MOST_BYTES - 10) && !two.grow(1));
        drop(two);
        assert_eq!(budget.0.load(Relaxed), 0);
    }
}
