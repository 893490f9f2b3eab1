//! Who changes things: this process, or one that takes over from it.
//!
//! While another one takes over, what would be changed here would be lost, so it is refused. Only an abort
//! is not: it is in force here at once, and is told to the other process when that serves. When it fails
//! to, everything goes on here as if nothing had been.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::change::{Change, Rejected, Request};
use tidegate_core::handover::{Handover, abort_again};
use tidegate_core::state::Entry;

use super::Control;

/// So long the state folder is asked for when another process has failed.
const GOING_AWAY: Duration = Duration::from_secs(1);

/// Who changes things.
#[derive(Debug, Default)]
pub(super) enum Standing {
    /// This process.
    #[default]
    Ours,
    /// Nobody, until it is known which one goes on.
    HandingOver {
        /// Aborts made meanwhile.
        aborts: Vec<Arc<Entry>>,
    },
    /// The other one.
    HandedOver,
}

impl Standing {
    /// Whether this process may make a change.
    pub(super) fn check(&self, change: &Change) -> Result<(), Rejected> {
        match self {
            Self::Ours => Ok(()),
            Self::HandingOver { .. } if change.is_abort() => Ok(()),
            Self::HandingOver { .. } | Self::HandedOver => Err(Rejected::TakingOver),
        }
    }

    /// Notes a change that was made.
    pub(super) fn note(&mut self, entry: &Arc<Entry>) {
        if let Self::HandingOver { aborts } = self {
            aborts.push(Arc::clone(entry));
        }
    }
}

impl Control {
    /// Whether another process takes over, or has.
    pub fn is_handing_over(&self) -> bool {
        !matches!(*self.standing.lock(), Standing::Ours)
    }

    /// Stops making changes and lets go of the state folder; all that is known, for the other process.
    ///
    /// Like the two that follow it waits for a disk: not for a task that others wait for.
    pub fn hand_over(&self) -> Result<Handover, String> {
        let mut keeper = self.keeper.lock();
        keeper.let_go().map_err(|error| format!("the state folder cannot be written: {error}"))?;
        *self.standing.lock() = Standing::HandingOver { aborts: Vec::new() };
        Ok(Handover::of(&self.live.view(), self.clock.now()))
    }

    /// The other process serves: nothing is changed here any more. Aborts that it does not know of yet.
    pub fn handed_over(&self) -> Vec<Arc<Entry>> {
        let _no_change_is_under_way = self.keeper.lock();
        match std::mem::replace(&mut *self.standing.lock(), Standing::HandedOver) {
            Standing::HandingOver { aborts } => aborts,
            Standing::Ours | Standing::HandedOver => Vec::new(),
        }
    }

    /// The other process has failed: changes are made here again, and written to the state folder.
    ///
    /// As long as the other one holds that, only aborts are made. The file should be looked at again: what
    /// it said meanwhile was refused without being looked at.
    pub fn take_back(&self) {
        let mut keeper = self.keeper.lock();
        let latest = Instant::now() + GOING_AWAY;
        loop {
            match keeper.take_back(self.clock, &self.live.view()) {
                Ok(()) => break,
                // A process that ends is heard to be gone a little before its locks are.
                Err(_) if Instant::now() < latest => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => {
                    tracing::error!(error, "changes will be refused until the state folder is ours again");
                    break;
                }
            }
        }
        *self.standing.lock() = Standing::Ours;
    }

    /// Makes aborts again which the process before this one made when it was too late to hand them over.
    pub async fn abort_again(self: &Arc<Self>, aborts: &[Arc<Entry>]) {
        let requests: Vec<Request> = aborts.iter().flat_map(|entry| abort_again(entry)).collect();
        for request in requests {
            if let Err(rejected) = self.apply(request).await {
                tracing::error!(%rejected, "an abort made while this process took over could not be made again");
            }
        }
    }
}
