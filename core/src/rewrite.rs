//! A request as the upstream is to see it: another host, another path.
//!
//! Pure functions over the path that was matched. The query stays with the request and is no part of
//! this. What is rewritten is what is sent; what was matched, logged and redirected is not.

use std::borrow::Cow;

use http::header::HeaderValue;

use crate::config;

/// What a route rewrites.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The Host.
    pub host: Option<HeaderValue>,
    /// The path.
    pub path: Option<NewPath>,
}

impl Rewrite {
    /// Compiles what was written; absent, nothing is rewritten.
    pub fn compile(written: Option<&config::Rewrite>) -> Self {
        let Some(written) = written else { return Self::default() };
        let host = written.host.as_deref();
        Self {
            host: host.map(|h| HeaderValue::from_str(h).expect("validated: a host")),
            path: written.path.as_ref().map(NewPath::compile),
        }
    }
}

/// A path in place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPath {
    /// This one.
    Full(Box<str>),
    /// This in place of the matched prefix, kept without a trailing slash.
    Prefix(Box<str>),
}

impl NewPath {
    /// Compiles what was written.
    pub fn compile(written: &config::PathRewrite) -> Self {
        match (&written.full, &written.prefix) {
            (Some(full), _) => Self::Full(full.as_str().into()),
            (None, prefix) => {
                Self::Prefix(prefix.as_deref().unwrap_or_default().trim_end_matches('/').into())
            }
        }
    }

    /// The new path of a request whose path begins with a matched prefix of so many bytes.
    ///
    /// What follows the prefix is empty or begins with a slash, and what replaces it ends without one:
    /// so no slash is doubled, and none is lost.
    pub fn of<'a>(&'a self, path: &'a str, prefix_bytes: usize) -> Cow<'a, str> {
        match self {
            Self::Full(full) => Cow::Borrowed(full),
            // `OPTIONS *` is about the server and has no path.
            Self::Prefix(_) if !path.starts_with('/') => Cow::Borrowed(path),
            Self::Prefix(new) => match path.get(prefix_bytes..).unwrap_or_default() {
                "" if new.is_empty() => Cow::Borrowed("/"),
                rest if new.is_empty() => Cow::Borrowed(rest),
                rest => Cow::Owned(format!("{new}{rest}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::PathTest;

    /// The rewrite rules of docs/routes.md.
    #[test]
    fn a_prefix_is_replaced_without_doubling_or_losing_a_slash() {
        for (path, matched, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo", "/foo", "/xyz/", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/", "/foo/", "/xyz/", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/bar", "/", "/", "/bar"),
            ("/foo//bar", "/foo", "/xyz", "/xyz//bar"),
            ("/foo/%2Fbar", "/foo", "/xyz", "/xyz/%2Fbar"),
            ("/a/b/c", "/a/b", "/x/y/z", "/x/y/z/c"),
            ("*", "/", "/xyz", "*"),
        ] {
            let test = config::PathMatch { prefix: Some(matched.into()), ..config::PathMatch::default() };
            let matched_bytes = PathTest::compile(Some(&test)).prefix_bytes();
            let new = NewPath::compile(&config::PathRewrite { prefix: Some(new.into()), full: None });
            assert_eq!(new.of(path, matched_bytes), expected, "{path}: {matched} becomes {new:?}");
        }
    }

    #[test]
    fn a_full_path_replaces_whatever_was_there() {
        let full = NewPath::compile(&config::PathRewrite { full: Some("/new/".into()), prefix: None });
        for path in ["/", "/foo/bar", "*"] {
            assert_eq!(full.of(path, 0), "/new/", "{path}");
        }
    }
}
