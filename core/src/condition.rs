//! Conditions on a request, compiled: what a route's match and a split's override both consist of.

use std::borrow::Cow;

use http::Method;
use http::header::HeaderName;
use ipnet::IpNet;
use regex::bytes::Regex;

use crate::config;
use crate::request::{RequestView, cookie, header_joined, query_parameter};
use crate::validate::pattern;

/// A test of one string.
#[derive(Clone, Debug)]
pub enum StringTest {
    /// Equal.
    Exact(Box<[u8]>),
    /// Starts with.
    Prefix(Box<[u8]>),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there, or is not.
    Present(bool),
}

impl StringTest {
    fn compile(written: &config::StringMatch) -> Self {
        if let Some(exact) = &written.exact {
            Self::Exact(exact.as_bytes().into())
        } else if let Some(prefix) = &written.prefix {
            Self::Prefix(prefix.as_bytes().into())
        } else if let Some(regex) = &written.regex {
            Self::Regex(pattern::whole(regex).expect("validated: the expression compiles"))
        } else {
            Self::Present(written.present.unwrap_or(true))
        }
    }

    fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Present(wanted), value) => *wanted == value.is_some(),
            (_, None) => false,
            (Self::Exact(exact), Some(value)) => **exact == *value,
            (Self::Prefix(prefix), Some(value)) => value.starts_with(prefix),
            (Self::Regex(regex), Some(value)) => regex.is_match(value),
        }
    }
}

/// Conditions that must all hold; the path is looked at elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    methods: Vec<Method>,
    headers: Vec<(HeaderName, StringTest)>,
    query: Vec<(String, StringTest)>,
    cookies: Vec<(String, StringTest)>,
    client: Vec<IpNet>,
}

impl Conditions {
    /// Compiles the conditions of a route's match.
    pub fn of_match(written: &config::Match) -> Self {
        Self::compile(&written.methods, &written.headers, &written.query, &written.cookies, &written.client)
    }

    /// Compiles the conditions of an override, but for its path, keys and trust.
    pub fn of_override(written: &config::Override) -> Self {
        Self::compile(&written.methods, &written.headers, &written.query, &written.cookies, &written.client)
    }

    fn compile(
        methods: &[String],
        headers: &[config::StringMatch],
        query: &[config::StringMatch],
        cookies: &[config::StringMatch],
        client: &[crate::units::Cidr],
    ) -> Self {
        let named = |tests: &[config::StringMatch]| {
            tests.iter().map(|t| (t.name.clone(), StringTest::compile(t))).collect()
        };
        Self {
            methods: methods
                .iter()
                .map(|m| Method::from_bytes(m.as_bytes()).expect("validated: a method"))
                .collect(),
            headers: headers
                .iter()
                .map(|t| (t.name.parse().expect("validated: a header name"), StringTest::compile(t)))
                .collect(),
            query: named(query),
            cookies: named(cookies),
            client: client.iter().map(|c| c.0).collect(),
        }
    }

    /// The first condition that does not hold, in words; `None` when all hold.
    pub fn failing(&self, request: &RequestView<'_>) -> Option<String> {
        if !self.method_holds(request) {
            return Some(format!("method {} is not among {:?}", request.method, self.methods));
        }
        if let Some((name, _)) = self.headers.iter().find(|(n, t)| !header_holds(request, n, t)) {
            return Some(format!("header {name} does not match"));
        }
        if let Some((name, _)) = self.query.iter().find(|(n, t)| !query_holds(request, n, t)) {
            return Some(format!("query parameter {name} does not match"));
        }
        if let Some((name, _)) = self.cookies.iter().find(|(n, t)| !cookie_holds(request, n, t)) {
            return Some(format!("cookie {name} does not match"));
        }
        (!self.client_holds(request)).then(|| format!("client {} is in none of the blocks", request.client))
    }

    /// Whether all conditions hold.
    pub fn hold(&self, request: &RequestView<'_>) -> bool {
        self.method_holds(request)
            && self.headers.iter().all(|(name, test)| header_holds(request, name, test))
            && self.query.iter().all(|(name, test)| query_holds(request, name, test))
            && self.cookies.iter().all(|(name, test)| cookie_holds(request, name, test))
            && self.client_holds(request)
    }

    /// How specific these conditions are, the most specific least: the contract's order after the path.
    pub fn rank(&self) -> (bool, usize, usize, usize, bool) {
        (
            self.methods.is_empty(),
            usize::MAX - self.headers.len(),
            usize::MAX - self.query.len(),
            usize::MAX - self.cookies.len(),
            self.client.is_empty(),
        )
    }

    fn method_holds(&self, request: &RequestView<'_>) -> bool {
        self.methods.is_empty() || self.methods.contains(request.method)
    }

    fn client_holds(&self, request: &RequestView<'_>) -> bool {
        self.client.is_empty() || self.client.iter().any(|net| net.contains(&request.client))
    }
}

fn header_holds(request: &RequestView<'_>, name: &HeaderName, test: &StringTest) -> bool {
    let value: Option<Cow<'_, [u8]>> = header_joined(request.headers, name);
    test.holds(value.as_deref())
}

fn query_holds(request: &RequestView<'_>, name: &str, test: &StringTest) -> bool {
    let value = request.query.and_then(|query| query_parameter(query, name));
    test.holds(value.as_deref())
}

fn cookie_holds(request: &RequestView<'_>, name: &str, test: &StringTest) -> bool {
    test.holds(cookie(request.headers, name))
}

/// A condition on the path, compiled.
#[derive(Clone, Debug)]
pub enum PathTest {
    /// The whole path.
    Exact(Box<str>),
    /// Matches as a whole.
    Regex(Regex),
    /// Whole segments from the start, kept without a trailing slash; empty = any path.
    Prefix(Box<str>),
}

impl PathTest {
    /// Compiles a path condition; an absent one is the prefix `/`.
    pub fn compile(written: Option<&config::PathMatch>) -> Self {
        let Some(written) = written else { return Self::Prefix("".into()) };
        if let Some(exact) = &written.exact {
            Self::Exact(exact.as_str().into())
        } else if let Some(regex) = &written.regex {
            Self::Regex(pattern::whole(regex).expect("validated: the expression compiles"))
        } else {
            let prefix = written.prefix.as_deref().unwrap_or_default();
            Self::Prefix(prefix.strip_suffix('/').unwrap_or(prefix).into())
        }
    }

    /// Whether the path meets the condition.
    pub fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
            Self::Prefix(prefix) => has_prefix(path, prefix),
        }
    }

    /// Length of the prefix that a path which meets the condition begins with; 0 without one.
    pub fn prefix_bytes(&self) -> usize {
        match self {
            Self::Prefix(prefix) => prefix.len(),
            Self::Exact(_) | Self::Regex(_) => 0,
        }
    }

    /// How specific the condition is, the most specific least.
    pub fn rank(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Regex(_) => (1, 0),
            Self::Prefix(prefix) => (2, usize::MAX - prefix.len()),
        }
    }
}

/// Whether `path` starts with the whole segments of `prefix`, which has no trailing slash.
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

impl std::fmt::Display for PathTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(exact) => write!(f, "exact {exact}"),
            Self::Regex(regex) => {
                let pattern = regex.as_str();
                write!(f, "regex {}", &pattern[5..pattern.len() - 3])
            }
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("prefix /"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}
