//! The map of users: a story of one user, and any story of many against a plain model.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::Side::{Baseline, Candidate};
use super::*;

const FINE: Came = Came { failed: false, over_max: false, over_ratio: false };
const FAILED: Came = Came { failed: true, over_max: false, over_ratio: false };
const SLOW: Came = Came { failed: false, over_max: true, over_ratio: false };
const SLOWER: Came = Came { failed: false, over_max: true, over_ratio: true };

/// What is added, as letters: user, failed user, failed key, slow by the limit, slow by the ratio.
fn letters(adds: Adds) -> String {
    let all = [
        (adds.user, 'u'),
        (adds.failed_user, 'f'),
        (adds.failed_key, 'k'),
        (adds.slow_max_key, 'm'),
        (adds.slow_ratio_key, 'r'),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, letter)| letter).collect()
}

fn story(key: Option<u64>, requests: &[(u32, Side, Came, &str)]) {
    let users = Users::new();
    for (at, (tick, side, came, adds)) in requests.iter().enumerate() {
        assert_eq!(letters(users.note(key, *side, *came, *tick)), *adds, "request {at}");
    }
}

#[test]
fn a_user_counts_once_a_tick_until_it_fails() {
    story(
        Some(1 << 50),
        &[
            (0, Candidate, FINE, "u"),
            (0, Candidate, FINE, ""),
            (0, Baseline, FINE, ""),
            (1, Baseline, FINE, "u"),
            (1, Candidate, FINE, ""),
            (2, Candidate, FAILED, "ufk"),
            (2, Candidate, FAILED, ""),
            (3, Candidate, FINE, ""),
            (3, Baseline, FINE, ""),
            (4, Baseline, FAILED, "k"),
            (5, Baseline, FAILED, ""),
        ],
    );
}

#[test]
fn a_user_seen_in_this_tick_may_fail_in_it() {
    story(Some(0), &[(9, Baseline, FINE, "u"), (9, Candidate, FAILED, "fk"), (9, Baseline, FINE, "")]);
    story(Some(u64::MAX), &[(9, Baseline, FAILED, "ufk"), (9, Candidate, FAILED, "k")]);
}

#[test]
fn a_user_is_slow_once_and_only_in_the_candidate() {
    story(
        Some(7),
        &[
            (0, Baseline, SLOWER, "u"),
            (0, Candidate, SLOW, "m"),
            (1, Candidate, SLOWER, "ur"),
            (1, Candidate, SLOWER, ""),
            (1, Candidate, FAILED, "fk"),
        ],
    );
}

#[test]
fn a_request_without_a_key_is_a_user() {
    let bad = Came { failed: true, ..SLOWER };
    story(
        None,
        &[
            (0, Candidate, FINE, "u"),
            (0, Candidate, FINE, "u"),
            (0, Candidate, bad, "ufkmr"),
            (0, Candidate, bad, "ufkmr"),
            (0, Baseline, bad, "ufk"),
        ],
    );
}

#[test]
fn stamps_go_round() {
    let round = 1 << (32 - STAMP_SHIFT);
    let story_of = |tick, adds| {
        let users = Users::new();
        assert_eq!(letters(users.note(Some(0), Candidate, FINE, 5)), "u");
        assert_eq!(letters(users.note(Some(0), Candidate, FINE, tick)), adds, "tick {tick}");
    };
    story_of(u32::MAX, "u");
    story_of(round + 4, "u");
    story_of(round + 5, "");
    story_of(round + 6, "u");
}

/// The same in sets.
#[derive(Default)]
struct Model {
    failed: HashMap<u16, HashSet<bool>>,
    slow_max: HashSet<u16>,
    slow_ratio: HashSet<u16>,
    active: HashSet<(u32, u16)>,
}

impl Model {
    fn note(&mut self, user: u16, side: Side, came: Came, tick: u32) -> Adds {
        let is_candidate = side == Candidate;
        let had_failed = self.failed.contains_key(&user);
        Adds {
            user: !had_failed && self.active.insert((tick, user)),
            failed_user: !had_failed && came.failed,
            failed_key: came.failed && self.failed.entry(user).or_default().insert(is_candidate),
            slow_max_key: is_candidate && came.over_max && self.slow_max.insert(user),
            slow_ratio_key: is_candidate && came.over_ratio && self.slow_ratio.insert(user),
        }
    }
}

/// A request: its user, its side, what came of it, and whether a tick passed before it.
fn request() -> impl Strategy<Value = (u16, bool, Came, bool)> {
    let came = (prop::bool::weighted(0.2), any::<bool>(), any::<bool>())
        .prop_map(|(failed, over_max, over_ratio)| Came { failed, over_max, over_ratio });
    (0u16..12, any::<bool>(), came, prop::bool::weighted(0.1))
}

proptest! {
    #[test]
    fn any_story_is_told_as_by_sets(
        requests in prop::collection::vec(request(), 0..300),
        rest_of_key in 0u64..1 << 48,
        first_tick in any::<u32>(),
    ) {
        let (users, mut model, mut tick) = (Users::new(), Model::default(), first_tick);
        for (user, is_candidate, came, passes) in requests {
            tick = tick.wrapping_add(u32::from(passes));
            let side = if is_candidate { Candidate } else { Baseline };
            // Users are told apart by the highest bits alone.
            let key = u64::from(user) << 48 | rest_of_key;
            prop_assert_eq!(users.note(Some(key), side, came, tick), model.note(user, side, came, tick));
        }
    }
}
