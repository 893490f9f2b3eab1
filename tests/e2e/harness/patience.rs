//! Waiting with a bound: what must happen happens in time, or the test says what did not.

use std::time::{Duration, Instant};

/// How long anything that must happen may take on a slow, busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Ask again and again until there is an answer; panic, saying what was awaited, when there is none in time.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bound a future: panic, saying what was awaited, when it takes too long.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(limit, future).await;
    outcome.unwrap_or_else(|late| panic!("not within {limit:?}: {what} ({late})"))
}
