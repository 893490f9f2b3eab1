//! `[pools.*]`: one version of a service: endpoints, health, balancing, limits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rollout::PoolRollout;
use super::split::KeySource;
use crate::units::Span;

/// One version of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Upstream addresses: `"host:port"`, `"unix:PATH"` or `{ address, weight }`. The host is an IP address.
    pub endpoints: Vec<Endpoint>,
    /// Instead of endpoints: every address that this `name:port` resolves to is one, of weight 1. The
    /// last good answer holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// How often the name is resolved again.
    pub dns_refresh: Span,
    /// The protocol spoken to the endpoints.
    pub protocol: Protocol,
    /// Speak TLS to the endpoints. Absent = plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PoolTls>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// For `balance = "hash"`: what is hashed; the split's key when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<Vec<KeySource>>,
    /// Active health checks. Absent = none, endpoints count as up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Passive ejection of endpoints that fail. Absent = off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eject: Option<Eject>,
    /// Health and ejections are ignored while fewer percent of the endpoints that do not drain are usable;
    /// 0 = never.
    #[schemars(range(max = 100))]
    pub panic_threshold: u8,
    /// Caps; a request above them waits in the queue, or gets 503.
    pub limits: Limits,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Span,
    /// How long one read from an endpoint may wait.
    pub read_timeout: Span,
    /// How long one write to an endpoint may wait.
    pub write_timeout: Span,
    /// How long an unused connection to an endpoint is kept. 0 = none is kept.
    pub idle_timeout: Span,
    /// How long a connection after an upgrade (a WebSocket) may carry nothing either way.
    pub tunnel_idle_timeout: Span,
    /// How long requests in flight may go on once an endpoint drains.
    pub drain_timeout: Span,
    /// How long an endpoint takes to reach its full weight that has come up, was added, or no longer drains;
    /// it begins with a tenth. 0 = at once.
    pub slow_start: Span,
    /// A rollout that replaces what runs behind this pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<PoolRollout>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dns: None,
            dns_refresh: Span::secs(5),
            protocol: Protocol::default(),
            tls: None,
            balance: Balance::default(),
            hash_key: None,
            health: None,
            eject: None,
            panic_threshold: 0,
            limits: Limits::default(),
            connect_timeout: Span::secs(1),
            read_timeout: Span::secs(60),
            write_timeout: Span::secs(60),
            idle_timeout: Span::secs(60),
            tunnel_idle_timeout: Span::secs(3_600),
            drain_timeout: Span::secs(30),
            slow_start: Span::default(),
            rollout: None,
        }
    }
}

/// An upstream address as written: bare, or a table with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// `"127.0.0.1:9001"`, of weight 1.
    Address(#[schemars(extend("format" = "endpoint"))] String),
    /// `{ address = "127.0.0.1:9003", weight = 2 }`.
    Table(EndpointTable),
}

/// An upstream address with a weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTable {
    /// `host:port`, whose host is an IP address, or `unix:PATH`.
    #[schemars(extend("format" = "endpoint"))]
    pub address: String,
    /// The endpoint's part of the pool's requests, against the other weights; 1 to 1000000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl Endpoint {
    /// The address as written.
    pub fn address(&self) -> &str {
        match self {
            Self::Address(address) => address,
            Self::Table(table) => &table.address,
        }
    }

    /// The weight; 1 when none is written.
    pub fn weight(&self) -> u32 {
        match self {
            Self::Address(_) => 1,
            Self::Table(table) => table.weight,
        }
    }
}

/// The protocol spoken to the endpoints of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN with tls, prior-knowledge h2c without.
    H2,
    /// What ALPN selects.
    Auto,
}

/// `pools.*.tls`: TLS to the endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolTls {
    /// The name sent and verified.
    pub sni: String,
    /// PEM file of the authorities to trust; absent = the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM file of the client certificate to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// PEM file of the client certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Verify the endpoint's certificate.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

/// How an endpoint is picked within a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Of two endpoints drawn by weight, the one with fewer requests in flight for its weight.
    #[default]
    LeastRequest,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// By a hash of the key, with bounded load.
    Hash,
}

/// `pools.*.health`: active checks, `http` (a path), `tcp` or `grpc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Check by `GET` on this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Check by opening a TCP connection.
    pub tcp: bool,
    /// Check this service by the gRPC health protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Time from one check of an endpoint to the next, give or take a tenth.
    pub interval: Span,
    /// How long a check may take.
    pub timeout: Span,
    /// Checks in a row that must pass before a down endpoint is up.
    #[schemars(range(min = 1))]
    pub healthy_after: u32,
    /// Checks in a row that must fail before an up endpoint is down.
    #[schemars(range(min = 1))]
    pub unhealthy_after: u32,
    /// Statuses that pass: codes and ranges, as `200-299,301`.
    #[schemars(extend("format" = "status"))]
    pub status: String,
    /// Check this port instead of the endpoint's; not with a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The Host sent; the endpoint's address when absent, `localhost` to a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers sent with the check.
    pub headers: BTreeMap<String, String>,
    /// What a new endpoint counts as until its first check.
    pub initial: Initial,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            tcp: false,
            grpc: None,
            interval: Span::secs(2),
            timeout: Span::secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
            status: "200-299".into(),
            port: None,
            host: None,
            headers: BTreeMap::new(),
            initial: Initial::default(),
        }
    }
}

/// What a new endpoint counts as until its first check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Initial {
    /// Used only while the pool has no endpoint that is up; the first check decides.
    #[default]
    Unknown,
    /// Up.
    Up,
    /// Down.
    Down,
}

/// `pools.*.eject`: passive ejection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Eject {
    /// Failed requests in a row after which an endpoint is ejected.
    #[schemars(range(min = 1))]
    pub consecutive_failures: u32,
    /// Length of the first ejection; each further one is twice as long.
    pub base: Span,
    /// The longest ejection.
    pub max: Span,
    /// Never eject more than this percentage of a pool's endpoints.
    #[schemars(range(max = 100))]
    pub max_percent: u8,
}

impl Default for Eject {
    fn default() -> Self {
        Self { consecutive_failures: 5, base: Span::secs(10), max: Span::secs(300), max_percent: 50 }
    }
}

/// `pools.*.limits`: caps on a pool; 0 = no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests in flight, each until its answer is complete.
    pub max_in_flight: u32,
    /// Connections to the endpoints, kept ones included: one that is kept is closed where another is needed.
    /// Over HTTP/1 also a cap on requests in flight, as each needs a connection.
    pub max_connections: u32,
    /// Requests that may wait, first come first served, when `max_in_flight` are in flight; 0 = none does, 503.
    pub queue: u32,
    /// How long a request may wait, then 503.
    pub queue_timeout: Span,
}
