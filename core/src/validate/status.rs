//! Sets of status codes as written: `200-299,301`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Statuses from 100 to 599, as codes and ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a list of statuses such as \"200-299,301\"");
        let code = |part: &str| match part.trim().parse::<u16>() {
            Ok(status @ 100..=599) => Ok(status),
            Ok(status) => Err(format!("{status} is not a status from 100 to 599")),
            Err(_) => Err(bad()),
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (code(first)?, code(last)?);
            if first <= last { Ok(first..=last) } else { Err(format!("the range {first}-{last} is empty")) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges() {
        let set: StatusSet = "200-299, 301".parse().expect("good");
        assert!(set.contains(200) && set.contains(299) && set.contains(301));
        assert!(!set.contains(199) && !set.contains(300) && !set.contains(302));
        assert_eq!(set.to_string(), "200-299,301");
        for text in ["", "2xx", "99", "600", "299-200", "200-", "200,,201", "-200", "200-299-300"] {
            assert!(text.parse::<StatusSet>().is_err(), "{text} must be refused");
        }
    }
}
