//! Orders: what an operator or the plan wants of a pool's rollout, and what comes of it.
//!
//! Pure: `(rollout, drains, order) → (rollout, drains)`, or a sentence that says why not. Abort is never
//! refused. Who may, the journal and the swap are [`crate::change`]'s.

use super::{Item, PoolRollout, Stage};
use crate::address::Address;
use crate::config::{self, PoolStrategy};
use crate::rollout::{ACTOR, End, Said};
use crate::state::{DrainOrder, Drains};
use crate::units::Generation;

/// What is wanted of a pool's rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take no further endpoint until resumed.
    Pause,
    /// Go on after a pause.
    Resume {
        /// Whether a hook was seen to hold it, without which it then goes on.
        waive: bool,
    },
    /// Call it off: requests flow again, and what it drained takes requests again.
    Abort {
        /// But for these, which are known not to serve.
        keep: Vec<Address>,
    },
    /// What a look at it came to.
    Found(Act),
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take these out of service.
    Take(Vec<Address>),
    /// These are drained, and the hook may be called.
    Replace(Vec<Address>),
    /// The hook has agreed: these have to become healthy.
    Await(Vec<Address>),
    /// This one is healthy, and takes requests again.
    Back(Address),
    /// All is done.
    Finish {
        /// What is not as it should be.
        why: Option<String>,
    },
    /// It cannot go on.
    Fail {
        /// Why.
        why: String,
        /// Endpoints that stay drained, since they do not serve.
        keep: Vec<Address>,
    },
}

impl Order {
    /// The action's name, for the history.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Pause => "rollout_pause",
            Self::Resume { .. } => "rollout_resume",
            Self::Abort { .. } | Self::Found(Act::Fail { .. }) => "rollout_abort",
            Self::Found(Act::Take(_)) => "rollout_drain",
            Self::Found(Act::Replace(_)) => "rollout_replace",
            Self::Found(Act::Await(_)) => "rollout_wait_healthy",
            Self::Found(Act::Back(_)) => "rollout_undrain",
            Self::Found(Act::Finish { .. }) => "rollout_succeed",
        }
    }

    /// Whether it is a way out, which must not wait for anything.
    pub fn is_abort(&self) -> bool {
        matches!(self, Self::Abort { .. } | Self::Found(Act::Fail { .. }))
    }
}

/// A rollout that begins: with its first step, at the next look.
pub(crate) fn start(
    plan: config::PoolRollout,
    started: Said,
    id: Generation,
    endpoints: impl Iterator<Item = Address>,
) -> PoolRollout {
    let item = |address| Item { address, stage: Stage::Waiting, served: false };
    PoolRollout {
        id,
        revision: 1,
        plan,
        started,
        paused: None,
        stands_still: false,
        ended: None,
        endpoints: endpoints.map(item).collect(),
    }
}

/// What an order comes to.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) rollout: PoolRollout,
    pub(crate) drains: Drains,
}

/// Carries out an order. `serves` says whether an endpoint takes requests now.
pub(crate) fn apply(
    rollout: &PoolRollout,
    drains: Drains,
    order: &Order,
    said: Said,
    serves: impl Fn(&Address) -> bool,
) -> Result<Ordered, String> {
    let mut next = Ordered { rollout: rollout.clone(), drains };
    let is_over = !rollout.is_active();
    if is_over && order.is_abort() {
        return Ok(next);
    }
    next.rollout.revision += 1;
    match order {
        _ if is_over => return Err(format!("{} has ended", rollout.describe())),
        Order::Abort { keep } => next.end(End::Aborted, keep, said),
        Order::Pause if rollout.holds() => {
            return Err(format!("requests wait for {}: it can only be aborted", rollout.describe()));
        }
        Order::Pause => {
            next.rollout.paused.get_or_insert(said);
        }
        Order::Resume { waive } => next.resume(*waive)?,
        Order::Found(act) => next.act(act, said, serves),
    }
    Ok(next)
}

impl Ordered {
    fn resume(&mut self, waive: bool) -> Result<(), String> {
        let asks = |item: &Item| item.stage == Stage::Replacing;
        self.rollout.stands_still = false;
        if self.rollout.paused.take().is_some() {
            return Ok(());
        }
        if !waive || !self.rollout.endpoints.iter().any(asks) {
            return Err(format!("{} is not paused, and no hook holds it", self.rollout.describe()));
        }
        // The operator answers for the hook.
        self.rollout
            .endpoints
            .iter_mut()
            .filter(|item| asks(item))
            .for_each(|item| item.stage = Stage::WaitingHealthy);
        Ok(())
    }

    fn act(&mut self, act: &Act, said: Said, serves: impl Fn(&Address) -> bool) {
        match act {
            Act::Take(addresses) => self.take(addresses, serves),
            Act::Replace(addresses) => self.set(addresses, Stage::Replacing),
            Act::Await(addresses) => self.set(addresses, Stage::WaitingHealthy),
            Act::Back(address) => {
                self.give_back(address);
                self.set(std::slice::from_ref(address), Stage::Replaced);
            }
            Act::Finish { why } => self.end(End::Succeeded, &[], Said { why: why.clone(), ..said }),
            Act::Fail { why, keep } => {
                self.end(End::Aborted, keep, Said { why: Some(why.clone()), ..said });
            }
        }
    }

    fn set(&mut self, addresses: &[Address], stage: Stage) {
        let items = self.rollout.endpoints.iter_mut().filter(|item| addresses.contains(&item.address));
        items.for_each(|item| item.stage = stage);
    }

    fn take(&mut self, addresses: &[Address], serves: impl Fn(&Address) -> bool) {
        let id = self.rollout.id;
        let is_rolling = self.rollout.plan.strategy == PoolStrategy::Rolling;
        for item in self.rollout.endpoints.iter_mut().filter(|item| addresses.contains(&item.address)) {
            item.served = serves(&item.address);
            item.stage = Stage::Draining;
            if is_rolling {
                // An operator's order stays the operator's.
                self.drains.endpoints.entry(item.address.to_string()).or_insert_with(|| DrainOrder {
                    timeout_ms: None,
                    actor: ACTOR.into(),
                    reason: Some(format!("rollout {id}")),
                    rollout: Some(id),
                });
            }
        }
    }

    /// Calls off the rollout's own drain of an endpoint.
    fn give_back(&mut self, address: &Address) {
        let (key, id) = (address.to_string(), self.rollout.id);
        if self.drains.endpoints.get(&key).is_some_and(|order| order.rollout == Some(id)) {
            self.drains.endpoints.remove(&key);
        }
    }

    pub(super) fn end(&mut self, end: End, keep: &[Address], said: Said) {
        let (id, mut kept) = (self.rollout.id, Vec::new());
        let in_hand: Vec<Item> = self.rollout.in_hand().cloned().collect();
        for Item { address, stage, .. } in in_hand {
            let order = self.drains.endpoints.get_mut(&address.to_string());
            match order.filter(|order| order.rollout == Some(id)) {
                Some(order) if stage != Stage::Draining && keep.contains(&address) => {
                    // From now on it is for an operator to undrain.
                    order.rollout = None;
                    kept.push(address.to_string());
                }
                _ => self.give_back(&address),
            }
            let stage = match (end, stage) {
                (End::Succeeded, _) => Stage::Replaced,
                // Nothing was done to it yet.
                (End::Aborted, Stage::Draining) => Stage::Waiting,
                (End::Aborted, _) => Stage::Failed,
            };
            self.set(&[address], stage);
        }
        let note = (!kept.is_empty()).then(|| {
            let (verb, them) = if kept.len() == 1 { ("stays", "it serves") } else { ("stay", "they serve") };
            format!("{} {verb} drained: undrain when {them}", kept.join(", "))
        });
        let why = [said.why, note].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let why = (!why.is_empty()).then_some(why);
        self.rollout.paused = None;
        self.rollout.stands_still = false;
        self.rollout.ended = Some((end, Said { why, ..said }));
    }
}
