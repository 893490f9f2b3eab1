//! The one place that reads the clocks; everything behind it is told what time it is.
//!
//! Two clocks, since each is wrong for the other's work: the monotonic one never jumps and times
//! what runs; the wall clock means something to people and outlives the process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use tidegate_core::change::Now;

/// The clocks of a process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_ms: u64,
}

impl Clock {
    /// Clocks whose monotonic time begins now.
    pub fn start() -> Self {
        Self { started_ms: coarse_ms() }
    }

    /// What time it is, on both clocks.
    pub fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms(), wall_ms: wall_ms() }
    }

    /// Milliseconds since [`Clock::start`], as of the kernel's last tick, which is a few milliseconds ago at
    /// most: a request asks several times, and this costs a fifth of asking for the time itself.
    pub fn mono_ms(&self) -> u64 {
        coarse_ms() - self.started_ms
    }
}

fn coarse_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    // Every Linux has this clock, and it begins with the system.
    time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since the Unix epoch; 0 on a clock set before it.
fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// A time of the wall clock as RFC 3339 has it, in UTC.
pub fn rfc3339(wall_ms: u64) -> String {
    let ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_text() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_185_019_250, "2026-11-20T14:30:19.25Z"),
            (u64::MAX, &Timestamp::MAX.to_string()),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }
}
