//! When the next request is due: as soon as the last is answered, or by a schedule that waits for nobody.
//!
//! The schedule (an open loop) gives each request the time at which it was meant to be sent, and latency counts from
//! then. A proxy that stalls delays what it would have been sent meanwhile, and all of that is seen: there is no
//! coordinated omission. A connection that is free takes the next turn; where none is free, the turn waits and the
//! wait counts.
//!
//! Timers of the runtime are a millisecond wide, far too coarse for this: [`Pacer::drive`] turns in circles instead,
//! looking after sockets in each, and wakes who is due. It has a core for that, whose time nobody counts.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shared by all connections of a load.
pub(crate) struct Pacer {
    is_over: AtomicBool,
    schedule: Option<Mutex<Schedule>>,
}

struct Schedule {
    start: Instant,
    interval: f64,
    next: u32,
    /// Who waits for which moment, in its order, since turns are given in theirs.
    waiting: VecDeque<(Instant, Waker)>,
}

impl Pacer {
    /// As fast as answers come.
    pub(crate) fn closed() -> Self {
        Self { is_over: AtomicBool::new(false), schedule: None }
    }

    /// So many requests a second from now on, evenly.
    pub(crate) fn open(rate: f64) -> Self {
        let schedule =
            Schedule { start: Instant::now(), interval: 1.0 / rate, next: 0, waiting: VecDeque::new() };
        Self { is_over: AtomicBool::new(false), schedule: Some(Mutex::new(schedule)) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.schedule.is_some()
    }

    /// Waits for the next turn: the moment for which it is meant. `None` when the load is over.
    pub(crate) async fn turn(&self) -> Option<Instant> {
        let Some(schedule) = &self.schedule else {
            return (!self.is_over.load(Relaxed)).then(Instant::now);
        };
        let due = schedule.lock().take();
        poll_fn(|context| {
            if self.is_over.load(Relaxed) {
                return Poll::Ready(None);
            }
            if Instant::now() >= due {
                return Poll::Ready(Some(due));
            }
            schedule.lock().waiting.push_back((due, context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Wakes who is due, until the load is over. Nothing to do for a closed loop.
    pub(crate) async fn drive(&self) {
        let Some(schedule) = &self.schedule else { return };
        while !self.is_over.load(Relaxed) {
            schedule.lock().wake(Instant::now());
            tokio::task::yield_now().await;
        }
    }

    /// No more turns.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Relaxed);
        if let Some(schedule) = &self.schedule {
            schedule.lock().waiting.drain(..).for_each(|(_, waker)| waker.wake());
        }
    }
}

impl Schedule {
    fn take(&mut self) -> Instant {
        let due = self.start + Duration::from_secs_f64(self.interval * f64::from(self.next));
        self.next += 1;
        due
    }

    fn wake(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, waker)) = self.waiting.pop_front() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn turns_keep_to_the_schedule_whoever_is_late() {
        let pacer = Arc::new(Pacer::open(1_000.0));
        let driver = tokio::spawn({
            let pacer = Arc::clone(&pacer);
            async move { pacer.drive().await }
        });
        let first = pacer.turn().await.expect("not over");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let second = pacer.turn().await.expect("not over");
        assert_eq!(second - first, Duration::from_millis(1), "meant for then, however late it is");
        assert!(Instant::now() >= second);
        pacer.end();
        assert_eq!(pacer.turn().await, None);
        driver.await.expect("ends with the load");
    }

    #[tokio::test]
    async fn an_end_wakes_who_waits() {
        let pacer = Arc::new(Pacer::open(0.001));
        let _ = pacer.turn().await;
        let waiting = tokio::spawn({
            let pacer = Arc::clone(&pacer);
            async move { pacer.turn().await }
        });
        tokio::task::yield_now().await;
        pacer.end();
        assert_eq!(waiting.await.expect("ends"), None);
    }
}
