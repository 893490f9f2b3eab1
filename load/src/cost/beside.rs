//! What goes on beside a load: scrapes, changes of weights, reloads.
//!
//! It runs in the load's own thread, as long as the load does. Each is counted when it is done: a change when its
//! answer is here, which comes after the swap, and in the end all of them once more by the generations that they made;
//! a reload when the API tells the next generation.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::admin::{Admin, number};
use super::measure::CONFIGS;
use crate::measure::Figures;
use crate::peer::Serving;
use crate::work::PATIENCE;

/// Changes a second, and connections over which they come, so that one that takes long does not hold up the next.
pub(super) const CHANGES: u32 = 100;
const OPERATORS: u32 = 4;

const SCRAPE_EVERY: Duration = Duration::from_secs(1);
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// How often it is asked whether a reload is in force, and so how exactly its time is known.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A kind of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    Scrapes,
    Changes,
    Reloads,
}

/// What is going on, until it is told to end.
pub(super) struct Going {
    kind: Beside,
    start: Instant,
    over: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<()>>>,
    done: Arc<Done>,
    admin: SocketAddr,
    /// Before the first change.
    generation: u64,
}

/// What was done.
#[derive(Default)]
struct Done {
    times: Mutex<Vec<Duration>>,
    /// Of the last answer.
    bytes: AtomicU64,
    /// Changes begun, so that no two weights in a row are alike.
    begun: AtomicU64,
}

impl Done {
    /// It began then and is done now.
    fn one(&self, since: Instant) {
        self.times.lock().push(since.elapsed());
    }
}

impl Beside {
    pub(super) async fn start(self, serving: &Serving) -> Result<Going> {
        let (over, until) = watch::channel(false);
        let done = Arc::new(Done::default());
        let admin = serving.admin;
        let generation = if self == Self::Changes { generation(admin).await? } else { 0 };
        let start = Instant::now();
        let tasks = match self {
            Self::Nothing => Vec::new(),
            Self::Scrapes => vec![tokio::spawn(scrape(admin, Arc::clone(&done), until))],
            Self::Changes => (0..OPERATORS)
                .map(|at| tokio::spawn(change(admin, at, start, Arc::clone(&done), until.clone())))
                .collect(),
            Self::Reloads => {
                let folder = serving.folder().to_owned();
                vec![tokio::spawn(reload(admin, folder, Arc::clone(&done), until))]
            }
        };
        Ok(Going { kind: self, start, over, tasks, done, admin, generation })
    }
}

impl Going {
    /// Ends it, once what was begun is done; what it came to.
    pub(super) async fn end(self) -> Result<Figures> {
        let seconds = self.start.elapsed().as_secs_f64();
        let _ = self.over.send(true);
        let deadline = Instant::now() + PATIENCE;
        for mut task in self.tasks {
            let Ok(ended) = timeout_at(deadline, &mut task).await else {
                task.abort();
                bail!("what goes on beside the load did not end");
            };
            ended??;
        }
        let mut times = std::mem::take(&mut *self.done.times.lock());
        if self.kind == Beside::Changes {
            let made = generation(self.admin).await? - self.generation;
            let answered = times.len() as u64;
            ensure!(made == answered, "{answered} changes were answered well, and {made} were made");
        }
        let bytes = self.done.bytes.load(Relaxed);
        Ok(figures(self.kind, &mut times, seconds, bytes))
    }
}

fn figures(kind: Beside, times: &mut [Duration], seconds: f64, bytes: u64) -> Figures {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let most = times.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
    let count = times.len() as f64;
    let named: &[(&str, f64)] = match kind {
        Beside::Nothing => &[],
        Beside::Scrapes => {
            &[("scrapes", count), ("scrape_ms", middle), ("scrape_kib", bytes as f64 / 1024.0)]
        }
        Beside::Changes => &[
            ("changes", count),
            ("changes_per_s", count / seconds),
            ("change_ms", middle),
            ("change_max_ms", most),
        ],
        Beside::Reloads => &[("reloads", count), ("reload_ms", middle), ("reload_max_ms", most)],
    };
    named.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// Waits until then; whether it is over before.
async fn is_over(until: &mut watch::Receiver<bool>, then: Instant) -> bool {
    timeout_at(then, until.wait_for(|over| *over)).await.is_ok()
}

async fn scrape(address: SocketAddr, done: Arc<Done>, mut until: watch::Receiver<bool>) -> Result<()> {
    let mut admin = Admin::connect(address).await?;
    loop {
        let began = Instant::now();
        let text = admin.text("GET", "/metrics", "").await?;
        done.one(began);
        done.bytes.store(text.len() as u64, Relaxed);
        if is_over(&mut until, began + SCRAPE_EVERY).await {
            return Ok(());
        }
    }
}

/// One of the operators. Each change is due at its time, however long the one before took.
async fn change(
    address: SocketAddr,
    at: u32,
    start: Instant,
    done: Arc<Done>,
    mut until: watch::Receiver<bool>,
) -> Result<()> {
    let mut admin = Admin::connect(address).await?;
    let interval = Duration::from_secs(1) / CHANGES;
    let mut due = start + interval * at;
    loop {
        if is_over(&mut until, due).await {
            return Ok(());
        }
        let began = Instant::now();
        let body = weights(done.begun.fetch_add(1, Relaxed));
        admin.call("PUT", "/v1/splits/shop/weights", &body).await?;
        done.one(began);
        due += interval * OPERATORS;
    }
}

/// About a tenth to the second pool, each time a little more or less.
fn weights(number: u64) -> String {
    let canary = 1_000 + number % 100;
    format!(r#"{{"weights":{{"stable":{},"canary":{canary}}}}}"#, 10_000 - canary)
}

async fn generation(address: SocketAddr) -> Result<u64> {
    number(&Admin::connect(address).await?.get("/v1/status").await?, "/generation")
}

async fn reload(
    address: SocketAddr,
    folder: PathBuf,
    done: Arc<Done>,
    mut until: watch::Receiver<bool>,
) -> Result<()> {
    let mut admin = Admin::connect(address).await?;
    let mut in_force = number(&admin.get("/v1/status").await?, "/generation")?;
    // A load may follow another: the next file is the one that is not in force.
    let is_first = fs::read(folder.join(CONFIGS[0]))? == fs::read(folder.join(CONFIGS[1]))?;
    let files = if is_first { [CONFIGS[2], CONFIGS[1]] } else { [CONFIGS[1], CONFIGS[2]] };
    for file in files.into_iter().cycle() {
        let began = Instant::now();
        replace(&folder, file)?;
        in_force = await_next(&mut admin, in_force, began).await?;
        done.one(began);
        if is_over(&mut until, began + RELOAD_EVERY).await {
            break;
        }
    }
    Ok(())
}

/// As an editor does it: the whole file by one rename. A link, so that nothing is written meanwhile.
fn replace(folder: &Path, file: &str) -> Result<()> {
    let next = folder.join("next");
    fs::hard_link(folder.join(file), &next)?;
    Ok(fs::rename(next, folder.join(CONFIGS[0]))?)
}

/// Waits for another generation than this.
async fn await_next(admin: &mut Admin, before: u64, began: Instant) -> Result<u64> {
    loop {
        let status = admin.get("/v1/status").await?;
        let generation = number(&status, "/generation")?;
        if generation > before {
            return Ok(generation);
        }
        let last = &status["last_reload"];
        ensure!(last["ok"] == true, "a file was refused: {last}");
        ensure!(began.elapsed() < PATIENCE, "a file was not in force after {PATIENCE:?}");
        sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_weights_in_a_row_are_alike_and_all_add_up() {
        assert_eq!(weights(0), r#"{"weights":{"stable":9000,"canary":1000}}"#);
        assert_eq!(weights(199), r#"{"weights":{"stable":8901,"canary":1099}}"#);
        assert!((0..300).all(|number| weights(number) != weights(number + 1)));
    }

    #[test]
    fn figures_of_each_kind() {
        let times = [3, 1, 2].map(Duration::from_millis);
        let of = |kind| figures(kind, &mut times.clone(), 2.0, 2_048);
        assert!(of(Beside::Nothing).is_empty());
        for (kind, name, wanted) in [
            (Beside::Scrapes, "scrape_kib", 2.0),
            (Beside::Scrapes, "scrape_ms", 2.0),
            (Beside::Changes, "changes_per_s", 1.5),
            (Beside::Changes, "change_max_ms", 3.0),
            (Beside::Reloads, "reloads", 3.0),
            (Beside::Reloads, "reload_ms", 2.0),
        ] {
            assert!((of(kind)[name] - wanted).abs() < 1e-9, "{name}");
        }
    }
}
