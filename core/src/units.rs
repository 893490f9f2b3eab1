//! The small words of the contract as types: weights, shares, generations, names, durations, sizes.
//!
//! Nothing here knows about files or sockets. Each type refuses what cannot be at the place where it
//! is made, so that no later stage has to look again.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest weight a pool may have in a split.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A pool's weight in a split, from 0 to [`MAX_WEIGHT`].
pub type Weight = u32;

/// The number of a published routing table. Each change makes the next one; the first is 1.
pub type Generation = u64;

/// Whether `name` may name a listener, route, split, pool or flag: 1 to 63 of `a-z A-Z 0-9 - _ .`.
pub fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A length of time, written `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"30d"`, or several of these in a
/// row from large to small (`"1h30m"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole milliseconds.
    pub const fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// A span of whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// How long something has lasted, as it is told: to the second, where it is longer than one.
    pub const fn told_ms(ms: u64) -> Self {
        Self::ms(if ms < 1_000 { ms } else { ms / 1_000 * 1_000 })
    }

    /// `None` for a span of zero, which stands for "no limit" wherever a limit may be switched off.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }

    /// In whole milliseconds.
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// No span is longer than ten years, so that sums of spans cannot overflow.
const MAX_SPAN_MS: u64 = 3_650 * 86_400_000;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a duration such as \"250ms\", \"10s\" or \"5m\"");
        let mut rest = text.trim();
        let mut total: f64 = 0.0;
        let mut last_unit = u64::MAX;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            let after = &rest[digits..];
            let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (_, unit) =
                SPAN_UNITS.iter().find(|(name, _)| *name == &after[..unit_len]).ok_or_else(bad)?;
            if *unit >= last_unit {
                return Err(bad());
            }
            last_unit = *unit;
            total += number * (*unit as f64);
            rest = &after[unit_len..];
        }
        if total > MAX_SPAN_MS as f64 {
            return Err(format!("`{text}` is longer than ten years"));
        }
        Ok(Self(Duration::from_secs_f64(total / 1e3)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_ms();
        if ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = ms;
        for (name, unit) in SPAN_UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

/// A size in bytes, written as a number or as `"64KiB"`, `"1MiB"`, `"2GiB"`, `"10kB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// `None` for a size of zero, which stands for "no limit".
    pub fn limit(self) -> Option<u64> {
        (self.0 != 0).then_some(self.0)
    }
}

const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size such as \"64KiB\", \"1MiB\" or a number of bytes");
        let text_trimmed = text.trim();
        let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_trimmed.len());
        let number: u64 = text_trimmed[..digits].parse().map_err(|_| bad())?;
        let unit = text_trimmed[digits..].trim();
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        number.checked_mul(*factor).map(Self).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in &SIZE_UNITS[..3] {
            if self.0 >= *factor && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Serde and schema for a type that is written as a string: its `FromStr` reads, its `Display` writes.
macro_rules! as_string {
    ($type:ty, $format:literal, $doc:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $format.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "description": $doc })
            }
        }
    };
}
pub(crate) use as_string;

/// A block of addresses: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| format!("`{text}` is not a CIDR such as \"10.0.0.0/8\" or an address"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_string!(Cidr, "cidr", "A block of addresses: \"10.0.0.0/8\", or one address.");

as_string!(Span, "duration", "A duration: \"250ms\", \"10s\", \"5m\", \"1h\", \"30d\".");

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "format": "size" },
                { "type": "integer", "minimum": 0 }
            ],
            "description": "A size: \"64KiB\", \"1MiB\", or a number of bytes."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write() {
        for (text, ms, shown) in [
            ("250ms", 250, "250ms"),
            ("10s", 10_000, "10s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("30d", 2_592_000_000, "30d"),
            ("0s", 0, "0s"),
            ("1.5s", 1_500, "1s500ms"),
            ("90s", 90_000, "1m30s"),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.as_ms(), ms, "{text}");
            assert_eq!(span.to_string(), shown);
        }
        for text in ["", "10", "s", "-1s", "10 parsecs", "1s1h", "1e9s", "99999d", ".s"] {
            assert!(text.parse::<Span>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes, shown) in
            [("64KiB", 65_536, "64KiB"), ("0", 0, "0"), ("1MiB", 1 << 20, "1MiB"), ("10kB", 10_000, "10000")]
        {
            let size: Size = text.parse().expect(text);
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), shown);
        }
        for text in ["", "KiB", "1.5MiB", "-1", "64 kib", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        let long = "x".repeat(64);
        for (name, good) in [
            ("web", true),
            ("a-b_c.9", true),
            ("", false),
            ("a b", false),
            ("é", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
