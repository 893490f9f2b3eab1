//! The one function that routes a request, explains a decision and simulates a change.
//!
//! Route, then, unless the route answers by itself, split, then endpoint: [`decide`] is pure but for reading the cells of health and of
//! what is in flight. It allocates nothing (a test counts). Deciding again with the entropy's state
//! from before comes to the same pool, for as long as the table says the same of it: so a request
//! that waits is not drawn into another. Stage before: [`crate::request`]; next: the proxy forwards,
//! and on a retry calls [`crate::pick`] again in the same pool.

mod key;

use std::sync::atomic::Ordering::Relaxed;

use crate::pick::{Entropy, Wish, pick};
use crate::pool::Pool;
use crate::record::Outcome;
use crate::request::RequestView;
use crate::route::RouteId;
use crate::snapshot::{Key, Member, MemberId, Snapshot, Split, SplitId};
use crate::split::{choose, draw, key_hash, mix};

pub use key::{KeyBytes, KeyOrigin, VisitorId, key_from};

use key::find_key;

/// Why a request went to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An override held.
    Override,
    /// By the hash of its key.
    Bucket,
    /// Drawn, for want of a key.
    Random,
    /// The chosen pool had no usable endpoint.
    Fallback,
    /// There was only one pool to choose.
    Only,
    /// Another pool had failed; never the reason of a first decision.
    Rescue,
}

impl Reason {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Bucket => "bucket",
            Self::Random => "random",
            Self::Fallback => "fallback",
            Self::Only => "only",
            Self::Rescue => "rescue",
        }
    }
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The route.
    pub route: RouteId,
    /// Length of the prefix in the path that the route's match names; 0 where it names none.
    pub prefix_bytes: usize,
}

/// What becomes of a request that a route takes.
#[derive(Clone, Copy, Debug)]
pub enum Decided {
    /// The route answers it by itself: a redirect, or something fixed.
    Answered(Taken),
    /// It is sent to a pool.
    Forwarded(Decision),
}

impl Decided {
    /// The route.
    pub fn taken(&self) -> Taken {
        match self {
            Self::Answered(taken) => *taken,
            Self::Forwarded(decision) => decision.taken,
        }
    }

    /// Where it is sent, unless the route answers by itself.
    pub fn forwarded(self) -> Option<Decision> {
        match self {
            Self::Answered(_) => None,
            Self::Forwarded(decision) => Some(decision),
        }
    }
}

/// Where a request goes. Places refer to the snapshot that it was decided by.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The route.
    pub taken: Taken,
    /// The route's split.
    pub split: SplitId,
    /// The pool that was first chosen, to which failures are charged.
    pub chosen: MemberId,
    /// The pool that serves.
    pub member: MemberId,
    /// Why.
    pub reason: Reason,
    /// Whether an override chose the pool: such requests are no evidence of a pool's quality.
    pub forced: bool,
    /// Where the key came from.
    pub key: Option<KeyOrigin>,
    /// The key's hash under the split's salt.
    pub key_hash: Option<u64>,
    /// What endpoints are balanced by, when by hash.
    pub endpoint_hash: Option<u64>,
    /// The endpoint's place in the pool; `None` when no pool has a usable one, or the request waits.
    pub endpoint: Option<usize>,
    /// Whether the request waits, since its pool is away while what runs behind it is replaced.
    pub waits: bool,
}

/// Routes a request; `None` when no route takes it.
pub fn decide(
    snapshot: &Snapshot,
    request: &RequestView<'_>,
    now_ms: u64,
    entropy: &mut Entropy,
) -> Option<Decided> {
    let found = snapshot.table.find(request)?;
    let taken = Taken { route: found.route, prefix_bytes: found.path.prefix_bytes() };
    Some(match snapshot.route(taken.route).split() {
        None => Decided::Answered(taken),
        Some(split) => Decided::Forwarded(forward(snapshot, taken, split, request, now_ms, entropy)),
    })
}

/// Split, then endpoint.
fn forward(
    snapshot: &Snapshot,
    taken: Taken,
    split_id: SplitId,
    request: &RequestView<'_>,
    now_ms: u64,
    entropy: &mut Entropy,
) -> Decision {
    let split = snapshot.split(split_id);
    let (key, origin) = find_key(split, request, entropy);
    let hash = key.as_deref().map(|key| key_hash(key, split.salt_seed));
    let (chosen, reason) = choose_pool(split, request, key.as_deref(), hash, entropy);
    let mut decision = Decision {
        taken,
        split: split_id,
        chosen,
        member: chosen,
        reason,
        forced: reason == Reason::Override,
        key: origin,
        key_hash: hash,
        endpoint_hash: None,
        endpoint: None,
        waits: false,
    };
    for member in std::iter::once(chosen).chain(split.fallback.iter().copied().filter(|m| *m != chosen)) {
        let pool = snapshot.pool(split.member(member).pool);
        if pool.waiting.is_some() {
            // It will be back: no fallback is taken meanwhile, so that its users stay its own.
            decision.take(member);
            decision.waits = true;
            break;
        }
        if decision.pick_in(pool, request, now_ms, entropy) {
            decision.take(member);
            break;
        }
    }
    decision
}

/// Where a request goes that has failed in a pool of a split that rescues: to the first other pool of
/// the split's fallback that has a usable endpoint. `None` when there is none, or the split does not rescue.
pub fn rescue(
    snapshot: &Snapshot,
    failed: &Decision,
    request: &RequestView<'_>,
    now_ms: u64,
    entropy: &mut Entropy,
) -> Option<Decision> {
    let split = snapshot.split(failed.split);
    let others = split.fallback.iter().copied().filter(|m| *m != failed.chosen && *m != failed.member);
    let mut others = others.filter(|_| split.rescue);
    others.find_map(|member| {
        let mut decision = Decision { member, reason: Reason::Rescue, ..*failed };
        decision
            .pick_in(snapshot.pool(split.member(member).pool), request, now_ms, entropy)
            .then_some(decision)
    })
}

impl Decision {
    fn take(&mut self, member: MemberId) {
        self.member = member;
        if member != self.chosen {
            self.reason = Reason::Fallback;
        }
    }

    /// Picks an endpoint of a pool; false when none is usable.
    fn pick_in(
        &mut self,
        pool: &Pool,
        request: &RequestView<'_>,
        now_ms: u64,
        entropy: &mut Entropy,
    ) -> bool {
        let hash = endpoint_hash(pool.hash_key.as_deref(), request, self.key_hash);
        let Some(endpoint) = pick(pool, Wish { hash, now_ms, avoid: None }, entropy) else { return false };
        self.endpoint = Some(endpoint);
        self.endpoint_hash = hash;
        true
    }

    /// Counts a fallback, if this was one.
    pub fn count_fallback(&self, split: &Split) {
        if self.member != self.chosen
            && let Some(moved) = split.moved(self.chosen, self.member)
        {
            moved.fallbacks.fetch_add(1, Relaxed);
        }
    }

    /// Counts a rescue from the pool that failed, which ended so.
    pub fn count_rescue(&self, split: &Split, from: MemberId, outcome: Outcome) {
        if let Some(moved) = split.moved(from, self.member) {
            moved.rescues.add(outcome);
        }
    }

    /// The member that serves.
    pub fn serving<'a>(&self, snapshot: &'a Snapshot) -> &'a Member {
        snapshot.split(self.split).member(self.member)
    }
}

/// Override, then bucket or draw.
fn choose_pool(
    split: &Split,
    request: &RequestView<'_>,
    key: Option<&[u8]>,
    hash: Option<u64>,
    entropy: &mut Entropy,
) -> (MemberId, Reason) {
    for rule in &split.overrides {
        if (!rule.trusted || request.trusted)
            && rule.path.holds(request.path)
            && rule.conditions.hold(request)
            && (rule.keys.is_empty() || key.is_some_and(|key| rule.keys.iter().any(|k| **k == *key)))
        {
            return (rule.member, Reason::Override);
        }
    }
    let weights = split.weights_now();
    if weights.clone().filter(|w| *w > 0).count() == 1 {
        let only = weights.clone().position(|w| w > 0).unwrap_or(0);
        return (member_id(only), Reason::Only);
    }
    let (place, reason) = match hash {
        Some(hash) => {
            let pools = split.members.iter().map(|m| m.hash).zip(weights);
            (choose(hash, pools), Reason::Bucket)
        }
        None => (draw(entropy.next_u64(), weights), Reason::Random),
    };
    (member_id(place.expect("validated: the weights' sum is above 0")), reason)
}

fn member_id(place: usize) -> MemberId {
    MemberId::try_from(place).expect("validated: a split has few pools")
}

/// What endpoints are balanced by: the pool's own key, else the split's; unrelated to the bucket.
fn endpoint_hash(own: Option<&[Key]>, request: &RequestView<'_>, split_hash: Option<u64>) -> Option<u64> {
    const APART: u64 = 0x5851_f42d_4c95_7f2d;
    match own {
        Some(sources) => sources.iter().find_map(|s| key_from(s, request)).map(|key| key_hash(&key, APART)),
        None => split_hash.map(|hash| mix(hash ^ APART)),
    }
}

#[cfg(test)]
mod tests;
