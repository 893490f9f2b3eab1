//! The drain of the whole process: told to clients before anything is closed.
//!
//! Three phases. *Serving*. *Announced*: `/readyz` fails, connections are still accepted, every
//! answer says `Connection: close`. *Closing*: listeners are closed, exchanges finish; a kept-alive
//! connection that was not told yet may send one more request within [`LINGER`], and is told with
//! its answer. The process ends as soon as no connection is left, or at `shutdown_timeout`.
//!
//! pingora's own grace period is an unconditional sleep, and cuts kept-alive clients without a word;
//! none of it is used.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an idle kept-alive connection is waited for once the listeners are closed.
pub(crate) const LINGER: Duration = Duration::from_millis(500);

/// So long before the end tunnels are told, which can be told nothing sooner.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Announced,
    /// Connections that idle are closed at `last_request`.
    Closing {
        last_request: Instant,
    },
}

/// Where the drain stands, and who has to finish.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    /// pingora's form of "say `Connection: close`", and one that looks at it.
    announced: watch::Sender<bool>,
    told: ShutdownWatch,
    connections: TaskTracker,
    /// Ends tunnels.
    cut: CancellationToken,
    active: Arc<AtomicUsize>,
    /// The listeners on which another process accepts now.
    handed_over: OnceLock<BTreeSet<String>>,
}

/// An exchange under way, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active(Arc<AtomicUsize>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Drain {
    pub(crate) fn new() -> Arc<Self> {
        let announced = watch::Sender::new(false);
        Arc::new(Self {
            phase: watch::Sender::new(Phase::Serving),
            told: announced.subscribe(),
            announced,
            connections: TaskTracker::new(),
            cut: CancellationToken::new(),
            active: Arc::default(),
            handed_over: OnceLock::new(),
        })
    }

    /// Runs a connection's task, which the drain will wait for.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(connection);
    }

    /// Like [`Self::spawn`], for what accepts connections: the drain must not end before the last
    /// that was waiting is taken in.
    pub(crate) fn spawn_on(&self, runtime: &Handle, accepting: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn_on(accepting, runtime);
    }

    /// An exchange begins.
    pub(crate) fn begin_exchange(&self) -> Active {
        self.active.fetch_add(1, Relaxed);
        Active(Arc::clone(&self.active))
    }

    /// What pingora looks at to know whether to keep a connection.
    pub(crate) fn told(&self) -> &ShutdownWatch {
        &self.told
    }

    /// Whether answers say `Connection: close`.
    pub(crate) fn is_announced(&self) -> bool {
        *self.announced.borrow()
    }

    /// Resolves when clients are to be told that their connections will close.
    pub(crate) async fn announced(&self) {
        // The sender lives in `self`, so the wait cannot end otherwise.
        let _ = self.announced.subscribe().wait_for(|announced| *announced).await;
    }

    /// From now on answers say `Connection: close`.
    pub(crate) fn announce(&self) {
        self.announced.send_replace(true);
        self.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Announced;
            }
            serving
        });
    }

    /// Closes the listeners and waits until no connection is left, at most so long; how many
    /// exchanges were still under way then.
    pub(crate) async fn close(&self, timeout: Duration) -> usize {
        self.end(LINGER, timeout).await
    }

    /// Like [`Self::close`], after another process has begun to accept on these listeners: kept-alive
    /// connections are waited for as long as exchanges are.
    pub(crate) async fn close_handed_over(&self, listeners: BTreeSet<String>, timeout: Duration) -> usize {
        // A process hands over once.
        let _ = self.handed_over.set(listeners);
        self.end(timeout, timeout).await
    }

    async fn end(&self, linger: Duration, timeout: Duration) -> usize {
        self.announce();
        self.phase.send_replace(Phase::Closing { last_request: Instant::now() + linger });
        self.connections.close();
        let farewell = FAREWELL.min(timeout);
        if tokio::time::timeout(timeout.saturating_sub(farewell), self.connections.wait()).await.is_ok() {
            return 0;
        }
        self.cut.cancel();
        if tokio::time::timeout(farewell, self.connections.wait()).await.is_ok() {
            return 0;
        }
        self.active.load(Relaxed)
    }

    /// Ends tunnels when it is cancelled.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Waits for idle connections no longer than a drain that nobody has taken over from.
    pub(crate) fn hurry(&self) {
        let soon = Instant::now() + LINGER;
        self.phase.send_if_modified(|phase| match phase {
            Phase::Closing { last_request } if *last_request > soon => {
                *last_request = soon;
                true
            }
            _ => false,
        });
    }

    /// Whether another process accepts on this listener now.
    pub(crate) fn is_handed_over(&self, listener: &str) -> bool {
        self.handed_over.get().is_some_and(|listeners| listeners.contains(listener))
    }

    /// Resolves when listeners are to be closed.
    pub(crate) async fn listeners_close(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so the wait cannot end otherwise.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Closing { .. })).await;
    }

    /// Resolves when a connection that idles is to be closed.
    pub(crate) async fn no_more_requests(&self) {
        let mut phase = self.phase.subscribe();
        loop {
            let now = *phase.borrow_and_update();
            let over = async {
                match now {
                    Phase::Closing { last_request } => tokio::time::sleep_until(last_request).await,
                    Phase::Serving | Phase::Announced => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender lives in `self`.
                _ = phase.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_as_soon_as_nothing_is_left() {
        let drain = Drain::new();
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        drain.spawn(async move {
            let _ = finished.await;
        });
        let start = Instant::now();
        let closing = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.close(Duration::from_secs(30)).await }
        });
        drain.listeners_close().await;
        assert!(drain.is_announced());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _ = done.send(());
        assert_eq!(closing.await.expect("no panic"), 0);
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_waited_for_when_another_process_has_taken_over() {
        let shutdown_timeout = Duration::from_secs(30);
        for (handed_over, hurried, idles_ms) in
            [(false, false, 500), (true, false, 30_000), (true, true, 500), (false, true, 500)]
        {
            let drain = Drain::new();
            drain.spawn({
                let drain = Arc::clone(&drain);
                async move { drain.no_more_requests().await }
            });
            let start = Instant::now();
            let listeners = BTreeSet::from(["web".to_owned()]);
            let closing = async {
                if handed_over {
                    drain.close_handed_over(listeners, shutdown_timeout).await
                } else {
                    drain.close(shutdown_timeout).await
                }
            };
            let hurrying = async {
                drain.listeners_close().await;
                if hurried {
                    drain.hurry();
                }
            };
            tokio::join!(closing, hurrying);
            assert_eq!(start.elapsed().as_millis(), idles_ms, "{handed_over} {hurried}");
            assert_eq!(drain.is_handed_over("web"), handed_over);
            assert!(!drain.is_handed_over("other"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_what_it_cuts() {
        let drain = Drain::new();
        let active = drain.begin_exchange();
        drain.spawn(std::future::pending());
        assert_eq!(drain.close(Duration::from_secs(10)).await, 1);
        drop(active);
    }
}
