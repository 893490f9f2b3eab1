//! Rollouts of a pool: what runs behind it is replaced, endpoint by endpoint or all at once.
//!
//! Like a split's rollout ([`crate::rollout`]), a [`PoolRollout`] is part of the runtime state, journaled
//! with each change of it, and looked at by a pure [`step`] every 100 ms; what follows comes back as an
//! [`Order`] through [`crate::change`].
//!
//! ```text
//!   rolling    for each endpoint: drain ─► hook ─► healthy ─► undrain
//!   recreate   requests wait ─► drain all ─► hook, once ─► healthy ─► requests flow
//! ```
//!
//! A rolling one drains as an operator does, with orders in the state that carry its number, and never
//! takes the last endpoint that is usable. A recreate holds the pool for as long as it has any endpoint in
//! hand; nothing of that outlives the process, since nobody would let go of it.

mod fit;
mod order;
mod step;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::{self, PoolStrategy};
use crate::rollout::{End, Said, Status};
use crate::units::Generation;

pub(crate) use fit::{after_restart, fit};
pub use order::{Act, Order};
pub(crate) use order::{Ordered, apply, start};
pub use step::{Hand, Look, Progress, Seen, SeenEndpoint, Wish, step};

/// How far an endpoint has come, in the order in which it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its turn is to come.
    Waiting,
    /// It gets no new requests, and some may be in flight.
    Draining,
    /// The hook is asked to replace what runs behind it.
    Replacing,
    /// The hook has agreed, and it has yet to be healthy.
    WaitingHealthy,
    /// It serves again.
    Replaced,
    /// It was in hand when the rollout was called off.
    Failed,
}

impl Stage {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Replacing => "replacing",
            Self::WaitingHealthy => "waiting_healthy",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
        }
    }

    /// Whether the rollout has it out of service.
    pub fn is_in_hand(self) -> bool {
        matches!(self, Self::Draining | Self::Replacing | Self::WaitingHealthy)
    }
}

/// An endpoint that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its address.
    pub address: Address,
    /// How far it has come.
    pub stage: Stage,
    /// Whether it took requests before it was taken in hand.
    pub served: bool,
}

/// A rollout of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRollout {
    /// The generation of its start, which names it.
    pub id: Generation,
    /// Counts its changes, so that a finding that is no longer true is refused.
    pub revision: u64,
    /// The plan, as it was when it started.
    pub plan: config::PoolRollout,
    /// Who started it.
    pub started: Said,
    /// Set while it is paused: what is in hand is brought to its end, and nothing more is taken.
    pub paused: Option<Said>,
    /// Whether it stands still, since the process has restarted: not even what is in hand goes on.
    pub stands_still: bool,
    /// Set once it has ended.
    pub ended: Option<(End, Said)>,
    /// Every endpoint, in the order in which it is replaced.
    pub endpoints: Vec<Item>,
}

impl PoolRollout {
    /// The state that people see.
    pub fn status(&self) -> Status {
        match (&self.ended, &self.paused) {
            (Some((End::Succeeded, _)), _) => Status::Succeeded,
            (Some((End::Aborted, _)), _) => Status::Aborted,
            (None, Some(_)) => Status::Paused,
            (None, None) => Status::Running,
        }
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether requests wait for the pool.
    pub fn holds(&self) -> bool {
        self.is_active() && self.plan.strategy == PoolStrategy::Recreate && self.in_hand().next().is_some()
    }

    /// The endpoints that it has out of service.
    pub fn in_hand(&self) -> impl Iterator<Item = &Item> {
        self.endpoints.iter().filter(|item| item.stage.is_in_hand())
    }

    /// Where an endpoint stands.
    pub fn stage(&self, address: &Address) -> Option<Stage> {
        self.endpoints.iter().find(|item| item.address == *address).map(|item| item.stage)
    }

    /// The strategy's name.
    pub fn strategy(&self) -> &'static str {
        match self.plan.strategy {
            PoolStrategy::Rolling => "rolling",
            PoolStrategy::Recreate => "recreate",
        }
    }

    /// In a word or two, for refusals and logs.
    pub fn describe(&self) -> String {
        format!("{} rollout {}, {}", self.strategy(), self.id, self.status().as_str())
    }
}

#[cfg(test)]
mod tests;
