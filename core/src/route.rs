//! Which route takes a request: the Gateway API's precedence, indexed.
//!
//! A host finds its table through a hash map, a path through a hash map (exact) or a radix tree
//! (prefixes), so that routes which cannot match cost nothing. [`RouteTable::rejections`] is the
//! same rule written without an index: `explain` shows it, and a property test holds the two
//! against each other. Stage before: [`crate::request`]; next: [`crate::split`].

mod index;

use std::cmp::Ordering;
use std::collections::hash_map::Entry;

use ahash::AHashMap;

use crate::condition::{Conditions, PathTest};
use crate::config;
use crate::request::{RequestView, normalise_host};
use index::PathIndex;

/// A route's place in the configuration file, from 0.
pub type RouteId = u32;

/// A pattern that a request's host is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostTest {
    /// This host.
    Exact(Box<str>),
    /// One label or more in front of this, which is kept without `*.`.
    Wildcard(Box<str>),
    /// Any host.
    Any,
}

impl HostTest {
    fn compile(written: &str) -> Self {
        // Normalised as a request's host is; validation lets no port through.
        match written.strip_prefix("*.") {
            Some(suffix) => Self::Wildcard(normalise_host(suffix).into()),
            None => Self::Exact(normalise_host(written).into()),
        }
    }

    fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Wildcard(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            Self::Any => true,
        }
    }

    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
            Self::Any => (2, 0),
        }
    }
}

impl std::fmt::Display for HostTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// One way to reach a route: a host and a match of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The route.
    pub route: RouteId,
    /// Which of the route's matches, from 0.
    pub number: u32,
    /// The host pattern.
    pub host: HostTest,
    /// The path condition.
    pub path: PathTest,
    /// All other conditions.
    pub conditions: Conditions,
}

impl Candidate {
    /// The contract's total order: the candidate that is tried first is the least.
    fn precedence(&self, other: &Self) -> Ordering {
        let key = |c: &Self| (c.host.rank(), c.path.rank(), c.conditions.rank(), c.route, c.number);
        key(self).cmp(&key(other))
    }

    /// Why this candidate does not take the request; `None` when it would.
    fn failing(&self, request: &RequestView<'_>) -> Option<String> {
        if !self.host.holds(request.host) {
            return Some(format!("host {} is not {}", request.host, self.host));
        }
        if !self.path.holds(request.path) {
            return Some(format!("path {} is not {}", request.path, self.path));
        }
        self.conditions.failing(request)
    }
}

/// All routes, indexed.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Every candidate in the order in which they are tried.
    candidates: Vec<Candidate>,
    exact_hosts: AHashMap<Box<str>, PathIndex>,
    wildcard_hosts: AHashMap<Box<str>, PathIndex>,
    /// Length of the longest key of `wildcard_hosts`.
    longest_wildcard: usize,
    any_host: PathIndex,
}

impl RouteTable {
    /// Compiles validated routes.
    pub fn compile(routes: &[config::Route]) -> Self {
        let mut candidates: Vec<Candidate> =
            (0..).zip(routes).flat_map(|(id, r)| candidates_of(id, r)).collect();
        candidates.sort_by(Candidate::precedence);
        let mut table = Self::default();
        for (at, candidate) in (0..).zip(&candidates) {
            let index = match &candidate.host {
                HostTest::Exact(host) => table.exact_hosts.entry(host.clone()).or_default(),
                HostTest::Wildcard(suffix) => {
                    table.longest_wildcard = table.longest_wildcard.max(suffix.len());
                    table.wildcard_hosts.entry(suffix.clone()).or_default()
                }
                HostTest::Any => &mut table.any_host,
            };
            index.insert(at, &candidate.path);
        }
        for index in table.indexes_mut() {
            index.link();
        }
        table.candidates = candidates;
        table
    }

    fn indexes_mut(&mut self) -> impl Iterator<Item = &mut PathIndex> {
        self.exact_hosts
            .values_mut()
            .chain(self.wildcard_hosts.values_mut())
            .chain(std::iter::once(&mut self.any_host))
    }

    /// The candidate that takes the request, if any.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if let Some(found) = self.exact_hosts.get(request.host).and_then(|i| self.find_in(i, request)) {
            return Some(found);
        }
        if !self.wildcard_hosts.is_empty() {
            let indexes = self.wildcard_suffixes(request.host).filter_map(|s| self.wildcard_hosts.get(s));
            for index in indexes {
                if let Some(found) = self.find_in(index, request) {
                    return Some(found);
                }
            }
        }
        self.find_in(&self.any_host, request)
    }

    /// What a wildcard may stand before in `host`, the longest first. No more than the longest
    /// wildcard is looked at, so that a host of a thousand dots costs no thousand long hashes.
    fn wildcard_suffixes<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let first_dot = host.len().saturating_sub(self.longest_wildcard + 1).max(1);
        (first_dot..host.len()).filter(|at| host.as_bytes()[*at] == b'.').map(|dot| &host[dot + 1..])
    }

    fn find_in<'a>(&'a self, index: &'a PathIndex, request: &RequestView<'_>) -> Option<&'a Candidate> {
        index
            .find(request.path, |at| {
                let candidate = &self.candidates[at as usize];
                candidate.conditions.hold(request)
            })
            .map(|at| &self.candidates[at as usize])
    }

    /// Every candidate in the order in which they are tried.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// For every route but the winner, why it does not take the request, in the order of trying.
    /// Of several matches that fail the one tried first is named.
    pub fn rejections(&self, request: &RequestView<'_>, winner: Option<RouteId>) -> Vec<(RouteId, String)> {
        let mut place_of = AHashMap::new();
        let mut rejected: Vec<(RouteId, Option<String>)> = Vec::new();
        for candidate in self.candidates.iter().filter(|c| Some(c.route) != winner) {
            match place_of.entry(candidate.route) {
                Entry::Vacant(vacant) => {
                    vacant.insert(rejected.len());
                    rejected.push((candidate.route, candidate.failing(request)));
                }
                Entry::Occupied(place) => {
                    let why = &mut rejected[*place.get()].1;
                    if why.is_some() && candidate.failing(request).is_none() {
                        *why = None;
                    }
                }
            }
        }
        let outranked = || "a more specific route wins".to_owned();
        rejected.into_iter().map(|(route, why)| (route, why.unwrap_or_else(outranked))).collect()
    }

    /// The winner by the rule alone, without an index: the model that [`Self::find`] must agree with.
    pub fn find_by_rule(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        self.candidates.iter().find(|c| c.failing(request).is_none())
    }
}

fn candidates_of(route: RouteId, written: &config::Route) -> Vec<Candidate> {
    let hosts: Vec<HostTest> = if written.hosts.is_empty() {
        vec![HostTest::Any]
    } else {
        written.hosts.iter().map(|h| HostTest::compile(h)).collect()
    };
    let everything = [config::Match::default()];
    let matches = if written.matches.is_empty() { &everything[..] } else { &written.matches };
    let mut candidates = Vec::with_capacity(hosts.len() * matches.len());
    for host in &hosts {
        for (number, one) in (0..).zip(matches) {
            candidates.push(Candidate {
                route,
                number,
                host: host.clone(),
                path: PathTest::compile(one.path.as_ref()),
                conditions: Conditions::of_match(one),
            });
        }
    }
    candidates
}

#[cfg(test)]
mod tests;
