//! One look at a pool's rollout: what there is to see, and what follows from it.
//!
//! Pure and total: the same rollout, progress and sight give the same finding. What comes back is either
//! an act, which goes through [`crate::change`], or a wish that the hook be called, which the controller
//! fulfils and answers with [`Progress::answered`]. Times are on the monotonic clock, and live no longer
//! than the process.

use super::{Act, PoolRollout, Stage};
use crate::address::Address;
use crate::backoff;
use crate::config::PoolStrategy;
use crate::pool::{Pool, Usable};
use crate::rollout::Held;
use crate::units::Span;

/// What is still in flight at a drain's deadline is cut off; so long is waited for that to be done.
const CUT_MS: u64 = 1_000;

/// What there is to see of a pool.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The monotonic clock.
    pub now_ms: u64,
    /// Whether an operator drains the whole pool.
    pub is_drained: bool,
    /// How long a drain may take.
    pub drain_ms: u64,
    /// Its endpoints.
    pub endpoints: Vec<SeenEndpoint>,
}

/// What there is to see of an endpoint.
#[derive(Clone, Debug)]
pub struct SeenEndpoint {
    /// Its address.
    pub address: Address,
    /// Requests in flight.
    pub in_flight: u32,
    /// Whether it takes requests.
    pub usable: Usable,
    /// Whether it is known to serve, drained or not.
    pub is_healthy: bool,
}

impl Seen {
    /// What there is to see; `reached` says whether an endpoint without checks accepted a connection.
    pub fn of(pool: &Pool, now_ms: u64, reached: impl Fn(&Address) -> bool) -> Self {
        let healthy = |cell: &crate::cell::EndpointCell| match &pool.health {
            // Up by its first state only is not known to be up.
            Some(_) => {
                cell.status() == crate::health::Status::Up && cell.last_check().is_some_and(|check| check.ok)
            }
            None => reached(&cell.address),
        };
        let endpoints = pool.endpoints.iter().map(|endpoint| SeenEndpoint {
            address: endpoint.address().clone(),
            in_flight: endpoint.cell.in_flight(),
            usable: pool.usable(endpoint, now_ms),
            is_healthy: healthy(&endpoint.cell),
        });
        Self {
            now_ms,
            is_drained: pool.draining.is_some() && pool.waiting.is_none(),
            drain_ms: u64::try_from(pool.timeouts.drain.as_millis()).unwrap_or(u64::MAX),
            endpoints: endpoints.collect(),
        }
    }

    fn endpoint(&self, address: &Address) -> Option<&SeenEndpoint> {
        self.endpoints.iter().find(|one| one.address == *address)
    }

    fn is_healthy(&self, address: &Address) -> bool {
        self.endpoint(address).is_some_and(|one| one.is_healthy)
    }
}

/// What a rollout has in hand at once, which goes on as one: an endpoint, or by `recreate` all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// The endpoints.
    pub addresses: Vec<Address>,
    /// How far they have come.
    pub stage: Stage,
    since_ms: u64,
    first_call_ms: Option<u64>,
    calls: u32,
    is_calling: bool,
    next_call_ms: u64,
    has_agreed: bool,
    refused: Option<String>,
}

/// What the process knows of a running rollout beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What keeps it from going on.
    pub held: Option<Held>,
    /// What it has in hand.
    pub hands: Vec<Hand>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Change the rollout.
    Act(Act),
    /// Call the hook for these endpoints.
    Call(Vec<Address>),
}

/// A look at a rollout.
#[derive(Clone, Debug)]
pub struct Look {
    /// What is known now.
    pub progress: Progress,
    /// What is wanted, if anything.
    pub wish: Option<Wish>,
}

impl Progress {
    /// Takes what came of a call; one for endpoints that are no longer in hand says nothing.
    pub fn answered(&mut self, addresses: &[Address], result: Result<(), String>, now_ms: u64) {
        let Some(hand) = self.hands.iter_mut().find(|h| h.addresses == addresses && h.is_calling) else {
            return;
        };
        hand.is_calling = false;
        match result {
            Ok(()) => hand.has_agreed = true,
            Err(why) => {
                hand.refused = Some(why);
                hand.next_call_ms = now_ms.saturating_add(Span(backoff::after(hand.calls)).as_ms());
            }
        }
    }

    /// Brings the hands in line with the rollout, which may have been changed by others.
    fn follow(&mut self, rollout: &PoolRollout, now_ms: u64) {
        let known = std::mem::take(&mut self.hands);
        let found = |addresses: &[Address]| known.iter().find(|hand| hand.addresses == addresses).cloned();
        for (addresses, stage) in groups(rollout) {
            let hand = match found(&addresses) {
                Some(hand) if hand.stage == stage => hand,
                Some(hand) => Hand { stage, since_ms: now_ms, ..hand },
                None => Hand {
                    addresses,
                    stage,
                    since_ms: now_ms,
                    first_call_ms: None,
                    calls: 0,
                    is_calling: false,
                    next_call_ms: now_ms,
                    has_agreed: false,
                    refused: None,
                },
            };
            self.hands.push(hand);
        }
    }
}

fn groups(rollout: &PoolRollout) -> Vec<(Vec<Address>, Stage)> {
    let in_hand = rollout.in_hand().map(|item| (item.address.clone(), item.stage));
    match rollout.plan.strategy {
        PoolStrategy::Rolling => in_hand.map(|(address, stage)| (vec![address], stage)).collect(),
        PoolStrategy::Recreate => {
            let (addresses, stages): (Vec<_>, Vec<_>) = in_hand.unzip();
            stages.into_iter().min().map(|stage| (addresses, stage)).into_iter().collect()
        }
    }
}

/// Looks at a rollout.
pub fn step(rollout: &PoolRollout, mut progress: Progress, seen: &Seen) -> Look {
    progress.held = None;
    if !rollout.is_active() || rollout.stands_still {
        progress.hands.clear();
        return Look { progress, wish: None };
    }
    progress.follow(rollout, seen.now_ms);
    let mut held = None;
    // Up to the first that wants something: a call that is wished for counts as made.
    let wish = progress.hands.iter_mut().find_map(|hand| hand.look(rollout, seen, &mut held));
    let wish = wish.or_else(|| take_next(rollout, progress.hands.len(), seen, &mut held).map(Wish::Act));
    progress.held = held;
    Look { progress, wish }
}

impl Hand {
    fn look(&mut self, rollout: &PoolRollout, seen: &Seen, held: &mut Option<Held>) -> Option<Wish> {
        match self.stage {
            Stage::Draining => self.drained(seen).then(|| Wish::Act(Act::Replace(self.addresses.clone()))),
            Stage::Replacing => self.ask(rollout, seen, held),
            Stage::WaitingHealthy => self.healthy(rollout, seen, held).map(Wish::Act),
            Stage::Waiting | Stage::Replaced | Stage::Failed => None,
        }
    }

    fn drained(&self, seen: &Seen) -> bool {
        let deadline_ms = self.since_ms.saturating_add(seen.drain_ms).saturating_add(CUT_MS);
        let busy = |address: &Address| seen.endpoint(address).is_some_and(|one| one.in_flight > 0);
        seen.now_ms >= deadline_ms || !self.addresses.iter().any(busy)
    }

    /// Hook and health have one time together, which runs from the first call.
    fn is_late(&self, rollout: &PoolRollout, seen: &Seen) -> bool {
        let limit_ms = rollout.plan.healthy_timeout.as_ms();
        seen.now_ms.saturating_sub(self.first_call_ms.unwrap_or(self.since_ms)) >= limit_ms
    }

    fn ask(&mut self, rollout: &PoolRollout, seen: &Seen, held: &mut Option<Held>) -> Option<Wish> {
        if self.has_agreed {
            return Some(Wish::Act(Act::Await(self.addresses.clone())));
        }
        if self.first_call_ms.is_some() && self.is_late(rollout, seen) {
            let said = self.refused.as_deref().unwrap_or("it has not answered");
            let limit = rollout.plan.healthy_timeout;
            return Some(fail(rollout, seen, format!("the hook did not agree within {limit}: {said}")));
        }
        if let Some(why) = &self.refused {
            held.get_or_insert_with(|| Held { by: "hook".into(), why: why.clone() });
        }
        if self.is_calling || seen.now_ms < self.next_call_ms {
            return None;
        }
        self.is_calling = true;
        self.calls += 1;
        self.first_call_ms.get_or_insert(seen.now_ms);
        Some(Wish::Call(self.addresses.clone()))
    }

    fn healthy(&self, rollout: &PoolRollout, seen: &Seen, held: &mut Option<Held>) -> Option<Act> {
        let sick = self.sick(rollout, seen);
        if sick.is_empty() {
            return Some(match self.addresses.as_slice() {
                [one] if rollout.plan.strategy == PoolStrategy::Rolling => Act::Back(one.clone()),
                _ => Act::Finish { why: None },
            });
        }
        let names = sick.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if !self.is_late(rollout, seen) {
            held.get_or_insert_with(|| Held {
                by: "health".into(),
                why: format!("not healthy yet: {names}"),
            });
            return None;
        }
        let why = format!("not healthy within {}: {names}", rollout.plan.healthy_timeout);
        let is_rolling = rollout.plan.strategy == PoolStrategy::Rolling;
        if !is_rolling && self.addresses.iter().any(|address| seen.is_healthy(address)) {
            return Some(Act::Finish { why: Some(why) });
        }
        Some(failure(rollout, seen, why))
    }

    /// Endpoints that are not healthy, of those that took requests before; of all, if none did.
    fn sick(&self, rollout: &PoolRollout, seen: &Seen) -> Vec<Address> {
        let served =
            |address: &Address| rollout.endpoints.iter().any(|item| item.address == *address && item.served);
        let any_served = self.addresses.iter().any(served);
        let asked = self.addresses.iter().filter(|address| !any_served || served(address));
        asked.filter(|address| !seen.is_healthy(address)).cloned().collect()
    }
}

fn fail(rollout: &PoolRollout, seen: &Seen, why: String) -> Wish {
    Wish::Act(failure(rollout, seen, why))
}

fn failure(rollout: &PoolRollout, seen: &Seen, why: String) -> Act {
    let sick = rollout.in_hand().map(|item| &item.address).filter(|address| !seen.is_healthy(address));
    Act::Fail { why, keep: sick.cloned().collect() }
}

/// What is taken in hand next.
fn take_next(rollout: &PoolRollout, hands: usize, seen: &Seen, held: &mut Option<Held>) -> Option<Act> {
    let mut waiting = rollout.endpoints.iter().filter(|item| item.stage == Stage::Waiting);
    let Some(next) = waiting.next().map(|item| item.address.clone()) else {
        return (hands == 0).then_some(Act::Finish { why: None });
    };
    if rollout.paused.is_some() {
        return None;
    }
    let mut wait = |by: &str, why: String| {
        held.get_or_insert_with(|| Held { by: by.into(), why });
        None
    };
    if seen.is_drained {
        return wait("drain", "an operator drains the pool".into());
    }
    match rollout.plan.strategy {
        PoolStrategy::Recreate if hands > 0 => None,
        PoolStrategy::Recreate => {
            Some(Act::Take(std::iter::once(next).chain(waiting.map(|item| item.address.clone())).collect()))
        }
        PoolStrategy::Rolling => {
            let most = usize::try_from(rollout.plan.max_unavailable).unwrap_or(usize::MAX);
            let takes_requests = seen.endpoint(&next).is_some_and(|one| one.usable != Usable::No);
            let another = seen.endpoints.iter().any(|one| one.address != next && one.usable == Usable::Yes);
            if hands >= most {
                None
            } else if takes_requests && !another {
                wait("health", format!("{next} is the last endpoint that can be used"))
            } else {
                Some(Act::Take(vec![next]))
            }
        }
    }
}
