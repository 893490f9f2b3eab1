//! Where checks put what they find, and the names that they look up.

use std::collections::BTreeSet;

use super::Problem;
use crate::config::Config;
use crate::units::is_name;

/// More problems than this are not listed: nobody reads them, and a bad file must stay cheap.
pub(crate) const MOST_PROBLEMS: usize = 1_000;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    /// Adds a problem that speaks for itself.
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(path.into(), message.into(), None);
    }

    /// Adds a problem and what to do about it.
    pub(super) fn hinted(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(path.into(), message.into(), Some(hint.into()));
    }

    fn push(&mut self, path: String, message: String, hint: Option<String>) {
        if !self.is_full() {
            self.0.push(Problem { path, line: None, message, hint });
        }
    }

    /// Whether further problems are dropped. One beyond the limit is kept, to show that there are more.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MOST_PROBLEMS
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0
    }

    /// Adds a problem when `name` cannot be a name.
    pub(super) fn name(&mut self, path: &str, name: &str) {
        if !is_name(name) {
            self.hinted(path, format!("`{name}` is not a name"), "a name is 1 to 63 of a-z A-Z 0-9 - _ .");
        }
    }

    /// Adds a problem when there is no such `kind` as `name`.
    pub(super) fn known(&mut self, path: &str, kind: &str, name: &str, known: &BTreeSet<&str>) {
        if known.contains(name) || self.is_full() {
            return;
        }
        let message = format!("there is no {kind} `{name}`");
        match nearest(name, known.iter().copied()) {
            Some(near) => self.hinted(path, message, format!("did you mean `{near}`?")),
            None => self.add(path, message),
        }
    }
}

/// The names that other parts of the configuration may refer to.
pub(super) struct Names<'a> {
    pub(super) pools: BTreeSet<&'a str>,
    pub(super) splits: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self {
            pools: config.pools.keys().map(String::as_str).collect(),
            splits: config.splits.keys().map(String::as_str).collect(),
        }
    }
}

/// The one of `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; more than that is another word.
    let most = (name.chars().count() / 3).max(1);
    // Comparing is quadratic in length, and no known name is long.
    if name.len() > 128 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_a_plausible_one() {
        let known = ["address", "name", "tls", "http2"];
        for (written, meant) in [
            ("adress", Some("address")),
            ("nmae", Some("name")),
            ("tsl", Some("tls")),
            ("http", Some("http2")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
