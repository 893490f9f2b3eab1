//! What happened, told as it happens: to the log, and to whoever listens to `/v1/events`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::units::Generation;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new table is in force.
    Change,
    /// An endpoint came up, went down, was ejected or came back.
    Health,
    /// A drain began, ended or was called off.
    Drain,
    /// The file was read again, or was not good.
    Reload,
    /// A rollout moved.
    Rollout,
    /// The guard decided.
    Verdict,
}

impl Kind {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Health => "health",
            Self::Drain => "drain",
            Self::Reload => "reload",
            Self::Rollout => "rollout",
            Self::Verdict => "verdict",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of thing.
    pub kind: Kind,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The generation in force.
    pub generation: Generation,
    /// Who did it: a caller's name, `file`, `health`, `guard`.
    pub actor: String,
    /// What it was, in words.
    pub message: String,
    /// The rest, by kind.
    pub detail: Map<String, Value>,
}
