//! The form of the state folder's files: a header with the version, then lines of
//! `crc32 json`, the checksum being over the JSON, in eight hexadecimal digits.
//!
//! A line is good or it is not; an incomplete last line is what a crash in the middle of an append
//! leaves, and stands for a change that nobody was told of.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first line of every file.
pub(super) const HEADER: &[u8] = b"tidegate state 1\n";
const HEADER_START: &[u8] = b"tidegate state ";

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It was written by a later version.
    Newer,
    /// Its first line is not ours.
    Header,
    /// This line, from 1, does not fit its checksum or cannot be read.
    Line(usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer => f.write_str("was written by a newer version"),
            Self::Header => f.write_str("is not a state file"),
            Self::Line(line) => write!(f, "is damaged in line {line}"),
        }
    }
}

/// One value as a line.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// The values in a file, and the length of its good part in bytes: 0 when not even the header is whole.
pub(super) fn values<T: DeserializeOwned>(content: &[u8]) -> Result<(Vec<T>, u64), Damage> {
    let Some(mut rest) = content.strip_prefix(HEADER) else {
        return match content {
            torn if HEADER.starts_with(torn) => Ok((Vec::new(), 0)),
            other if other.starts_with(HEADER_START) && is_newer(other) => Err(Damage::Newer),
            _ => Err(Damage::Header),
        };
    };
    let mut values = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        match value(line) {
            Some(value) => values.push(value),
            // A block that never reached the disk reads as zeros: a torn append, if nothing follows.
            None if after.is_empty() && line.contains(&0) => break,
            None => return Err(Damage::Line(values.len() + 2)),
        }
        rest = after;
    }
    let good = content.len() - rest.len();
    Ok((values, u64::try_from(good).unwrap_or(u64::MAX)))
}

fn is_newer(content: &[u8]) -> bool {
    let digits = content[HEADER_START.len()..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|v| v > 1)
}

fn value<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (checksum, json) = (line.get(..8)?, line.get(9..)?);
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    (line[8] == b' ' && checksum == crc32fast::hash(json)).then(|| serde_json::from_slice(json).ok())?
}
