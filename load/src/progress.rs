//! How far a run is, line by line, for who waits for it.

use std::time::{Duration, Instant};

/// Counts measurements.
pub(crate) struct Progress {
    done: usize,
    all: usize,
    start: Instant,
}

impl Progress {
    /// Of so many.
    pub(crate) fn of(all: usize) -> Self {
        Self { done: 0, all, start: Instant::now() }
    }

    pub(crate) fn next(&mut self) {
        self.done += 1;
    }

    pub(crate) fn tell(&self, row: &str, round: &str, who: &str, what: &str) {
        let left = left(self.start.elapsed(), self.done, self.all);
        println!("    {:>4}/{} {row:<11} {round:<13} {who:<12} {what}; {left} left", self.done, self.all);
    }
}

/// As a person would say it.
fn left(so_far: Duration, done: usize, all: usize) -> String {
    let seconds = so_far.as_secs_f64() / done.max(1) as f64 * all.saturating_sub(done) as f64;
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        assert_eq!(left(Duration::from_secs(10), 10, 20), "10 s");
        assert_eq!(left(Duration::from_mins(10), 1, 2), "10 min");
    }
}
