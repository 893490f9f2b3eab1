//! Requests: by route, split and pool, and what was charged to whom.

use std::sync::atomic::Ordering::Relaxed;

use tidegate_core::record::{DURATION_BOUNDS_US, Failure, Tally};
use tidegate_core::snapshot::{Snapshot, Split};

use super::family::{Family, number};

pub(super) fn families(snapshot: &Snapshot) -> Vec<Family> {
    let mut families = answers(snapshot);
    families.extend(charges(snapshot));
    families
}

fn answers(snapshot: &Snapshot) -> Vec<Family> {
    let mut requests = Family::counter("tidegate_requests_total", "Requests answered, by status.");
    let mut durations = Family::histogram(
        "tidegate_request_duration_seconds",
        "From the request's head to the last byte of the answer.",
    );
    let mut add = |route: &str, split: &str, pool: &str, tally: &Tally| {
        let labels = [("route", route), ("split", split), ("pool", pool)];
        for (status, count) in tally.statuses.seen() {
            let code = status.map_or_else(|| "other".to_owned(), |status| status.to_string());
            requests.add(&[labels[0], labels[1], labels[2], ("code", &code)], number(count));
        }
        let (counts, sum_us) = tally.durations.read();
        let above = counts.last().copied().unwrap_or(0);
        if counts.iter().any(|count| *count > 0) {
            let bounds = DURATION_BOUNDS_US.iter().map(|us| seconds(*us));
            durations.add_buckets(&labels, bounds.zip(counts), above, seconds(sum_us));
        }
    };
    for (route, tallies) in snapshot.routes.iter().zip(&snapshot.tallies) {
        let Some(split) = route.split().map(|id| snapshot.split(id)) else {
            tallies.iter().for_each(|tally| add(&route.name, "", "", tally));
            continue;
        };
        for (member, tally) in split.members.iter().zip(tallies.iter()) {
            add(&route.name, &split.name, &member.name, tally);
        }
    }
    add("", "", "", &snapshot.unrouted);
    vec![requests, durations]
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn charges(snapshot: &Snapshot) -> Vec<Family> {
    let mut failures = Family::counter("tidegate_failures_total", "Failures charged to a pool, by reason.");
    let mut shares = Family::gauge("tidegate_split_share", "A pool's share of a split, a fraction of 1.");
    let mut fallbacks = Family::counter(
        "tidegate_fallbacks_total",
        "Requests served by another pool because the chosen one had no usable endpoint.",
    );
    let mut rescues = Family::counter(
        "tidegate_rescues_total",
        "Failed requests sent once more, to another pool, by how that ended.",
    );
    for split in &snapshot.splits {
        for member in &split.members {
            for reason in Failure::ALL {
                let labels = [("split", &*split.name), ("pool", &*member.name), ("reason", reason.as_str())];
                failures.add(&labels, number(member.charges.failures(reason)));
            }
        }
        add_moves(&mut fallbacks, &mut rescues, split);
    }
    for split in snapshot.named_splits() {
        for (member, share) in split.shares() {
            shares.add(&[("split", &split.name), ("pool", &member.name)], share);
        }
    }
    vec![failures, shares, fallbacks, rescues]
}

fn add_moves(fallbacks: &mut Family, rescues: &mut Family, split: &Split) {
    let pairs =
        split.members.iter().flat_map(|from| split.fallback.iter().map(move |to| (from, split.member(*to))));
    for ((from, to), moved) in pairs.zip(&split.moves).filter(|((from, to), _)| from.name != to.name) {
        let labels = [("split", &*split.name), ("from", &*from.name), ("to", &*to.name)];
        fallbacks.add(&labels, number(moved.fallbacks.load(Relaxed)));
        for (outcome, count) in moved.rescues.read().filter(|_| split.rescue) {
            rescues.add(&[labels[0], labels[1], labels[2], ("outcome", outcome)], number(count));
        }
    }
}
