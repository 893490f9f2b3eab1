//! Bodies of calls.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_core::config;
use tidegate_core::units::{MAX_WEIGHT, Span};
use utoipa::ToSchema;

/// `PUT /v1/splits/{split}/weights`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetWeights {
    /// Pool to weight, 0 to 1000000: all of the split's weights.
    #[serde(deserialize_with = "weights")]
    pub weights: BTreeMap<String, u32>,
    /// The file's weights return after this.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1h")]
    pub ttl: Option<Span>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Abort a rollout that decides over the split's weights.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/splits/{split}/cutover`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutover {
    /// The pool that takes all traffic.
    pub to: String,
    /// Refuse if fewer of its endpoints are healthy.
    #[serde(default = "one")]
    pub min_healthy: usize,
    /// Keep the pool that had the traffic warm and the guard watching for so long; then it has succeeded.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "30m")]
    pub bake: Option<Span>,
    /// Do it also when too few are healthy, and abort a rollout that decides over the split's weights.
    #[serde(default)]
    pub force: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

fn one() -> usize {
    1
}

/// A change that needs no more than a reason.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST …/rollout/promote`
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// To all of the traffic, not only to the next step.
    #[serde(default)]
    pub full: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST …/drain`
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long requests in flight may go on; the pool's `drain_timeout` if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "30s")]
    pub timeout: Option<Span>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `PUT /v1/pools/{pool}/endpoints`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEndpoints {
    /// All endpoints of the pool, as in the file.
    pub endpoints: Vec<EndpointInput>,
    /// The file's endpoints return after this.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1h")]
    pub ttl: Option<Span>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An endpoint: its address, or a table with its weight.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EndpointInput {
    /// `"127.0.0.1:9001"`, of weight 1.
    Address(String),
    /// With a weight.
    Table {
        /// `host:port`, whose host is an IP address, or `unix:PATH`.
        address: String,
        /// From 1 to 1000000; 1 if absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
    },
}

impl From<EndpointInput> for config::Endpoint {
    fn from(input: EndpointInput) -> Self {
        match input {
            EndpointInput::Address(address) => Self::Address(address),
            EndpointInput::Table { address, weight } => {
                Self::Table(config::EndpointTable { address, weight: weight.unwrap_or(1) })
            }
        }
    }
}

/// `POST /v1/explain`: a request to be explained.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Explain {
    /// Its method.
    pub method: String,
    /// Its host; the `host` header's if absent.
    pub host: Option<String>,
    /// Its path, and query.
    pub path: String,
    /// Its headers.
    pub headers: BTreeMap<String, HeaderInput>,
    /// The address that it comes from.
    pub client: String,
}

impl Default for Explain {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            host: None,
            path: "/".into(),
            headers: BTreeMap::new(),
            client: "127.0.0.1".into(),
        }
    }
}

/// A header's line, or lines.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum HeaderInput {
    /// One line.
    One(String),
    /// Several lines.
    Many(Vec<String>),
}

impl HeaderInput {
    /// The lines.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::One(line) => std::slice::from_ref(line),
            Self::Many(lines) => lines,
        }
    }
}

/// Weights by pool. A pool that is named twice is a mistake, not the last one's victory.
fn weights<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u32>, D::Error> {
    struct Weights;

    impl<'de> Visitor<'de> for Weights {
        type Value = BTreeMap<String, u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of pools with their weights")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut weights = BTreeMap::new();
            while let Some((pool, Weight(weight))) = map.next_entry::<String, Weight>()? {
                if weights.contains_key(&pool) {
                    return Err(A::Error::custom(format!("duplicate field `{pool}`")));
                }
                weights.insert(pool, weight);
            }
            Ok(weights)
        }
    }

    deserializer.deserialize_map(Weights)
}

struct Weight(u32);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {MAX_WEIGHT}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
                let weight = u32::try_from(number).ok().filter(|weight| *weight <= MAX_WEIGHT);
                weight.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_any(Number).map(Weight)
    }
}

impl<'de> Deserialize<'de> for EndpointInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            address: String,
            weight: Option<Weight>,
        }

        struct Endpoint;

        impl<'de> Visitor<'de> for Endpoint {
            type Value = EndpointInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or an object with `address` and `weight`")
            }

            fn visit_str<E: Error>(self, address: &str) -> Result<EndpointInput, E> {
                Ok(EndpointInput::Address(address.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointInput, A::Error> {
                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let weight = table.weight.map(|Weight(weight)| weight);
                Ok(EndpointInput::Table { address: table.address, weight })
            }
        }

        deserializer.deserialize_any(Endpoint)
    }
}
