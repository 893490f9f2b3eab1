//! A request's fields, wherever they lie: in a map, or in the bytes of the head that they came in.

use std::ops::Range;

use http::header::{HeaderMap, HeaderName, HeaderValue, ValueIter};
use smallvec::SmallVec;

/// One line of a head: where its name and its value are.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    name: Span,
    value: Span,
}

/// The lines of a head.
pub type Lines = SmallVec<[Line; 16]>;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn of(head: &[u8], part: &[u8]) -> Self {
        let Range { start, end } = place(head, part);
        // A head is far shorter than what fits.
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: short(start), end: short(end) }
    }

    fn in_head(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

impl Line {
    /// That of a name and a value which are parts of the head.
    pub fn of(head: &[u8], name: &[u8], value: &[u8]) -> Self {
        Self { name: Span::of(head, name), value: Span::of(head, value) }
    }

    /// Its name, as it is spelt.
    pub fn name(self, head: &[u8]) -> &[u8] {
        self.name.in_head(head)
    }

    /// Its value.
    pub fn value(self, head: &[u8]) -> &[u8] {
        self.value.in_head(head)
    }
}

/// Where a part of a head is in it. An empty part may be a slice of nowhere, and has no place.
pub fn place(head: &[u8], part: &[u8]) -> Range<usize> {
    let at = if part.is_empty() { 0 } else { part.as_ptr().addr() - head.as_ptr().addr() };
    at..at + part.len()
}

/// A request's fields.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'a> {
    /// In a map.
    Map(&'a HeaderMap),
    /// In the head that they came in.
    Head {
        /// The head.
        bytes: &'a [u8],
        /// Its lines.
        lines: &'a [Line],
    },
}

impl<'a> Fields<'a> {
    /// The values of all lines of this name, in their order.
    pub fn all<'n>(self, name: &'n HeaderName) -> Values<'a, 'n> {
        match self {
            Self::Map(map) => Values::Map(map.get_all(name).into_iter()),
            Self::Head { bytes, lines } => {
                Values::Head { bytes, lines: lines.iter(), name: name.as_str().as_bytes() }
            }
        }
    }

    /// The value of the first line of this name.
    pub fn first(self, name: &HeaderName) -> Option<&'a [u8]> {
        match self {
            Self::Map(map) => map.get(name).map(HeaderValue::as_bytes),
            Self::Head { .. } => self.all(name).next(),
        }
    }

    /// Whether there is a line of this name.
    pub fn contain(self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// In a map of their own.
    pub fn to_map(self) -> HeaderMap {
        match self {
            Self::Map(map) => map.clone(),
            Self::Head { bytes, lines } => {
                let pair = |line: &Line| {
                    let name = HeaderName::from_bytes(line.name(bytes)).ok()?;
                    Some((name, HeaderValue::from_bytes(line.value(bytes)).ok()?))
                };
                let mut map = HeaderMap::with_capacity(lines.len());
                for (name, value) in lines.iter().filter_map(pair) {
                    map.append(name, value);
                }
                map
            }
        }
    }

    /// How long all names and values are together, in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Map(map) => map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
            Self::Head { bytes, lines } => {
                lines.iter().map(|line| line.name(bytes).len() + line.value(bytes).len()).sum()
            }
        }
    }
}

impl<'a> From<&'a HeaderMap> for Fields<'a> {
    fn from(map: &'a HeaderMap) -> Self {
        Self::Map(map)
    }
}

/// The values of lines of one name.
#[derive(Debug)]
pub enum Values<'a, 'n> {
    /// In a map.
    Map(ValueIter<'a, HeaderValue>),
    /// In a head.
    Head {
        /// The head.
        bytes: &'a [u8],
        /// Its lines that are not looked at yet.
        lines: std::slice::Iter<'a, Line>,
        /// The name, in lower case.
        name: &'n [u8],
    },
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Map(values) => values.next().map(HeaderValue::as_bytes),
            Self::Head { bytes, lines, name } => {
                lines.find(|line| is_named(**line, bytes, name)).map(|line| line.value(bytes))
            }
        }
    }
}

impl DoubleEndedIterator for Values<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Map(values) => values.next_back().map(HeaderValue::as_bytes),
            Self::Head { bytes, lines, name } => {
                lines.rfind(|line| is_named(**line, bytes, name)).map(|line| line.value(bytes))
            }
        }
    }
}

fn is_named(line: Line, head: &[u8], name: &[u8]) -> bool {
    line.name(head).eq_ignore_ascii_case(name)
}

/// A value as text, if it is visible ASCII, spaces and tabs alone.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_visible))
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nX-A: 1\r\nEmpty:\r\nx-a: \xff\r\nX-a: 3\r\n\r\n";

    fn lines() -> Lines {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(HEAD).expect("a good head");
        request.headers.iter().map(|field| Line::of(HEAD, field.name.as_bytes(), field.value)).collect()
    }

    #[test]
    fn a_head_and_its_map_say_the_same() {
        let lines = lines();
        let head = Fields::Head { bytes: HEAD, lines: &lines };
        let map = head.to_map();
        let map = Fields::Map(&map);
        for name in ["host", "x-a", "empty", "none"].map(HeaderName::from_static) {
            assert_eq!(head.first(&name), map.first(&name), "{name}");
            assert_eq!(head.contain(&name), map.contain(&name), "{name}");
            assert!(head.all(&name).eq(map.all(&name)), "{name}");
            assert!(head.all(&name).rev().eq(map.all(&name).rev()), "{name}");
        }
        let name = HeaderName::from_static("x-a");
        assert_eq!(head.all(&name).collect::<Vec<_>>(), [&b"1"[..], b"\xff", b"3"]);
        assert_eq!(head.first(&HeaderName::from_static("empty")), Some(&b""[..]));
        assert_eq!(head.length(), map.length());
    }

    #[test]
    fn text_is_what_a_map_calls_text() {
        for byte in 0..=u8::MAX {
            let Ok(value) = HeaderValue::from_bytes(&[byte]) else { continue };
            assert_eq!(text(&[byte]), value.to_str().ok(), "{byte}");
        }
    }
}
