//! So many failed requests and no more: `failure_budget = N`.
//!
//! No statistics: it works at one request a minute, and has no part in the chance of a false alarm.

use super::Counts;

/// Whether the candidate has used it up; a budget of 0 is none.
pub(super) fn is_spent(budget: u64, candidate: &Counts) -> bool {
    budget > 0 && candidate.failures >= budget
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_allowed_failure_spends_it() {
        for (budget, failures, spent) in [
            (0, 0, false),
            (0, 9, false),
            (1, 0, false),
            (1, 1, true),
            (5, 4, false),
            (5, 5, true),
            (5, 6, true),
        ] {
            let candidate = Counts { failures, ..Counts::default() };
            assert_eq!(is_spent(budget, &candidate), spent, "{failures} of {budget}");
        }
    }
}
