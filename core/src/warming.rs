//! Slow start: the part of its weight that an endpoint has while it warms up.
//!
//! Pure: `(now, since when, how long) → part`. The part grows linearly with time and begins at a floor,
//! so that there is something to warm up with: Envoy's `max(min_weight_percent, time_factor)` with its
//! defaults, an aggression of 1 and 10 percent (`SlowStartConfig`); HAProxy's `slowstart` is linear, too,
//! and begins at nothing. When an endpoint begins to warm up is told by [`crate::cell`]; who gets how
//! much is [`crate::pick`]'s business.

/// A whole weight: parts are counted in thousandths.
pub const FULL: u32 = 1_000;

/// The part that an endpoint begins with.
const FLOOR: u32 = 100;

/// The part of its weight that an endpoint has at `now_ms`, in thousandths, which began to warm up at
/// `since_ms` and takes `window_ms` for it.
pub fn part(now_ms: u64, since_ms: u64, window_ms: u64) -> u32 {
    let passed_ms = now_ms.saturating_sub(since_ms);
    if passed_ms >= window_ms {
        return FULL;
    }
    let part = u128::from(passed_ms) * u128::from(FULL) / u128::from(window_ms);
    u32::try_from(part).unwrap_or(FULL).clamp(FLOOR, FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_from_the_floor_to_the_whole() {
        for (now, since, window, wanted) in [
            (0, 0, 0, 1_000),
            (5_000, 5_000, 10_000, 100),
            (5_500, 5_000, 10_000, 100),
            (6_500, 5_000, 10_000, 150),
            (10_000, 5_000, 10_000, 500),
            (14_990, 5_000, 10_000, 999),
            (15_000, 5_000, 10_000, 1_000),
            (u64::MAX, 0, 10_000, 1_000),
            (u64::MAX - 1, 0, u64::MAX, 999),
            // A clock that is read in two threads may be a little behind.
            (4_999, 5_000, 10_000, 100),
        ] {
            assert_eq!(part(now, since, window), wanted, "{now} {since} {window}");
        }
    }
}
