//! Virtual users: who asks next, who has a broken account, and in whose bucket each one is.
//!
//! The first user asks most, the n-th `n^-skew` times as often (Zipf). A user's bucket is that of the
//! published hash, with a salt of its own in each run, so that a run is one of the ways in which the
//! same users can fall to the pools.

use std::sync::Arc;

use super::random::Random;
use crate::split;
use crate::units::{MAX_WEIGHT, Weight};

/// Users as a scenario describes them.
#[derive(Clone, Debug)]
pub struct Users {
    /// Chances that add up, in millionths of a millionth of the whole.
    cumulative: Arc<[f64]>,
    broken: f64,
}

impl Users {
    /// So many users, at least one. The n-th asks `n^-skew` times as often as the first; a part
    /// `broken` (a fraction of 1) has an account with which every request fails, in either pool.
    pub fn new(number: u32, skew: f64, broken: f64) -> Self {
        let mut sum = 0.0;
        let add = |at: u32| {
            sum += f64::from(at + 1).powf(-skew);
            sum
        };
        Self { cumulative: (0..number.max(1)).map(add).collect(), broken }
    }
}

/// A user's account and bucket in one run.
#[derive(Clone, Copy, Debug)]
struct User {
    key_hash: u64,
    is_broken: bool,
    /// With the share for which it was looked up.
    bucket: Option<(Weight, bool)>,
}

/// Users in one run.
pub(super) struct Crowd {
    users: Users,
    salt: u64,
    pools: [u64; 2],
    known: Vec<Option<User>>,
}

impl Crowd {
    pub(super) fn new(users: &Users, seed: u64) -> Self {
        Self {
            users: users.clone(),
            salt: split::salt_seed(&format!("run {seed}")),
            pools: [split::pool_hash("canary"), split::pool_hash("stable")],
            known: vec![None; users.cumulative.len()],
        }
    }

    /// Who asks.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let chances = &self.users.cumulative;
        let total = chances.last().copied().unwrap_or(1.0);
        let at = random.unit() * total;
        chances.partition_point(|sum| *sum < at).min(chances.len() - 1)
    }

    /// A user's key hash, whether its account is broken, and whether it is the candidate's at this share.
    pub(super) fn look_up(&mut self, at: usize, share: f64) -> (u64, bool, bool) {
        let (salt, broken) = (self.salt, self.users.broken);
        let user = self.known[at].get_or_insert_with(|| {
            let key_hash = split::key_hash(format!("user-{at}").as_bytes(), salt);
            // Drawn apart from the bucket: an account is broken whatever pool it falls to.
            let is_broken = Random::new(key_hash).happens(broken);
            User { key_hash, is_broken, bucket: None }
        });
        let weight = weight(share);
        let candidate = match user.bucket {
            Some((of, candidate)) if of == weight => candidate,
            _ => {
                let pools = self.pools.into_iter().zip([weight, MAX_WEIGHT - weight]);
                split::choose(user.key_hash, pools) == Some(0)
            }
        };
        user.bucket = Some((weight, candidate));
        (user.key_hash, user.is_broken, candidate)
    }

    /// A user of the candidate at this share, if there is one.
    pub(super) fn of_candidate(&mut self, share: f64) -> Option<usize> {
        (0..self.known.len()).find(|at| self.look_up(*at, share).2)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
fn weight(share: f64) -> Weight {
    (share.clamp(0.0, 1.0) * f64::from(MAX_WEIGHT)).round() as Weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_users_ask_most() {
        let users = Users::new(1_000, 1.0, 0.0);
        let (crowd, mut random) = (Crowd::new(&users, 1), Random::new(1));
        let mut asked = vec![0u32; 1_000];
        for _ in 0..100_000 {
            asked[crowd.draw(&mut random)] += 1;
        }
        assert!((12_000..15_000).contains(&asked[0]), "{}", asked[0]);
        assert!((6_000..7_500).contains(&asked[1]), "{}", asked[1]);
        assert!(asked[900..].iter().sum::<u32>() > 500);
    }

    #[test]
    fn buckets_are_shares_and_only_grow_with_them() {
        let mut crowd = Crowd::new(&Users::new(20_000, 0.0, 0.1), 2);
        let mut of = |share| (0..20_000).filter(|at| crowd.look_up(*at, share).2).collect::<Vec<_>>();
        let (five, half, none, all) = (of(0.05), of(0.5), of(0.0), of(1.0));
        assert!((900..1_100).contains(&five.len()) && (9_700..10_300).contains(&half.len()));
        assert!(five.iter().all(|at| half.contains(at)));
        assert_eq!((none.len(), all.len()), (0, 20_000));
        let broken = (0..20_000).filter(|at| crowd.look_up(*at, 0.5).1).count();
        assert!((1_850..2_150).contains(&broken), "{broken}");
        assert!(crowd.of_candidate(0.05).is_some() && crowd.of_candidate(0.0).is_none());
    }

    #[test]
    fn every_run_has_its_own_buckets() {
        let users = Users::new(1_000, 1.0, 0.1);
        let bucket = |seed| {
            let mut crowd = Crowd::new(&users, seed);
            (0..1_000).map(|at| crowd.look_up(at, 0.5).2).collect::<Vec<_>>()
        };
        assert_ne!(bucket(1), bucket(2));
        assert_eq!(bucket(1), bucket(1));
    }
}
