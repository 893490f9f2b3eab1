//! Pool to endpoint. Pure but for reading cells: entropy and time are arguments.
//!
//! A pick prefers endpoints that are up; those not checked yet are used only while there is none. In a
//! pool that panics all are as good, but for those that drain. A retry passes the endpoint it comes
//! from, which is then taken only as a last resort. Weights are taken in thousandths, so that an
//! endpoint that warms up can have a part of its own. Stage before: [`crate::split`]; next: the proxy
//! connects.

use std::cell::OnceCell;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::config::Balance;
use crate::pool::{Endpoint, Pool, Usable};
use crate::split::{mix, score};
use crate::warming::FULL;

/// An endpoint takes at most this many times its part of the pool's load, when balanced by hash
/// (Mirrokni, Thorup, Zadimoghaddam: consistent hashing with bounded loads), in percent.
const HASH_LOAD_PERCENT: u64 = 125;

/// Draws tried before the exact way, which looks at every endpoint.
const QUICK_DRAWS: usize = 6;

/// A stream of uniform numbers (SplitMix64), seeded by the caller for one decision.
#[derive(Clone, Copy, Debug)]
pub struct Entropy(u64);

impl Entropy {
    /// A stream from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// What a pick depends on beside the pool.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// For balancing by hash; absent = at random.
    pub hash: Option<u64>,
    /// The monotonic clock.
    pub now_ms: u64,
    /// An endpoint to take only if there is no other.
    pub avoid: Option<usize>,
}

/// Credits of smooth weighted round robin, by an endpoint's place. They outlive a snapshot while
/// the pool's endpoints and weights stay.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Vec<i64>>);

impl Turns {
    /// Credits for `pool`, which takes over from `before`.
    ///
    /// Nobody's credit is carried beyond the new sum of the weights: with a debt of a million an
    /// endpoint whose weight is now 1 would wait for a million turns.
    pub(crate) fn carried(before: Option<&Pool>, endpoints: &[Endpoint]) -> Arc<Self> {
        let shape = |endpoints: &[Endpoint]| -> Vec<_> {
            endpoints.iter().map(|e| (e.address().clone(), e.weight)).collect()
        };
        let Some(before) = before else { return Arc::new(Self(Mutex::new(vec![0; endpoints.len()]))) };
        if shape(&before.endpoints) == shape(endpoints) {
            return Arc::clone(&before.turns);
        }
        let total: i64 = endpoints.iter().map(|e| i64::from(e.weight) * i64::from(FULL)).sum();
        let credits = before.turns.0.lock();
        let known: AHashMap<_, _> =
            before.endpoints.iter().zip(credits.iter()).map(|(e, credit)| (e.address(), *credit)).collect();
        let carried = |e: &Endpoint| known.get(e.address()).copied().unwrap_or(0).clamp(-total, total);
        Arc::new(Self(Mutex::new(endpoints.iter().map(carried).collect())))
    }
}

/// The place of the endpoint that takes a request; `None` when none is usable.
pub fn pick(pool: &Pool, wish: Wish, entropy: &mut Entropy) -> Option<usize> {
    if pool.draining.is_some() {
        return None;
    }
    if wish.avoid.is_some()
        && let Some(other) = pick_of(pool, wish, entropy)
    {
        return Some(other);
    }
    pick_of(pool, Wish { avoid: None, ..wish }, entropy)
}

/// The place of the endpoint that takes a copy of a request; `None` when none is usable.
///
/// It is drawn by weight, whatever the pool's balance: a copy takes no turn and counts nowhere, so that
/// requests are balanced as if there were no copies.
pub fn pick_aside(pool: &Pool, now_ms: u64, entropy: &mut Entropy) -> Option<usize> {
    [Usable::Yes, Usable::LastResort].into_iter().find_map(|wanted| {
        let fits = |at: usize| pool.usable(&pool.endpoints[at], now_ms) == wanted;
        Choice { pool, fits: &fits, now_ms }.at_random(&fits, entropy)
    })
}

fn pick_of(pool: &Pool, wish: Wish, entropy: &mut Entropy) -> Option<usize> {
    // Looked at only once an endpoint is met that is not up, for it means a look at all of them.
    let panics = OnceCell::new();
    let panics = || *panics.get_or_init(|| pool.panics(wish.now_ms));
    // The last resort takes both: an endpoint that came up between the two looks is as good.
    [&[Usable::Yes][..], &[Usable::LastResort, Usable::Yes]].into_iter().find_map(|wanted| {
        let fits = |at: usize| {
            let endpoint = &pool.endpoints[at];
            let is_wanted = || wanted.contains(&pool.usable(endpoint, wish.now_ms));
            Some(at) != wish.avoid && (is_wanted() || !pool.drains(endpoint) && panics())
        };
        let choice = Choice { pool, fits: &fits, now_ms: wish.now_ms };
        match (pool.balance, wish.hash) {
            (Balance::LeastRequest, _) => choice.least_request(entropy),
            (Balance::RoundRobin, _) => choice.round_robin(),
            (Balance::Hash, Some(hash)) => choice.by_hash(hash),
            (Balance::Random | Balance::Hash, _) => choice.at_random(&fits, entropy),
        }
    })
}

/// What is chosen from: the endpoints of a pool that fit, each with its weight of this moment.
struct Choice<'a, F> {
    pool: &'a Pool,
    fits: &'a F,
    now_ms: u64,
}

impl<F: Fn(usize) -> bool> Choice<'_, F> {
    /// An endpoint's weight, in thousandths.
    fn weight(&self, at: usize) -> u32 {
        let endpoint = &self.pool.endpoints[at];
        // At most a million times a thousand.
        endpoint.weight * self.pool.part(&endpoint.cell, self.now_ms)
    }

    fn fitting(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.pool.endpoints.iter().enumerate().filter(|(at, _)| (self.fits)(*at))
    }

    /// Of two drawn by weight, the one with fewer requests in flight for its weight; else the first, so
    /// that weights are met while little is in flight.
    fn least_request(&self, entropy: &mut Entropy) -> Option<usize> {
        let first = self.at_random(self.fits, entropy)?;
        if self.pool.endpoints.len() == 1 {
            return Some(first);
        }
        let second = self.at_random(&|at| at != first && (self.fits)(at), entropy).unwrap_or(first);
        let load =
            |at: usize| f64::from(self.pool.endpoints[at].cell.in_flight()) / f64::from(self.weight(at));
        Some(if load(second) < load(first) { second } else { first })
    }

    /// Drawn by weight. A few draws over all endpoints are nearly always enough; else the exact way. One
    /// that warms up passes up a draw as often as a part of its weight is missing.
    fn at_random(&self, fits: &impl Fn(usize) -> bool, entropy: &mut Entropy) -> Option<usize> {
        let total = *self.pool.cumulative.last()?;
        for _ in 0..QUICK_DRAWS {
            let target = below(total, entropy.next_u64());
            let at = self.pool.cumulative.partition_point(|sum| *sum <= target);
            let part = self.pool.part(&self.pool.endpoints[at].cell, self.now_ms);
            if fits(at) && (part == FULL || below(u64::from(FULL), entropy.next_u64()) < u64::from(part)) {
                return Some(at);
            }
        }
        // In one pass, since what fits may change between two: each takes the place of those before it
        // with the probability of its weight among them and itself.
        let mut chosen = None;
        let mut total = 0;
        for at in (0..self.pool.endpoints.len()).filter(|at| fits(*at)) {
            let weight = u64::from(self.weight(at));
            total += weight;
            if below(total, entropy.next_u64()) < weight {
                chosen = Some(at);
            }
        }
        chosen
    }

    /// Smooth weighted round robin, as nginx has it: the credit of each grows by its weight, the one
    /// with the most is taken and pays the sum.
    fn round_robin(&self) -> Option<usize> {
        let mut credits = self.pool.turns.0.lock();
        let mut best: Option<usize> = None;
        let mut total = 0;
        for (at, _) in self.fitting() {
            let weight = i64::from(self.weight(at));
            credits[at] += weight;
            total += weight;
            if best.is_none_or(|b| credits[at] > credits[b]) {
                best = Some(at);
            }
        }
        credits[best?] -= total;
        best
    }

    /// Weighted rendezvous among the endpoints that are not above their bound.
    ///
    /// One is always below it when counts stand still. While others count up between two looks there
    /// may be none; then the bound is ignored, for the pool does have a usable endpoint.
    fn by_hash(&self, hash: u64) -> Option<usize> {
        let (load, weight) = self.fitting().fold((1u64, 0u64), |(load, weight), (at, e)| {
            (load + u64::from(e.cell.in_flight()), weight + u64::from(self.weight(at)))
        });
        // An endpoint holds less than its part of the load, by weight, with the surplus.
        let has_room = |at: usize, e: &Endpoint| {
            let held = u128::from(e.cell.in_flight()) * u128::from(weight.max(1)) * 100;
            held < u128::from(load) * u128::from(self.weight(at)) * u128::from(HASH_LOAD_PERCENT)
        };
        let mut best: Option<(usize, (bool, f64))> = None;
        for (at, endpoint) in self.fitting() {
            let rank = (has_room(at, endpoint), score(hash, endpoint.hash, self.weight(at)));
            if best.is_none_or(|(_, highest)| rank > highest) {
                best = Some((at, rank));
            }
        }
        best.map(|(at, _)| at)
    }
}

/// A number under `end`, from a uniform one.
fn below(end: u64, random: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(end)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
