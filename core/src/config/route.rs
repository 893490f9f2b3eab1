//! `[[routes]]`: which requests, and what happens to them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Cidr, Span, as_string};

/// A set of match conditions, and what happens to a request that meets them.
///
/// Exactly one of `split`, `pool`, `weights`, `redirect` and `respond` is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name. Required.
    pub name: String,
    /// Hosts, exact or `*.example.org`. Absent = any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Any of these must hold. Absent = every request.
    #[serde(default)]
    pub matches: Vec<Match>,
    /// Send to this split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Send to this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Send to an unnamed split of these weights; its name is the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, super::split::WeightSchema>>")]
    pub weights: Option<BTreeMap<String, u32>>,
    /// Answer with a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answer with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Change the host or path sent upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Edits to the request's headers, after Tidegate's own.
    #[serde(default)]
    pub request_headers: HeaderEdits,
    /// Edits to the headers of everything the route answers.
    #[serde(default)]
    pub response_headers: HeaderEdits,
    /// The whole exchange must be done within this; 0 = no limit.
    #[serde(default)]
    pub timeout: Span,
    /// When a request is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// Pools that get a copy of each request.
    #[serde(default)]
    pub mirror: Vec<Mirror>,
}

/// One of `routes.matches`: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The path. Absent = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// The method is one of these. Absent = any.
    pub methods: Vec<String>,
    /// Conditions on headers.
    pub headers: Vec<StringMatch>,
    /// Conditions on query parameters.
    pub query: Vec<StringMatch>,
    /// Conditions on cookies.
    pub cookies: Vec<StringMatch>,
    /// CIDRs of which one holds the client's address.
    pub client: Vec<Cidr>,
}

/// A condition on the path: one of `prefix`, `exact`, `regex`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathMatch {
    /// Whole segments from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// A regular expression that must match the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "regex"))]
    pub regex: Option<String>,
}

/// A condition on a named string: one of `exact`, `prefix`, `regex`, `present`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StringMatch {
    /// The header, query parameter or cookie.
    pub name: String,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The start of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A regular expression that must match the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "regex"))]
    pub regex: Option<String>,
    /// Whether it is there at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// `routes.redirect`: absent parts stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { scheme: None, host: None, port: None, path: None, status: 302 }
    }
}

/// A new path: one of `full`, `prefix`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathRewrite {
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// In place of the matched prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// `routes.respond`: a fixed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// `routes.rewrite`: what is sent upstream instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// Edits to headers: `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Replace, or make.
    pub set: BTreeMap<String, HeaderValues>,
    /// Add a line.
    pub add: BTreeMap<String, HeaderValues>,
    /// Remove every line.
    pub remove: Vec<String>,
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValues {
    /// One line.
    One(String),
    /// Several lines.
    Many(Vec<String>),
}

/// `routes.retry`: when a request is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Retries, not tries.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What is retried: connect, reset, timeout, 5xx, or a status from 500 to 599.
    pub on: Vec<RetryOn>,
    /// How long one try may take; 0 = no limit.
    pub try_timeout: Span,
    /// Retries may be this percentage of the pool's requests over ten seconds, plus ten a second.
    #[schemars(range(max = 100))]
    pub budget_percent: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: vec![RetryOn::Connect, RetryOn::Reset],
            try_timeout: Span::default(),
            budget_percent: 20,
        }
    }
}

/// A failure that may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    Connect,
    /// The connection broke before an answer.
    Reset,
    /// The upstream took too long.
    Timeout,
    /// Any status from 500 to 599.
    Any5xx,
    /// This status.
    Status(u16),
}

impl FromStr for RetryOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "connect" => Ok(Self::Connect),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "5xx" => Ok(Self::Any5xx),
            _ => match text.parse() {
                Ok(status @ 500..=599) if text.len() == 3 => Ok(Self::Status(status)),
                _ => Err(format!(
                    "`{text}` is not one of connect, reset, timeout, 5xx or a status from 500 to 599"
                )),
            },
        }
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Any5xx => f.write_str("5xx"),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}

as_string!(RetryOn, "retry-on", "connect, reset, timeout, 5xx, or a status from 500 to 599.");

/// One of `routes.mirror`: a pool that gets a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The pool.
    pub pool: String,
    /// Of so many requests in a hundred; fractions allowed.
    #[serde(default = "all")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: f64,
}

fn all() -> f64 {
    100.0
}
