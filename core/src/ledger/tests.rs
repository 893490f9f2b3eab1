//! The ledger as a whole: what each end counts, and that threads cannot make it count wrong.

mod races;

use super::Side::{Baseline, Candidate};
use super::*;

const SPEC: Spec = Spec { stuck_after_ms: 10_000, max_us: Some(2_000) };
const FINE: Ended = Ended { failure: None, us: Some(1_000) };
const FAILED: Ended = Ended { failure: Some(Failure::Status5xx), us: Some(1_000) };

fn request(ledger: &Ledger, side: Side, key_hash: Option<u64>, ended: Ended) {
    let ticket = ledger.begin(side, key_hash, 0, key_hash.unwrap_or(0));
    assert_eq!(ticket.side(), side);
    assert!(ledger.end(ticket, ended));
}

fn key(user: u64) -> u64 {
    user << 48
}

#[test]
fn a_tick_tells_what_came_since_the_last() {
    let ledger = Ledger::new(SPEC);
    assert_eq!(ledger.tick(0), Tick::default());
    for _ in 0..3 {
        request(&ledger, Candidate, Some(key(1)), FINE);
    }
    request(&ledger, Candidate, Some(key(2)), FAILED);
    request(&ledger, Baseline, None, FAILED);
    request(&ledger, Baseline, None, Ended { failure: None, us: None });
    let candidate = Counts {
        requests: 4,
        failures: 1,
        users: 2,
        failed_users: 1,
        failed_keys: 1,
        timed: 4,
        ..Counts::default()
    };
    let baseline = Counts { requests: 2, users: 2, timed: 1, ..candidate };
    assert_eq!(ledger.tick(100), Tick { candidate, baseline });
    assert_eq!(ledger.tick(200), Tick::default());
    assert_eq!((ledger.timed(Candidate), ledger.timed(Baseline)), (4, 1));
    // The user who failed is at risk no more, on neither side.
    request(&ledger, Candidate, Some(key(1)), FINE);
    request(&ledger, Candidate, Some(key(2)), FAILED);
    request(&ledger, Baseline, Some(key(2)), FAILED);
    let Tick { candidate, baseline } = ledger.tick(300);
    assert_eq!((candidate.requests, candidate.users, candidate.failed_users), (2, 1, 0));
    assert_eq!((baseline.users, baseline.failed_users, baseline.failed_keys), (0, 0, 1));
}

#[test]
fn what_is_slow_depends_on_the_limits() {
    let ledger = Ledger::new(SPEC);
    let took =
        |side, user, us| request(&ledger, side, Some(key(user)), Ended { failure: None, us: Some(us) });
    let read = |counts: Counts| {
        let Counts { timed, over_max, slow_max_keys, timed_ratio, over_ratio, slow_ratio_keys, .. } = counts;
        (timed, over_max, slow_max_keys, timed_ratio, over_ratio, slow_ratio_keys)
    };
    took(Candidate, 1, 2_000);
    took(Candidate, 1, 2_001);
    took(Candidate, 1, 9_000);
    assert_eq!(read(ledger.tick(0).candidate), (3, 2, 1, 0, 0, 0));
    ledger.set_ratio_limit_us(Some(500));
    took(Candidate, 1, 500);
    took(Candidate, 1, 501);
    took(Candidate, 2, 501);
    took(Baseline, 3, 9_000);
    let Tick { candidate, baseline } = ledger.tick(0);
    assert_eq!(read(candidate), (3, 0, 0, 3, 2, 2));
    assert_eq!(read(baseline), (1, 1, 0, 1, 1, 0));
    ledger.set_ratio_limit_us(None);
    took(Candidate, 4, 501);
    assert_eq!(read(ledger.tick(0).candidate), (1, 0, 0, 0, 0, 0));
    let without = Ledger::new(Spec { max_us: None, ..SPEC });
    request(&without, Candidate, None, Ended { failure: None, us: Some(u64::MAX) });
    assert_eq!(read(without.tick(0).candidate), (1, 0, 0, 0, 0, 0));
}

#[test]
fn what_is_stuck_counts_as_failed_and_never_again() {
    let ledger = Ledger::new(SPEC);
    let ended = ledger.begin(Candidate, Some(key(1)), 0, 0);
    let excluded = ledger.begin(Candidate, Some(key(1)), 1_000, 0);
    let _never = ledger.begin(Baseline, None, 2_000, 0);
    assert_eq!(ledger.tick(9_999), Tick::default());
    let Tick { candidate, baseline } = ledger.tick(12_000);
    let stuck =
        Counts { requests: 2, failures: 2, users: 1, failed_users: 1, failed_keys: 1, ..Counts::default() };
    assert_eq!(candidate, stuck);
    assert_eq!(baseline, Counts { requests: 1, failures: 1, ..stuck });
    assert!(!ledger.end(ended, FAILED));
    assert!(!ledger.exclude(excluded, Excluded::ClientGone));
    assert_eq!(ledger.tick(99_000), Tick::default());
    assert_eq!(ledger.timed(Candidate), 0, "how long it took was not known in time");
    assert!(ledger.excluded().iter().all(|(_, count)| *count == 0));
}

#[test]
fn what_is_excluded_is_told_by_reason() {
    let ledger = Ledger::new(SPEC);
    assert!(ledger.exclude(ledger.begin(Candidate, None, 0, 0), Excluded::ClientGone));
    assert!(ledger.exclude(ledger.begin(Baseline, Some(key(1)), 0, 0), Excluded::OwnLimit));
    for _ in 0..3 {
        ledger.excluded_unbegun(Excluded::Override);
    }
    assert_eq!(ledger.tick(99_000), Tick::default());
    let told: Vec<_> = ledger.excluded().into_iter().map(|(why, count)| (why.as_str(), count)).collect();
    assert_eq!(told, [("override", 3), ("client_gone", 1), ("own_limit", 1), ("drained", 0)]);
}

#[test]
fn an_unwatched_request_counts_at_its_end() {
    let ledger = Ledger::new(SPEC);
    let tickets: Vec<Ticket> = (0..10).map(|_| ledger.begin(Candidate, None, 0, 5)).collect();
    assert_eq!(ledger.unwatched(), 2);
    assert_eq!(ledger.tick(10_000).candidate.failures, 8);
    let counted = tickets.into_iter().map(|ticket| ledger.end(ticket, FINE));
    assert_eq!(counted.filter(|first| *first).count(), 2);
    let Counts { requests, failures, .. } = ledger.tick(10_000).candidate;
    assert_eq!((requests, failures), (2, 0));
}

#[test]
fn quantiles_are_by_side() {
    let ledger = Ledger::new(SPEC);
    assert_eq!(ledger.quantile_us(Candidate, 0.5), None);
    for us in 1..=100 {
        request(&ledger, Candidate, None, Ended { failure: None, us: Some(us) });
    }
    ledger.tick(0);
    assert_eq!(ledger.quantile_us(Candidate, 0.5), Some(50));
    assert_eq!(ledger.quantile_us(Candidate, 0.99), Some(99));
    assert_eq!(ledger.quantile_us(Baseline, 0.99), None);
}
