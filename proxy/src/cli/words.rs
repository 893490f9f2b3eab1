//! Numbers, shares and times as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `0.05` as `5.0 %`; a share that would look like none or like all keeps more digits.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let looks_wrong = (percent > 0.0 && percent < 0.05) || (99.95..100.0).contains(&percent);
    if looks_wrong { format!("{percent:.3} %") } else { format!("{percent:.1} %") }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 problem`, `3 problems`.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", count(number)) }
}

/// The two largest units of a length of time: `3d4h`, `5m2s`, `12s`.
pub(crate) fn roughly(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// What time it is, and where the reader is.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Now.
    pub(crate) now: Timestamp,
    /// The reader's time zone.
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// The system's.
    pub(crate) fn system() -> Self {
        Self { now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// An API's time in the reader's zone, with the date unless it is today; as it is if unreadable.
    pub(crate) fn local(&self, time: &str) -> String {
        let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
        let at = at.to_zoned(self.zone.clone());
        let today = self.now.to_zoned(self.zone.clone()).date();
        let format = if at.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        at.strftime(format).to_string()
    }

    /// How long ago, or until, an API's time is: `12s ago`, `in 5m0s`.
    pub(crate) fn away(&self, time: &str) -> String {
        let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
        let length = roughly(self.now.duration_since(at).unsigned_abs());
        if at > self.now { format!("in {length}") } else { format!("{length} ago") }
    }
}

#[cfg(test)]
impl Clock {
    /// Noon on a day, in UTC.
    pub(crate) fn fixed() -> Self {
        Self { now: "2026-03-01T12:00:00Z".parse().expect("a time"), zone: TimeZone::UTC }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_look_like_none_or_all_when_they_are_not() {
        for (share, text) in [
            (0.0, "0.0 %"),
            (0.000_1, "0.010 %"),
            (0.05, "5.0 %"),
            (1.0 / 3.0, "33.3 %"),
            (0.9999, "99.990 %"),
            (1.0, "100.0 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn large_numbers_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_are_told_as_seen_from_now() {
        let clock = Clock::fixed();
        for (time, local, away) in [
            ("2026-03-01T11:59:48.250Z", "11:59:48", "11s ago"),
            ("2026-02-28T08:00:00Z", "2026-02-28 08:00:00", "1d4h ago"),
            ("2026-03-01T12:05:00Z", "12:05:00", "in 5m0s"),
            ("2026-03-01T14:30:00+01:00", "13:30:00", "in 1h30m"),
            ("soon", "soon", "soon"),
        ] {
            assert_eq!((&*clock.local(time), &*clock.away(time)), (local, away), "{time}");
        }
    }
}
