//! The drain of the whole process: told to clients before anything is closed.
//!
//! Three phases. *Serving*. *Announced*: `/readyz` fails, connections are still accepted, every
//! answer says `Connection: close`. *Closing*: listeners are closed, exchanges finish; a kept-alive
//! connection that was not told yet may send one more request within [`LINGER`], and is told with
//! its answer. The process ends as soon as no connection is left, or at `shutdown_timeout`.
//!
//! pingora's own grace period is an unconditional sleep, and cuts kept-alive clients without a word;
//! none of it is used.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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
    Closing(Instant),
}

/// Where the drain stands, and who has to finish.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    /// pingora's form of "say `Connection: close`".
    announced: watch::Sender<bool>,
    connections: TaskTracker,
    /// Ends tunnels.
    cut: CancellationToken,
    active: Arc<AtomicUsize>,
}

/// An exchange under way, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active {
    count: Arc<AtomicUsize>,
    watch: ShutdownWatch,
}

impl Active {
    /// What the gateway looks at to know whether to keep the connection.
    pub(crate) fn watch(&self) -> &ShutdownWatch {
        &self.watch
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

impl Drain {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: watch::Sender::new(Phase::Serving),
            announced: watch::Sender::new(false),
            connections: TaskTracker::new(),
            cut: CancellationToken::new(),
            active: Arc::default(),
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
        Active { count: Arc::clone(&self.active), watch: self.announced.subscribe() }
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
        self.announce();
        self.phase.send_replace(Phase::Closing(Instant::now()));
        self.connections.close();
        let farewell = FAREWELL.min(timeout);
        if tokio::time::timeout(timeout - farewell, self.connections.wait()).await.is_ok() {
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

    /// Resolves when listeners are to be closed.
    pub(crate) async fn listeners_close(&self) {
        self.closing().await;
    }

    /// Resolves when a connection that idles is to be closed.
    pub(crate) async fn no_more_requests(&self) {
        let since = self.closing().await;
        tokio::time::sleep_until(since + LINGER).await;
    }

    async fn closing(&self) -> Instant {
        let mut phase = self.phase.subscribe();
        let reached = phase.wait_for(|p| matches!(p, Phase::Closing(_))).await;
        match reached.map(|p| *p) {
            Ok(Phase::Closing(since)) => since,
            // The sender lives in `self`, so the wait cannot end otherwise.
            _ => std::future::pending().await,
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
    async fn counts_what_it_cuts() {
        let drain = Drain::new();
        let active = drain.begin_exchange();
        drain.spawn(std::future::pending());
        assert_eq!(drain.close(Duration::from_secs(10)).await, 1);
        drop(active);
    }
}
