//! Key to pool: the published hash, nothing else.
//!
//! Weighted rendezvous hashing, version `v1` of the contract: raising a pool's weight only moves
//! users into it, lowering it only moves users out of it, and neither the order of pools nor a
//! common factor of the weights matters. The constants are SplitMix64's finaliser (Steele, Lea,
//! Flood 2014). Never change what is here: golden vectors in the tests are a promise to users.
//! Stage before: [`crate::route`]; next: [`crate::pick`].

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::units::Weight;

/// The seed that keeps one split's buckets apart from another's.
pub fn salt_seed(salt: &str) -> u64 {
    xxh3_64_with_seed(salt.as_bytes(), 0)
}

/// The hash of a user's key under a salt's seed.
pub fn key_hash(key: &[u8], salt_seed: u64) -> u64 {
    xxh3_64_with_seed(key, salt_seed)
}

/// The hash of a pool's name.
pub fn pool_hash(name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), 0)
}

/// SplitMix64's finaliser: every input bit moves every output bit.
pub fn mix(mut z: u64) -> u64 {
    z ^= z >> 30;
    z = z.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A pool's score for a key: an exponential deviate scaled by the weight, so that the highest score
/// falls to each pool with the probability of its share.
pub fn score(key_hash: u64, pool_hash: u64, weight: Weight) -> f64 {
    let x = mix(key_hash ^ pool_hash);
    let unit = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

/// The place of the pool with the highest score among `(hash, weight)`; weights of 0 take no part.
/// A tie goes to the first, so pools are given sorted by name.
pub fn choose(key_hash: u64, pools: impl Iterator<Item = (u64, Weight)>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, (pool, weight)) in pools.enumerate() {
        if weight == 0 {
            continue;
        }
        let score = score(key_hash, pool, weight);
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((at, score));
        }
    }
    best.map(|(at, _)| at)
}

/// A place drawn by share; `random` is uniform over all of `u64`.
pub fn draw(random: u64, weights: impl Iterator<Item = Weight> + Clone) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut rest = u64::try_from((u128::from(random) * u128::from(total)) >> 64).unwrap_or(u64::MAX);
    for (at, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if rest < weight {
            return Some(at);
        }
        rest -= weight;
    }
    None
}

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;
