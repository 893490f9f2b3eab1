//! A sample of recent requests, kept to say what another table would do to them.
//!
//! Bounded in rate, number and size: a few hundred a second at most are offered a place, a thousand
//! are kept, and none with a large head. For every other request it costs one load and one
//! comparison. [`compare`] runs the sample through [`crate::decide`], the function that routes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, PROXY_AUTHORIZATION};
use parking_lot::Mutex;

use crate::decide::decide;
use crate::pick::Entropy;
use crate::request::RequestView;
use crate::snapshot::Snapshot;

/// Requests kept.
pub const KEPT: usize = 1_000;
/// One request is kept in so many milliseconds at most.
const EVERY_MS: u64 = 5;
/// A request whose headers are longer than this, in bytes, is not kept.
const MAX_HEADERS: usize = 4 * 1024;

/// A request that was routed lately.
#[derive(Clone, Debug)]
pub struct Seen {
    method: Method,
    host: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
    headers: HeaderMap,
    client: IpAddr,
    trusted: bool,
}

impl Seen {
    /// Copies what decisions look at; `None` when that is too much. Credentials are left out.
    fn of(view: &RequestView<'_>) -> Option<Self> {
        if view.headers.length() > MAX_HEADERS
            || view.path.len() + view.query.map_or(0, str::len) > MAX_HEADERS
        {
            return None;
        }
        let mut headers = view.headers.to_map();
        headers.remove(AUTHORIZATION);
        headers.remove(PROXY_AUTHORIZATION);
        Some(Self {
            method: view.method.clone(),
            host: view.host.into(),
            path: view.path.into(),
            query: view.query.map(Into::into),
            headers,
            client: view.client,
            trusted: view.trusted,
        })
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: (&self.headers).into(),
            client: self.client,
            trusted: self.trusted,
        }
    }
}

/// The sample.
#[derive(Debug, Default)]
pub struct Recent {
    next_ms: AtomicU64,
    kept: Mutex<VecDeque<Seen>>,
}

impl Recent {
    /// Offers a request to the sample; nearly always this does nothing.
    pub fn offer(&self, view: &RequestView<'_>, now_ms: u64) {
        let due = self.next_ms.load(Relaxed);
        if now_ms < due || self.next_ms.compare_exchange(due, now_ms + EVERY_MS, Relaxed, Relaxed).is_err() {
            return;
        }
        // Someone who reads the sample must not hold up a request.
        if let (Some(seen), Some(mut kept)) = (Seen::of(view), self.kept.try_lock()) {
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(seen);
        }
    }

    /// The sample, oldest first.
    pub fn all(&self) -> Vec<Seen> {
        self.kept.lock().iter().cloned().collect()
    }
}

/// Where a request goes: a route and a pool by name; `None` where there is none.
pub type Place = (Option<String>, Option<String>);

/// What another table would do to recent requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Requests looked at.
    pub requests: usize,
    /// Of these, those that would go elsewhere.
    pub moved: usize,
    /// How many from where to where.
    pub moves: BTreeMap<(Place, Place), usize>,
}

/// Holds recent requests against two tables. A request without a key is drawn with the same number
/// in both, so that only what the tables differ in moves it.
pub fn compare(recent: &[Seen], now: &Snapshot, then: &Snapshot, now_ms: u64) -> Comparison {
    let mut comparison = Comparison { requests: recent.len(), ..Comparison::default() };
    for (draw, seen) in (0..).zip(recent) {
        let (before, after) = (place(now, seen, draw, now_ms), place(then, seen, draw, now_ms));
        if before != after {
            comparison.moved += 1;
            *comparison.moves.entry((before, after)).or_default() += 1;
        }
    }
    comparison
}

fn place(table: &Snapshot, seen: &Seen, draw: u64, now_ms: u64) -> Place {
    let Some(decided) = decide(table, &seen.view(), now_ms, &mut Entropy::new(draw)) else {
        return (None, None);
    };
    let sent = decided.forwarded().filter(|decision| decision.endpoint.is_some());
    let pool = sent.map(|decision| decision.serving(table).name.to_string());
    (Some(table.route(decided.taken().route).name.to_string()), pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ask, snapshot};

    const FILE: &str = "
        [pools.stable]
        endpoints = ['127.0.0.1:1']
        [pools.canary]
        endpoints = ['127.0.0.1:2']
        [splits.shop]
        weights = { stable = 90, canary = 10 }
        key = ['header:user']
        [[routes]]
        name = 'shop'
        split = 'shop'
    ";

    fn sample() -> Recent {
        let recent = Recent::default();
        for user in 0..400u64 {
            let asked = ask("GET shop/").with("user", &format!("user-{user}"));
            recent.offer(&asked.view(), user * EVERY_MS);
        }
        recent
    }

    #[test]
    fn the_same_table_moves_nobody() {
        let table = snapshot(FILE);
        let comparison = compare(&sample().all(), &table, &table, 0);
        assert_eq!((comparison.requests, comparison.moved), (400, 0));
    }

    #[test]
    fn a_raised_weight_moves_users_only_into_its_pool() {
        let (now, then) = (snapshot(FILE), snapshot(&FILE.replace("canary = 10", "canary = 90")));
        let comparison = compare(&sample().all(), &now, &then, 0);
        let place = |pool: &str| (Some("shop".to_owned()), Some(pool.to_owned()));
        assert_eq!(comparison.moves.keys().collect::<Vec<_>>(), [&(place("stable"), place("canary"))]);
        assert!((120..200).contains(&comparison.moved), "{} of 400", comparison.moved);
    }

    #[test]
    fn requests_without_a_route_are_told() {
        let (now, then) =
            (snapshot(FILE), snapshot(&FILE.replace("name = 'shop'", "name = 'shop'\nhosts = ['x']")));
        let comparison = compare(&sample().all(), &now, &then, 0);
        assert_eq!(comparison.moved, 400);
        assert!(comparison.moves.keys().all(|(_, after)| *after == (None, None)));
    }

    #[test]
    fn the_sample_is_bounded() {
        let recent = Recent::default();
        let large = ask("GET shop/").with("user", &"x".repeat(MAX_HEADERS));
        recent.offer(&large.view(), 0);
        assert!(recent.all().is_empty());
        let secret = ask("GET shop/").with("authorization", "Bearer x");
        for at in 0..3 * KEPT as u64 {
            recent.offer(&secret.view(), 1_000 + at);
        }
        let kept = recent.all();
        assert_eq!(kept.len(), 3 * KEPT / 5, "one in five milliseconds");
        assert!(kept.iter().all(|seen| seen.headers.is_empty()), "credentials are left out");
    }
}
