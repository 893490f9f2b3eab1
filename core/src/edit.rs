//! Edits to the headers of a request or an answer, as a route asks for them.
//!
//! Compiled to a list in the order in which it is carried out: `remove`, then `set`, then `add`. What
//! has headers is told by [`Fields`], so that the very same list works on a plain map, in tests, and on
//! the heads that the proxy moves.

use http::header::{HeaderMap, HeaderName, HeaderValue, MaxSizeReached};

use crate::action::field;
use crate::config::{HeaderEdits, HeaderValues};

/// Something that has headers.
pub trait Fields {
    /// Why a header could not be put.
    type Error;
    /// Removes every line of this name.
    fn remove(&mut self, name: &HeaderName);
    /// Puts one line in place of all of this name.
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Self::Error>;
    /// Adds a line.
    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Self::Error>;
}

impl Fields for HeaderMap {
    type Error = MaxSizeReached;

    fn remove(&mut self, name: &HeaderName) {
        Self::remove(self, name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), MaxSizeReached> {
        self.try_insert(name, value.clone()).map(drop)
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), MaxSizeReached> {
        self.try_append(name, value.clone()).map(drop)
    }
}

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
}

/// Edits in the order in which they are carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Box<[Edit]>);

impl Edits {
    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compiles what was written.
    pub fn compile(written: &HeaderEdits) -> Self {
        let mut edits = Vec::new();
        for name in &written.remove {
            edits.push(Edit::Remove(name.parse().expect("validated: a header name")));
        }
        for (name, values) in &written.set {
            // Of several values the first takes the place of what was there; of none, nothing does.
            let mut values = lines(values).iter().map(|value| field(name, value));
            edits.push(match values.next() {
                Some((name, value)) => Edit::Set(name, value),
                None => Edit::Remove(name.parse().expect("validated: a header name")),
            });
            edits.extend(values.map(|(name, value)| Edit::Add(name, value)));
        }
        for (name, values) in &written.add {
            edits.extend(lines(values).iter().map(|value| field(name, value)).map(|(n, v)| Edit::Add(n, v)));
        }
        Self(edits.into())
    }

    /// Carries the edits out.
    pub fn apply<F: Fields>(&self, fields: &mut F) -> Result<(), F::Error> {
        self.0.iter().try_for_each(|edit| match edit {
            Edit::Remove(name) => {
                fields.remove(name);
                Ok(())
            }
            Edit::Set(name, value) => fields.set(name, value),
            Edit::Add(name, value) => fields.add(name, value),
        })
    }
}

fn lines(values: &HeaderValues) -> &[String] {
    match values {
        HeaderValues::One(value) => std::slice::from_ref(value),
        HeaderValues::Many(values) => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `a: 1`, `a: 2`, `b: 3`, by edits of this text.
    fn edited(text: &str) -> Vec<String> {
        let written: HeaderEdits = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut map = HeaderMap::new();
        for (name, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
            map.append(name, HeaderValue::from_static(value));
        }
        Edits::compile(&written).apply(&mut map).expect("there is room");
        let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut lines: Vec<String> = map.iter().map(|(n, v)| format!("{n}: {}", value(v))).collect();
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        lines
    }

    #[test]
    fn removed_then_set_then_added() {
        for (written, expected) in [
            ("", &["a: 1", "a: 2", "b: 3"][..]),
            ("remove = ['A']", &["b: 3"]),
            ("remove = ['c']", &["a: 1", "a: 2", "b: 3"]),
            ("set = { a = 'x' }", &["a: x", "b: 3"]),
            ("set = { A = ['x', 'y'] }", &["a: x", "a: y", "b: 3"]),
            ("set = { a = [] }", &["b: 3"]),
            ("set = { c = 'é' }", &["a: 1", "a: 2", "b: 3", "c: é"]),
            ("add = { b = 'x' }", &["a: 1", "a: 2", "b: 3", "b: x"]),
            ("add = { b = ['x', 'y'] }", &["a: 1", "a: 2", "b: 3", "b: x", "b: y"]),
            ("add = { b = [] }", &["a: 1", "a: 2", "b: 3"]),
            ("add = { a = 'z' }\nset = { a = 'y' }\nremove = ['a', 'b']", &["a: y", "a: z"]),
            ("set = { c = '' }", &["a: 1", "a: 2", "b: 3", "c: "]),
        ] {
            assert_eq!(edited(written), expected, "{written}");
        }
    }
}
