//! Keep-alive connections at full speed, which count every answer and every failure.
//!
//! A failure is anything but a whole 200: a refused connection, a connection closed without notice, a cut
//! body, another status. Connections are made again only after an announced close (or after a failure, so
//! that one failure is counted once).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Client, Request};

/// A running load.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    address: watch::Sender<SocketAddr>,
    answered: Arc<AtomicUsize>,
    tasks: JoinSet<Tally>,
}

/// What one load saw.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// Whole 200 responses by upstream.
    pub(crate) answers: BTreeMap<String, usize>,
    pub(crate) failures: Vec<String>,
    pub(crate) connects: usize,
}

impl Tally {
    pub(crate) fn total(&self) -> usize {
        self.answers.values().sum()
    }

    pub(crate) fn of(&self, upstream: &str) -> usize {
        self.answers.get(upstream).copied().unwrap_or(0)
    }

    /// Not one failure among many answers.
    #[track_caller]
    pub(crate) fn assert_clean(&self, at_least: usize) {
        let (first, failed) = (self.failures.iter().take(5).collect::<Vec<_>>(), self.failures.len());
        assert!(self.failures.is_empty(), "{failed} failures beside {} answers: {first:#?}", self.total());
        assert!(self.total() >= at_least, "only {} answers", self.total());
    }

    fn add(&mut self, other: Self) {
        for (name, count) in other.answers {
            *self.answers.entry(name).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.connects += other.connects;
    }
}

impl Load {
    /// So many connections, each sending `request` as fast as it is answered.
    pub(crate) fn start(address: SocketAddr, connections: usize, request: &Request) -> Self {
        Self::start_paced(address, connections, request, Duration::ZERO)
    }

    /// As [`Self::start`], with this pause after each answer.
    pub(crate) fn start_paced(
        address: SocketAddr,
        connections: usize,
        request: &Request,
        pause: Duration,
    ) -> Self {
        let (stop, address) = (watch::channel(false).0, watch::channel(address).0);
        let answered = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let request = request.clone().header("x-user-id", &format!("load-{number}"));
            let (stop, address) = (stop.subscribe(), address.subscribe());
            tasks.spawn(run(stop, address, request, Arc::clone(&answered), pause));
        }
        Self { stop, address, answered, tasks }
    }

    /// So many clients of another kind: each runs until it is told to stop, and says what it saw.
    pub(crate) fn of<F>(
        address: SocketAddr,
        clients: usize,
        client: impl Fn(watch::Receiver<bool>, SocketAddr, Arc<AtomicUsize>) -> F,
    ) -> Self
    where
        F: Future<Output = Tally> + Send + 'static,
    {
        let (stop, answered) = (watch::channel(false).0, Arc::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(stop.subscribe(), address, Arc::clone(&answered)));
        }
        Self { stop, address: watch::channel(address).0, answered, tasks }
    }

    /// Where connections made from now on go.
    pub(crate) fn redirect(&self, address: SocketAddr) {
        self.address.send_replace(address);
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Wait until so many more requests have been answered: the load is flowing.
    pub(crate) async fn flows(&self, more: usize) {
        let goal = self.answered() + more;
        super::eventually("the load is answered", async || (self.answered() >= goal).then_some(())).await;
    }

    /// Let each connection finish the request that it is at, and count.
    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        let mut tally = Tally::default();
        while let Some(one) = self.tasks.join_next().await {
            tally.add(one.unwrap());
        }
        tally
    }
}

async fn run(
    stop: watch::Receiver<bool>,
    address: watch::Receiver<SocketAddr>,
    request: Request,
    answered: Arc<AtomicUsize>,
    pause: Duration,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::new(*address.borrow());
    let mut number = 0_usize;
    while !*stop.borrow() {
        client.set_address(*address.borrow());
        // A user of its own for each request, so that the whole key space is used.
        let mut request = request.clone();
        if let Some((_, user)) = request.headers.last_mut() {
            *user = format!("{user}-{number}");
        }
        number += 1;
        match client.send(&request).await {
            Ok(response) if response.status == 200 => {
                *tally.answers.entry(response.upstream().to_owned()).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(response) => {
                let error = response.header("x-tidegate-error").unwrap_or_default().to_owned();
                tally.failures.push(format!("{} {error} {}", response.status, response.text()));
            }
            Err(fail) => {
                tally.failures.push(format!("request {number} of this connection: {fail:?}"));
                // A dead port must not turn into a busy loop.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    tally.connects = client.connects;
    tally
}
