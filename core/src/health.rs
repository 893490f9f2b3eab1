//! Active health: from the results of checks to up or down, a small state machine.
//!
//! Pure: `(state, result) → state`. The prober feeds it; [`crate::pool`] keeps its state in the
//! endpoint's cell. From unknown, one result decides, so that a pool is not without endpoints for
//! the length of several checks.

use serde::{Deserialize, Serialize};

/// What active checks say of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Status {
    /// Not checked yet.
    #[default]
    Unknown = 0,
    /// Passing.
    Up = 1,
    /// Failing.
    Down = 2,
}

impl Status {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Checks in a row that it takes to change one's mind.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Passes before a down endpoint is up.
    pub healthy_after: u32,
    /// Failures before an up endpoint is down.
    pub unhealthy_after: u32,
}

/// A status and the run of results that speak against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The status.
    pub status: Status,
    against: u32,
}

impl Health {
    /// With this status and no results yet.
    pub fn new(status: Status) -> Self {
        Self { status, against: 0 }
    }

    /// After one more result.
    #[must_use]
    pub fn step(self, passed: bool, thresholds: Thresholds) -> Self {
        let (agrees, needed, other) = match self.status {
            Status::Unknown => return Self::new(if passed { Status::Up } else { Status::Down }),
            Status::Up => (passed, thresholds.unhealthy_after, Status::Down),
            Status::Down => (!passed, thresholds.healthy_after, Status::Up),
        };
        if agrees {
            Self::new(self.status)
        } else if self.against + 1 >= needed {
            Self::new(other)
        } else {
            Self { against: self.against + 1, ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_in_a_row() {
        let thresholds = Thresholds { healthy_after: 2, unhealthy_after: 3 };
        for (start, results, end) in [
            (Status::Unknown, "+", Status::Up),
            (Status::Unknown, "-", Status::Down),
            (Status::Up, "--", Status::Up),
            (Status::Up, "---", Status::Down),
            (Status::Up, "--+--", Status::Up),
            (Status::Up, "--+---", Status::Down),
            (Status::Down, "+", Status::Down),
            (Status::Down, "++", Status::Up),
            (Status::Down, "+-+", Status::Down),
        ] {
            let health = results.chars().fold(Health::new(start), |h, r| h.step(r == '+', thresholds));
            assert_eq!(health.status, end, "{start:?} {results}");
        }
    }
}
