//! Visitors who come at a steady rate, whoever has been answered: an open loop, as real traffic is.
//!
//! A closed loop slows down with what it measures: when a candidate hangs, it asks less, and the test is
//! easier than life. Here a request is due when its time has come; where all connections are busy it waits
//! for one, and is sent late, but it is sent. Each visitor has an id (`x-user-id`); every answer is counted
//! by who gave it and what it was, and so are the users who saw anything but a whole 2xx.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::{Client, Dice, Request};

/// How many come, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    /// Requests a second, of all of them.
    pub(crate) rate: u64,
    /// Keep-alive connections at most.
    pub(crate) connections: u64,
    /// So many different users: the ids are `user-0`, `user-1`, …
    pub(crate) users: u64,
    pub(crate) target: &'static str,
}

impl Crowd {
    pub(crate) fn of(rate: u64) -> Self {
        Self { rate, connections: 48, users: 20_000, target: "/" }
    }
}

/// A running crowd.
pub(crate) struct Visitors {
    due: Arc<Semaphore>,
    tally: Arc<Mutex<Tally>>,
    pacing: AbortHandle,
    tasks: JoinSet<()>,
}

/// What visitors saw.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    since: Instant,
    /// By upstream (empty: the proxy itself, or nobody) and status (or what became of the connection).
    pub(crate) answers: BTreeMap<(String, String), u64>,
    /// Users who saw an error, by upstream as above.
    hurt: BTreeMap<String, BTreeSet<u64>>,
    /// When the first error was seen.
    pub(crate) first_error: Option<Instant>,
    /// Of whole 2xx answers.
    durations: Vec<Duration>,
}

impl Tally {
    fn new() -> Self {
        let (answers, hurt) = (BTreeMap::new(), BTreeMap::new());
        Self { since: Instant::now(), answers, hurt, first_error: None, durations: Vec::new() }
    }

    /// All that was answered or lost.
    pub(crate) fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Answers of an upstream.
    pub(crate) fn of(&self, upstream: &str) -> u64 {
        self.answers.iter().filter(|((name, _), _)| name == upstream).map(|(_, count)| count).sum()
    }

    /// Anything but a whole 2xx.
    pub(crate) fn errors(&self) -> u64 {
        self.answers.iter().filter(|((_, what), _)| !what.starts_with('2')).map(|(_, count)| count).sum()
    }

    /// Users who saw an error that was not this upstream's own.
    pub(crate) fn hurt_beside(&self, upstream: &str) -> usize {
        let others = self.hurt.iter().filter(|(name, _)| *name != upstream);
        others.flat_map(|(_, users)| users).collect::<BTreeSet<_>>().len()
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.total() as f64 / self.since.elapsed().as_secs_f64()
    }

    /// The time to a whole 2xx that so many of a thousand were not above.
    pub(crate) fn quantile(&self, of_thousand: usize) -> Duration {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        let at = sorted.len() * of_thousand / 1000;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Not one answer lost, not one failed.
    #[track_caller]
    pub(crate) fn assert_clean(&self, at_least: u64) {
        assert_eq!(self.errors(), 0, "{:?}", self.answers);
        assert!(self.total() >= at_least, "only {} answers", self.total());
    }

    fn add(&mut self, user: u64, upstream: &str, what: String, took: Duration) {
        if what.starts_with('2') {
            self.durations.push(took);
        } else {
            self.first_error.get_or_insert_with(Instant::now);
            self.hurt.entry(upstream.to_owned()).or_default().insert(user);
        }
        *self.answers.entry((upstream.to_owned(), what)).or_default() += 1;
    }
}

impl Visitors {
    pub(crate) fn start(address: SocketAddr, crowd: &Crowd) -> Self {
        let (due, tally) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Tally::new())));
        let mut tasks = JoinSet::new();
        let pacing = tasks.spawn(pace(crowd.rate, Arc::clone(&due)));
        for number in 0..crowd.connections {
            tasks.spawn(visit(address, crowd.clone(), number, Arc::clone(&due), Arc::clone(&tally)));
        }
        Self { due, tally, pacing, tasks }
    }

    /// What has been seen since the start, or since the last [`Self::take`].
    pub(crate) fn so_far(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// What has been seen, and begin anew.
    pub(crate) fn take(&self) -> Tally {
        std::mem::replace(&mut *self.tally.lock(), Tally::new())
    }

    pub(crate) fn first_error(&self) -> Option<Instant> {
        self.tally.lock().first_error
    }

    /// Wait until so many more requests have been answered.
    pub(crate) async fn flow(&self, more: u64) {
        let goal = self.tally.lock().total() + more;
        let flowing = async || (self.tally.lock().total() >= goal).then_some(());
        super::eventually("the visitors are answered", flowing).await;
    }

    /// Requests whose time has come and for which there was no connection yet.
    pub(crate) fn behind(&self) -> usize {
        self.due.available_permits()
    }

    /// Let each finish the request that it is at, and count.
    pub(crate) async fn stop(mut self) -> Tally {
        self.pacing.abort();
        self.due.close();
        while self.tasks.join_next().await.is_some() {}
        self.so_far()
    }
}

/// Let requests become due, by the clock: what a busy machine delays is made up for.
async fn pace(rate: u64, due: Arc<Semaphore>) {
    let (start, mut issued) = (Instant::now(), 0);
    let mut clock = tokio::time::interval(Duration::from_millis(2));
    loop {
        clock.tick().await;
        let wanted = usize::try_from(start.elapsed().as_micros() * u128::from(rate) / 1_000_000).unwrap();
        due.add_permits(wanted - issued);
        issued = wanted;
    }
}

async fn visit(
    address: SocketAddr,
    crowd: Crowd,
    number: u64,
    due: Arc<Semaphore>,
    tally: Arc<Mutex<Tally>>,
) {
    let (mut client, mut dice) = (Client::new(address), Dice::new(number << 32));
    while let Ok(permit) = due.acquire().await {
        permit.forget();
        let user = dice.below(crowd.users);
        let request = Request::get(crowd.target).header("x-user-id", &format!("user-{user}"));
        let sent = Instant::now();
        let outcome = client.send(&request).await;
        let took = sent.elapsed();
        let (upstream, what) = match &outcome {
            Ok(response) => (response.upstream(), response.status.to_string()),
            Err(fail) => ("", format!("{fail:?}")),
        };
        tally.lock().add(user, upstream, what, took);
    }
}
