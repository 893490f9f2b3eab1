//! The controller's clock: a tick every 100 ms, and now and then one that comes late.

use super::random::Random;

/// The controller's tick.
const TICK_MS: u64 = 100;

/// How often ticks are late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lateness {
    /// The chance that a tick comes 500 ms after the one before.
    pub half_a_second: f64,
    /// The chance that it comes 5 s after it.
    pub five_seconds: f64,
}

/// Virtual time.
pub(super) struct Clock {
    pub(super) now_ms: u64,
    lateness: Lateness,
}

impl Clock {
    pub(super) fn new(lateness: Lateness) -> Self {
        Self { now_ms: 0, lateness }
    }

    /// Goes on to the next tick.
    pub(super) fn next(&mut self, random: &mut Random) {
        let Lateness { half_a_second, five_seconds } = self.lateness;
        // Nothing is drawn where nothing is late, so that a scenario keeps its draws.
        let drawn = if half_a_second + five_seconds > 0.0 { random.unit() } else { 1.0 };
        self.now_ms += if drawn < five_seconds {
            5_000
        } else if drawn < five_seconds + half_a_second {
            500
        } else {
            TICK_MS
        };
    }
}
