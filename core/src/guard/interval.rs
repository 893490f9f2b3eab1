//! A confidence sequence for a failure rate: an interval that may be looked at as often as one likes.
//!
//! The chance that the true rate is *ever* outside is at most `alpha`. It is the set of rates `p` that a
//! mixture of binomials with a Beta(1/2, 1/2) prior does not refute:
//! `B(x + 1/2, n − x + 1/2) / B(1/2, 1/2) < p^x·(1 − p)^(n − x) / alpha` (Robbins 1970; Howard and
//! others, *Time-uniform confidence sequences*). Written as a part that does not know `p` and `n` times a
//! divergence, it keeps its digits at 1e12 observations, where differences of log-gammas have none left.

use std::f64::consts::PI;

/// Halvings of the bisection: far below any rate that can be told from another.
const HALVINGS: u32 = 100;

/// The interval of the failure rate after `failures` of `requests`; `(0, 1)` before the first.
pub fn interval(failures: u64, requests: u64, alpha: f64) -> (f64, f64) {
    if requests == 0 {
        return (0.0, 1.0);
    }
    let (x, n) = (failures.min(requests) as f64, requests as f64);
    let seen = x / n;
    let allowed = -alpha.ln() - ln_mixture_at_seen(x, n);
    let fits = |rate: f64| divergence(x, n, rate) < allowed;
    let low = if failures == 0 { 0.0 } else { edge(seen, 0.0, fits) };
    let high = if failures >= requests { 1.0 } else { edge(seen, 1.0, fits) };
    (low, high)
}

/// The last rate that fits on the way from one that does to one that does not.
fn edge(fitting: f64, outside: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut fitting, mut outside) = (fitting, outside);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(fitting, outside);
        if fits(middle) {
            fitting = middle;
        } else {
            outside = middle;
        }
    }
    fitting
}

/// `x·ln(seen/p) + (n − x)·ln((1 − seen)/(1 − p))`, where `seen = x/n`.
fn divergence(x: f64, n: f64, p: f64) -> f64 {
    let part = |count: f64, chance: f64| if count == 0.0 { 0.0 } else { count * (count / n / chance).ln() };
    part(x, p) + part(n - x, 1.0 - p)
}

/// The log of the mixture over the likelihood of the rate seen. Stirling's large terms cancel on paper.
fn ln_mixture_at_seen(x: f64, n: f64) -> f64 {
    let shift = |count: f64, by: f64| if count == 0.0 { 0.0 } else { count * (by / count).ln_1p() };
    shift(x, 0.5) + shift(n - x, 0.5) - shift(n, 1.0) - 0.5 * n.ln_1p()
        + 0.5 * (2.0 * PI).ln()
        + stirling_rest(x + 0.5)
        + stirling_rest(n - x + 0.5)
        - stirling_rest(n + 1.0)
        - PI.ln()
}

/// `ln Γ(z) − ((z − 1/2)·ln z − z + ln(2π)/2)`.
fn stirling_rest(z: f64) -> f64 {
    let (mut z, mut rest) = (z, 0.0);
    while z < 16.0 {
        rest += (z + 0.5) * z.recip().ln_1p() - 1.0;
        z += 1.0;
    }
    let square = z * z;
    rest + (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1_260.0 * square)) / square) / z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_stirling_is_right() {
        // Γ(1/2) = √π, Γ(1) = 1, Γ(20) = 19!.
        let factorial: f64 = (1..20).map(f64::from).product();
        for (z, gamma) in [(0.5, PI.sqrt()), (1.0, 1.0), (20.0, factorial)] {
            let z: f64 = z;
            let ln_gamma = (z - 0.5) * z.ln() - z + 0.5 * (2.0 * PI).ln() + stirling_rest(z);
            assert!((ln_gamma - gamma.ln()).abs() < 1e-11, "{z}: {ln_gamma}");
        }
    }

    #[test]
    fn the_mixture_is_right_where_it_can_be_written_out() {
        // One request that failed: B(3/2, 1/2) / B(1/2, 1/2) = 1/2, so p > alpha / 2.
        let (low, high) = interval(1, 1, 0.05);
        assert!((low - 0.025).abs() < 1e-12 && (high - 1.0).abs() < 1e-12, "{low} {high}");
        let (low, high) = interval(0, 1, 0.05);
        assert!(low.abs() < 1e-12 && (high - 0.975).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn it_holds_what_was_seen_and_narrows() {
        let large = 1_000_000_000_000;
        for (failures, requests, low, high) in [
            (0, 0, (0.0, 0.0), (1.0, 1.0)),
            (0, 100, (0.0, 0.0), (0.05, 0.09)),
            (100, 100, (0.91, 0.95), (1.0, 1.0)),
            (7, 3, (0.1, 0.5), (1.0, 1.0)),
            (3, 100, (0.001_87, 0.001_89), (0.122_9, 0.123)),
            (20, 1_000, (0.007_81, 0.007_82), (0.040_63, 0.040_64)),
            (0, large, (0.0, 0.0), (1e-12, 1e-10)),
            (1, large, (1e-21, 1e-12), (1e-12, 1e-10)),
            (large / 1_000, large, (0.000_999_7, 0.001), (0.001, 0.001_000_3)),
            (large - 1, large, (1.0 - 1e-10, 1.0), (1.0 - 1e-12, 1.0)),
        ] {
            let (found_low, found_high) = interval(failures, requests, 0.05);
            assert!((low.0..=low.1).contains(&found_low), "{failures} of {requests}: {found_low}");
            assert!((high.0..=high.1).contains(&found_high), "{failures} of {requests}: {found_high}");
        }
    }

    #[test]
    fn less_error_is_a_wider_interval() {
        let (low, high) = interval(20, 1_000, 0.05);
        let (lower, higher) = interval(20, 1_000, 0.001);
        assert!(lower < low && low < 0.02 && 0.02 < high && high < higher);
    }
}
