//! How long to wait before what failed is tried again.

use std::time::Duration;

/// The longest wait.
const MOST_SECS: u64 = 60;

/// The wait after so many failures in a row: 1 s, doubled with each, up to 1 min. None before the first.
pub fn after(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    Duration::from_secs(1_u64.checked_shl(doublings).map_or(MOST_SECS, |secs| secs.clamp(1, MOST_SECS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute() {
        for (failures, secs) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 4),
            (4, 8),
            (5, 16),
            (6, 32),
            (7, 60),
            (8, 60),
            (63, 60),
            (64, 60),
            (65, 60),
            (u32::MAX, 60),
        ] {
            assert_eq!(after(failures).as_secs(), secs, "{failures}");
        }
    }
}
