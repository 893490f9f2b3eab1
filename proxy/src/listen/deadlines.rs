//! The times by which an exchange, a try of it, or a write to the client must have come to something.
//!
//! Whoever waits on the client's side asks here each time that it is polled; the gateway's machinery waits
//! there for most of an exchange, so that no task of their own is needed. What ended by a time over is told
//! to the gateway by the [`Exchange`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidegate_admin::clock::Clock;
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;

/// Timers, each set when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    exchange: Option<(u64, Pin<Box<Sleep>>)>,
    of_try: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Deadlines {
    /// Fails once the exchange's deadline has passed.
    pub(super) fn check_exchange(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> io::Result<()> {
        let at_ms = exchange.deadline_ms();
        let left = || Duration::from_millis(at_ms.saturating_sub(exchange.now_ms()));
        if has_passed(&mut self.exchange, at_ms, left, cx) {
            exchange.set_timed_out();
            return Err(timed_out("the exchange took longer than the route allows"));
        }
        Ok(())
    }

    /// Fails once the upstream has had the whole request for as long as a try may take.
    pub(super) fn check_try(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> io::Result<()> {
        let limit_ms = exchange.try_timeout_ms();
        if has_passed(&mut self.of_try, limit_ms, || Duration::from_millis(limit_ms), cx) {
            self.of_try = None;
            exchange.set_try_timed_out();
            return Err(timed_out("the try took longer than the route allows"));
        }
        Ok(())
    }
}

/// No timer is set for longer.
const MAX_LEFT_MS: u64 = 24 * 60 * 60 * 1_000;

/// One timer for all that a connection waits for: it is set only to ring earlier, and sets itself anew where it
/// has rung too early. So a time that begins with each request costs no more than a glance at the clock.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<(u64, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Ready once it is this time on the monotonic clock.
    pub(super) fn poll_until(&mut self, at_ms: u64, clock: Clock, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now_ms = clock.mono_ms();
            if now_ms >= at_ms {
                return Poll::Ready(());
            }
            let left = Duration::from_millis((at_ms - now_ms).min(MAX_LEFT_MS));
            let (set_ms, sleep) = self.0.get_or_insert_with(|| (at_ms, Box::pin(tokio::time::sleep(left))));
            if at_ms < *set_ms || *set_ms <= now_ms {
                *set_ms = at_ms;
                sleep.as_mut().reset(Instant::now() + left);
            }
            ready!(sleep.as_mut().poll(cx));
            *set_ms = 0;
        }
    }
}

/// A timer that runs while the client takes nothing of what it is sent.
#[derive(Debug, Default)]
pub(super) struct Stall(Option<Pin<Box<Sleep>>>);

impl Stall {
    /// What came of a write, which may not be pending for longer than `patience`.
    pub(super) fn bound<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.0 = None;
            return written;
        }
        let stall = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client takes nothing of what it is sent")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Whether a timer has run out, which is set anew whenever its `key` is another; 0 = no timer.
fn has_passed(
    timer: &mut Option<(u64, Pin<Box<Sleep>>)>,
    key: u64,
    left: impl FnOnce() -> Duration,
    cx: &mut Context<'_>,
) -> bool {
    if key == 0 {
        *timer = None;
        return false;
    }
    if timer.as_ref().is_none_or(|(set, _)| *set != key) {
        *timer = Some((key, Box::pin(tokio::time::sleep(left()))));
    }
    timer.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
}
