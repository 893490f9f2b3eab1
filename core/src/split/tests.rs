//! The published hash: golden vectors, shares, and who moves when weights change.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::golden::{GOLDEN_HASHES, GOLDEN_POOLS};
use super::*;

type Weights = BTreeMap<String, Weight>;

fn pool_of<'a>(weights: &'a Weights, salt: &str, key: &str) -> &'a str {
    let hash = key_hash(key.as_bytes(), salt_seed(salt));
    let at =
        choose(hash, weights.iter().map(|(name, weight)| (pool_hash(name), *weight))).expect("a sum above 0");
    weights.keys().nth(at).expect("within the map")
}

fn weights(pairs: &[(&str, Weight)]) -> Weights {
    pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

#[test]
fn golden_vectors() {
    for (salt, key, hash) in GOLDEN_HASHES {
        assert_eq!(key_hash(key.as_bytes(), salt_seed(salt)), hash, "salt {salt:?} key {key:?}");
    }
    let split = weights(&[("stable", 95), ("canary", 5)]);
    for (key, pool) in GOLDEN_POOLS {
        assert_eq!(pool_of(&split, "checkout", key), pool, "{key}");
    }
}

#[test]
fn shares_are_met() {
    for pairs in [
        &[("stable", 95), ("canary", 5)][..],
        &[("v1", 1), ("v2", 1), ("v3", 2)],
        &[("a", 999_999), ("b", 1)],
    ] {
        let split = weights(pairs);
        let total: u32 = split.values().sum();
        let keys = 200_000;
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for key in 0..keys {
            *seen.entry(pool_of(&split, "salt", &format!("user-{key}"))).or_default() += 1;
        }
        for (pool, weight) in &split {
            let share = f64::from(*weight) / f64::from(total);
            let got = f64::from(seen.get(pool.as_str()).copied().unwrap_or(0)) / f64::from(keys);
            let sigma = (share * (1.0 - share) / f64::from(keys)).sqrt();
            assert!((got - share).abs() <= 4.5 * sigma, "{pool}: {got} for a share of {share}");
        }
    }
}

#[test]
fn weights_of_zero_and_one_pool() {
    let split = weights(&[("stable", 0), ("canary", 7)]);
    for key in 0..10_000 {
        assert_eq!(pool_of(&split, "s", &key.to_string()), "canary");
    }
    assert_eq!(choose(1, std::iter::empty()), None);
    assert_eq!(choose(1, [(1, 0)].into_iter()), None);
}

#[test]
fn draws_cover_the_range() {
    let weights = [1u32, 0, 3];
    assert_eq!(draw(0, weights.into_iter()), Some(0));
    assert_eq!(draw(u64::MAX / 4 - 1, weights.into_iter()), Some(0));
    assert_eq!(draw(u64::MAX / 4 + 2, weights.into_iter()), Some(2));
    assert_eq!(draw(u64::MAX, weights.into_iter()), Some(2));
    assert_eq!(draw(0, [0u32].into_iter()), None);
}

fn split_strategy() -> impl Strategy<Value = Weights> {
    prop::collection::btree_map("[a-z]{1,6}", 0u32..=1_000_000, 1..6)
        .prop_filter("a sum above 0", |w| w.values().any(|weight| *weight > 0))
}

proptest! {
    #[test]
    fn raising_a_weight_only_moves_users_into_it(split in split_strategy(), pick in any::<prop::sample::Index>(), more in 1u32..1_000_000, keys in prop::collection::vec("[a-z0-9]{1,12}", 50)) {
        let name = split.keys().nth(pick.index(split.len())).unwrap().clone();
        let mut raised = split.clone();
        *raised.get_mut(&name).unwrap() += more;
        for key in &keys {
            let (before, after) = (pool_of(&split, "s", key), pool_of(&raised, "s", key));
            prop_assert!(after == before || after == name);
        }
    }

    #[test]
    fn a_common_factor_changes_nothing(split in split_strategy(), factor in 2u32..1000, key in "[a-z0-9]{1,12}") {
        let scaled: Weights = split.iter().map(|(n, w)| (n.clone(), w / 1000 * factor)).collect();
        let base: Weights = split.iter().map(|(n, w)| (n.clone(), w / 1000)).collect();
        prop_assume!(base.values().any(|w| *w > 0));
        prop_assert_eq!(pool_of(&base, "s", &key), pool_of(&scaled, "s", &key));
    }

    #[test]
    fn draws_never_fall_on_a_weight_of_zero(random: u64, weights in prop::collection::vec(0u32..5, 1..6)) {
        match draw(random, weights.iter().copied()) {
            Some(at) => prop_assert!(weights[at] > 0),
            None => prop_assert!(weights.iter().all(|w| *w == 0)),
        }
    }
}
