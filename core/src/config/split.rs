//! `[splits.*]`: named weights over pools, with the way a user is bucketed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rollout::Rollout;
use super::route::StringMatch;
use crate::units::{Cidr, Span, as_string};

/// Named weights over pools, with the way a user is bucketed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Pool to weight, 0 to 1000000; a pool that is absent is not in the split. The sum is above 0.
    #[schemars(with = "BTreeMap<String, WeightSchema>")]
    pub weights: BTreeMap<String, u32>,
    /// Where the key comes from; the first one present and not empty wins. Absent = at random per request.
    #[serde(default)]
    pub key: Vec<KeySource>,
    /// What keeps this split's buckets apart from others'. Default: the split's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Give a visitor without a key an id in a cookie. Absent = no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assign: Option<Assign>,
    /// Rules that send a request to a pool whatever its bucket; the first that holds wins.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Pools tried in order when the chosen one has no usable endpoint.
    /// Default: the pool with the largest weight, each of them if several share it; `[]` = none, 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Vec<String>>,
    /// Send a request that may be repeated, and has failed for good by `connect`, `reset`, `timeout` or
    /// `5xx`, once more to the first pool of `fallback` that is usable. The pool that failed is charged.
    #[serde(default)]
    pub rescue: bool,
    /// Tell the upstream the pool in this header. Absent = not told, but in `x-tidegate-pool` during an A/B test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "header-name"))]
    pub pool_header: Option<String>,
    /// The plan by which this split moves from one pool to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// A pool's weight, 0 to 1000000.
#[derive(JsonSchema)]
#[schemars(rename = "Weight")]
#[allow(dead_code, reason = "names the schema of a weight; never built")]
pub(super) struct WeightSchema(#[schemars(range(max = 1_000_000))] u32);

/// Where a key comes from: `header:NAME`, `cookie:NAME`, `query:NAME` or `client_ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header; of a repeated one the first line.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter, percent-decoded.
    Query(String),
    /// The client's address as text.
    ClientIp,
}

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.split_once(':') {
            Some(("header", name)) => named(name).map(|n| Self::Header(n.to_ascii_lowercase())),
            Some(("cookie", name)) => named(name).map(Self::Cookie),
            Some(("query", name)) => named(name).map(Self::Query),
            None if text == "client_ip" => Some(Self::ClientIp),
            _ => None,
        }
        .ok_or_else(|| format!("`{text}` is not one of header:NAME, cookie:NAME, query:NAME, client_ip"))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::ClientIp => f.write_str("client_ip"),
        }
    }
}

as_string!(KeySource, "key", "Where a key comes from: header:NAME, cookie:NAME, query:NAME or client_ip.");

/// `splits.*.assign`: the id given to a visitor without a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// The cookie's name.
    pub cookie: String,
    /// How long the visitor keeps it.
    #[serde(default = "thirty_days")]
    pub max_age: Span,
    /// The cookie's Path.
    #[serde(default = "root")]
    pub path: String,
    /// The cookie's SameSite.
    #[serde(default)]
    pub same_site: SameSite,
    /// Whether the cookie is for HTTPS only.
    #[serde(default)]
    pub secure: bool,
}

fn thirty_days() -> Span {
    Span::secs(30 * 86_400)
}

fn root() -> String {
    "/".into()
}

/// A cookie's SameSite attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// `Lax`.
    #[default]
    Lax,
    /// `Strict`.
    Strict,
    /// `None`; browsers take it only with `secure`.
    None,
}

/// One of `splits.*.overrides`: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The request's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<super::PathMatch>,
    /// The request's method is one of these.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Conditions on headers.
    #[serde(default)]
    pub headers: Vec<StringMatch>,
    /// Conditions on query parameters.
    #[serde(default)]
    pub query: Vec<StringMatch>,
    /// Conditions on cookies.
    #[serde(default)]
    pub cookies: Vec<StringMatch>,
    /// CIDRs of which one holds the client's address.
    #[serde(default)]
    pub client: Vec<Cidr>,
    /// The request's key is one of these.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Hold only for requests from `server.trusted_proxies`.
    #[serde(default)]
    pub trusted: bool,
    /// The pool that takes the request.
    pub pool: String,
}
