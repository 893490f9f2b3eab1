//! The candidates of one host, found by path.
//!
//! Exact paths are in a hash map, prefixes in a radix tree whose entries know the next shorter
//! prefix, so that a request walks only prefixes that match it. Regular expressions are tried one
//! by one: each may match any path.

use ahash::AHashMap;
use patricia_tree::PatriciaMap;
use regex::bytes::Regex;

use crate::condition::{PathTest, has_prefix};

/// A candidate's place in the table's list, which is in order of precedence.
type Place = u32;

/// Candidates of one host by path. Places are inserted in order of precedence.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: AHashMap<Box<str>, Vec<Place>>,
    regex: Vec<(Regex, Place)>,
    /// From a prefix to its place in `prefixes`.
    tree: PatriciaMap<usize>,
    prefixes: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// The next shorter prefix of whole segments that has candidates.
    shorter: Option<usize>,
    places: Vec<Place>,
}

impl PathIndex {
    pub(super) fn insert(&mut self, place: Place, path: &PathTest) {
        match path {
            PathTest::Exact(exact) => self.exact.entry(exact.clone()).or_default().push(place),
            PathTest::Regex(regex) => self.regex.push((regex.clone(), place)),
            PathTest::Prefix(text) => {
                let known = self.tree.get(text.as_bytes()).copied();
                let at = known.unwrap_or_else(|| {
                    self.tree.insert(text.as_bytes(), self.prefixes.len());
                    self.prefixes.push(Prefix { text: text.clone(), shorter: None, places: Vec::new() });
                    self.prefixes.len() - 1
                });
                self.prefixes[at].places.push(place);
            }
        }
    }

    /// Finds each prefix's next shorter one. Call once, when all is inserted.
    pub(super) fn link(&mut self) {
        for at in 0..self.prefixes.len() {
            let text = self.prefixes[at].text.clone();
            self.prefixes[at].shorter = text.rfind('/').and_then(|end| self.longest(&text[..end]));
        }
    }

    /// The longest prefix of whole segments that `path` has.
    ///
    /// The tree's longest may end within a segment; then whole ones can only be among what comes
    /// before its own last slash. (The tree's iterator over all of them would allocate.)
    fn longest(&self, path: &str) -> Option<usize> {
        let mut rest = path;
        loop {
            let (_, at) = self.tree.get_longest_common_prefix(rest.as_bytes())?;
            let text = &self.prefixes[*at].text;
            if has_prefix(path, text) {
                return Some(*at);
            }
            rest = &text[..text.rfind('/')?];
        }
    }

    /// The first place, by precedence, whose path matches and whose conditions `hold`.
    pub(super) fn find(&self, path: &str, hold: impl Fn(Place) -> bool) -> Option<Place> {
        if let Some(place) = self.exact.get(path).and_then(|places| first(places, &hold)) {
            return Some(place);
        }
        let by_regex =
            self.regex.iter().find(|(regex, place)| regex.is_match(path.as_bytes()) && hold(*place));
        if let Some((_, place)) = by_regex {
            return Some(*place);
        }
        let mut next = if self.prefixes.is_empty() { None } else { self.longest(path) };
        while let Some(at) = next {
            let prefix = &self.prefixes[at];
            if let Some(place) = first(&prefix.places, &hold) {
                return Some(place);
            }
            next = prefix.shorter;
        }
        None
    }
}

fn first(places: &[Place], hold: &impl Fn(Place) -> bool) -> Option<Place> {
    places.iter().copied().find(|place| hold(*place))
}
