//! The one door to changes: whoever wants something changed, the API, the file or the clock, comes
//! through [`Control::apply`].
//!
//! A change is worked out and swapped by [`Live`]; this adds what touches the world: it is on disk
//! before it is in force, and told to the log and to listeners after. One lock covers all three, so
//! that the journal, the log and the events have the same order. Requests never take it.

mod found;
mod material;
mod open;
mod standing;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tidegate_core::address::Address;
use tidegate_core::change::{Change, Rejected, Request};
use tidegate_core::config::Config;
use tidegate_core::event::{Event, Kind};
use tidegate_core::live::{Applied, Live, View};
use tidegate_core::rollout::{Decided, Verdict};
use tidegate_core::snapshot::Snapshot;
use tidegate_core::state::{Entry, Record};
use tidegate_core::units::Generation;
use tidegate_core::validate::{Problem, Valid};
use tokio::sync::watch;

use crate::access::Token;
use crate::board::Board;
use crate::clock::Clock;
use crate::events::Bus;
use crate::keeper::Keeper;
use crate::process::Process;
use crate::source::{Reading, Source};
use crate::tls::Material;
use crate::wire;

pub use open::{Options, Prepared, StartError, problems_of_files};
use standing::Standing;

/// Everything that the admin API, the watcher and the proxy share.
pub struct Control {
    live: Arc<Live>,
    clock: Clock,
    events: Bus,
    process: Process,
    written_address: String,
    source: Source,
    token: Option<Token>,
    /// The certificates in use. Changed with the lock of `last_reading` held.
    material: ArcSwap<Material>,
    /// Held from before a change is written down until it has been told.
    keeper: Mutex<Keeper>,
    /// Changed only while `keeper` is locked.
    standing: Mutex<Standing>,
    store_failures: AtomicU64,
    tables: watch::Sender<Arc<Snapshot>>,
    board: Board,
    /// What the file said when it was last put in force or refused; none when it is to be tried again.
    ///
    /// Held while the file is read and put in force, so that an older reading cannot win.
    last_reading: Mutex<Option<Reading>>,
    /// Held for moments only.
    reloads: Mutex<Reloads>,
}

/// What has come of reloads.
#[derive(Clone, Debug)]
pub struct Reloads {
    /// When the file was last read, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was wrong with it; empty when it was good.
    pub problems: Vec<Problem>,
    /// Files put in force since the start.
    pub ok: u64,
    /// Files that said what was in force already.
    pub unchanged: u64,
    /// Files that were not good.
    pub failed: u64,
}

/// Who wants a reload, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Who.
    pub actor: String,
    /// Why, as they said.
    pub reason: Option<String>,
    /// Refuse if anything has changed since this generation.
    pub if_match: Option<Generation>,
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub enum Reloaded {
    /// Another file is in force.
    Changed(Box<Applied>),
    /// The file says what is in force already.
    Unchanged,
}

impl Control {
    /// The running table.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The clocks.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Where events are published and listened to.
    pub fn events(&self) -> &Bus {
        &self.events
    }

    /// Publishes what has come about just now, under the table in force.
    pub fn tell<const N: usize>(&self, kind: Kind, actor: &str, message: String, detail: [(&str, Value); N]) {
        self.events.publish(Event {
            kind,
            time_ms: self.clock.now().wall_ms,
            generation: self.live.peek().generation,
            actor: actor.into(),
            message,
            detail: detail.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        });
    }

    /// What is known of the process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The tables as they are put in force; the receiver holds the newest.
    pub fn tables(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.tables.subscribe()
    }

    /// Where the admin API listens: as bound, or before that as written.
    pub fn admin_address(&self) -> String {
        let bound = self.process.admin_address().map(str::to_owned);
        bound.unwrap_or_else(|| self.written_address.clone())
    }

    /// The configuration file, if there is one.
    pub fn config_path(&self) -> Option<&PathBuf> {
        self.source.path.as_ref()
    }

    /// A path as written in the file: a relative one starts at the file's folder.
    pub fn resolve(&self, written: &str) -> PathBuf {
        self.source.resolve(written)
    }

    /// An address as one can connect to it: a socket's path is found as any other in the file.
    pub fn locate(&self, address: &Address) -> Address {
        match address {
            Address::Unix(path) if path.is_relative() => Address::Unix(self.source.resolve(path).into()),
            Address::Unix(_) | Address::Tcp(_) => address.clone(),
        }
    }

    /// What has come of reloads.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().clone()
    }

    /// Changes that could not be written to the state folder.
    pub fn store_failures(&self) -> u64 {
        self.store_failures.load(Relaxed)
    }

    /// Whether what is in force survives a restart. Not while a change waits for its disk: then nobody
    /// knows yet.
    pub fn is_durable(&self) -> Option<bool> {
        self.keeper.try_lock().map(|keeper| keeper.is_durable())
    }

    /// What is known of rollouts beyond the table.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Makes a change. It is on disk and in force when this returns, and has been told.
    ///
    /// Once begun it is finished, also when the caller goes away.
    pub async fn apply(self: &Arc<Self>, request: Request) -> Result<Applied, Rejected> {
        let control = Arc::clone(self);
        blocking(move || control.apply_now(&request)).await
    }

    /// What a change would do.
    pub async fn dry_run(self: &Arc<Self>, request: Request) -> Result<Applied, Rejected> {
        let control = Arc::clone(self);
        blocking(move || control.live.dry_run(&request, control.clock.now())).await
    }

    /// Everything that is in force.
    ///
    /// A change that waits for its disk holds this up; other calls must not wait with it.
    pub async fn view(self: &Arc<Self>) -> View {
        let live = Arc::clone(&self.live);
        blocking(move || live.view()).await
    }

    /// Whether a runtime value's time is over; waits aside for the same reason.
    pub(crate) async fn has_expired(self: &Arc<Self>) -> bool {
        let control = Arc::clone(self);
        blocking(move || control.live.has_expired(control.clock.now())).await
    }

    /// Reads the file again, and puts it in force when it is good and says something else.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, Rejected> {
        self.reload_as(By { actor: "file".into(), ..By::default() }).await
    }

    /// Like [`Self::reload`], at the wish of someone.
    pub async fn reload_as(self: &Arc<Self>, by: By) -> Result<Reloaded, Rejected> {
        let control = Arc::clone(self);
        blocking(move || {
            let mut last = control.last_reading.lock();
            control.reload_from(control.source.text(), &mut last, by)
        })
        .await
    }

    /// Reads the file again unless it says, good or bad, what it said the last time.
    ///
    /// For the watcher: what a file says is told once, however often something touches it.
    pub async fn reload_if_other(self: &Arc<Self>) {
        let control = Arc::clone(self);
        blocking(move || {
            let mut last = control.last_reading.lock();
            let reading = control.source.text();
            if last.as_ref() != Some(&reading) {
                // What was wrong has been told.
                let by = By { actor: "file".into(), ..By::default() };
                let _ = control.reload_from(reading, &mut last, by);
            }
        })
        .await;
    }

    /// What a reload would do.
    pub(crate) async fn dry_reload(self: &Arc<Self>, by: By) -> Result<Reloaded, Rejected> {
        let control = Arc::clone(self);
        blocking(move || {
            let (request, _) = control.reload_request(&control.source.text(), by)?;
            let Some(request) = request else { return Ok(Reloaded::Unchanged) };
            Ok(Reloaded::Changed(Box::new(control.live.dry_run(&request, control.clock.now())?)))
        })
        .await
    }

    /// What putting a text in force as the file would do, beside the file that is in force.
    pub(crate) async fn check(
        self: &Arc<Self>,
        text: String,
    ) -> Result<(Arc<Valid<Config>>, Applied), Rejected> {
        let control = Arc::clone(self);
        blocking(move || {
            let config = control.source.check(&text).map_err(Rejected::Invalid)?;
            control.read_material(&config).map_err(Rejected::Invalid)?;
            let running = control.live.view().config;
            let change = Change::Reload(config);
            let request = Request { change, actor: "api".into(), reason: None, if_match: None };
            Ok((running, control.live.dry_run(&request, control.clock.now())?))
        })
        .await
    }

    fn apply_now(&self, request: &Request) -> Result<Applied, Rejected> {
        let mut keeper = self.keeper.lock();
        self.standing.lock().check(&request.change)?;
        let mut unwritten = None;
        let persisted =
            |record: &Record| keeper.append(record).inspect_err(|_| unwritten = Some(record.clone()));
        let applied = self.live.apply(request, self.clock.now(), persisted).inspect_err(|rejected| {
            if let Rejected::NotDurable(error) = rejected {
                self.store_failures.fetch_add(1, Relaxed);
                tracing::error!(error, "a change could not be written to the state folder, and was not made");
            }
        })?;
        let entry = &applied.entry;
        if let Some(error) = &applied.unsaved {
            if let Some(record) = unwritten {
                keeper.owe(record);
            }
            self.store_failures.fetch_add(1, Relaxed);
            tracing::error!(
                error,
                generation = entry.generation,
                action = entry.action,
                "IN FORCE, BUT NOT WRITTEN DOWN: the state folder cannot be written; until it can, a restart \
                 would undo this"
            );
        }
        tracing::info!(
            generation = entry.generation,
            action = entry.action,
            actor = entry.actor,
            reason = entry.reason,
            before = %serde_json::to_string(&entry.before).unwrap_or_default(),
            after = %serde_json::to_string(&entry.after).unwrap_or_default(),
            "change"
        );
        self.standing.lock().note(entry);
        let verdict = entry.verdict.as_ref().map(|verdict| tell_verdict(entry, verdict));
        self.board.note_ended(entry, &applied.previous, &applied.snapshot);
        self.tables.send_replace(Arc::clone(&applied.snapshot));
        for event in applied.events.iter().cloned().chain(verdict) {
            self.events.publish(event);
        }
        Ok(applied)
    }

    /// Writes down what is in force and could not be written down when it was made.
    pub(crate) async fn save_unsaved(self: &Arc<Self>) {
        let is_behind = self.keeper.try_lock().is_some_and(|keeper| keeper.is_behind());
        if !is_behind || self.is_handing_over() {
            return;
        }
        let control = Arc::clone(self);
        blocking(move || {
            let mut keeper = control.keeper.lock();
            if !control.is_handing_over() && keeper.catch_up(control.clock, || control.live.view()) {
                tracing::info!("what could not be written to the state folder before has been written now");
            }
        })
        .await;
    }

    fn reload_from(
        &self,
        reading: Reading,
        last: &mut Option<Reading>,
        by: By,
    ) -> Result<Reloaded, Rejected> {
        let actor = by.actor.clone();
        let result = self.put_in_force(&reading, by);
        if matches!(result, Err(Rejected::Stale { .. } | Rejected::TakingOver)) {
            // It says nothing of the file, which has yet to be put in force or refused.
            return result;
        }
        // What failed for want of a disk is worth another try.
        *last = (!matches!(result, Err(Rejected::NotDurable(_)))).then_some(reading);
        self.note_reload(result.as_ref().map(|reloaded| matches!(reloaded, Reloaded::Changed(_))), actor);
        result
    }

    /// Counts a reload, whether it changed something, and tells one that was refused.
    fn note_reload(&self, outcome: Result<bool, &Rejected>, actor: String) {
        let mut reloads = self.reloads.lock();
        reloads.at_ms = self.clock.now().wall_ms;
        reloads.problems.clear();
        match outcome {
            Ok(true) => reloads.ok += 1,
            Ok(false) => reloads.unchanged += 1,
            Err(rejected) => {
                reloads.failed += 1;
                reloads.problems = problems_of(rejected);
                self.tell_failed_reload(&reloads, actor);
            }
        }
    }

    fn put_in_force(&self, reading: &Reading, by: By) -> Result<Reloaded, Rejected> {
        let (request, material) = self.reload_request(reading, by)?;
        let Some(request) = request else {
            tracing::debug!("the configuration file says what is in force already");
            self.use_material(material);
            return Ok(Reloaded::Unchanged);
        };
        // The table refers to its certificates, so they are there first.
        let before = self.material.swap(Arc::new(material));
        let applied = self.apply_now(&request).inspect_err(|_| self.material.store(before))?;
        Ok(Reloaded::Changed(Box::new(applied)))
    }

    /// What has to be changed for the file to be in force, if anything, and the certificates that it names.
    fn reload_request(&self, reading: &Reading, by: By) -> Result<(Option<Request>, Material), Rejected> {
        let view = self.live.view();
        let current = view.snapshot.generation;
        // Also where nothing would change: the caller has not seen what is in force.
        if by.if_match.is_some_and(|seen| seen != current) {
            return Err(Rejected::Stale { current });
        }
        let config = self.source.parse(reading).map_err(Rejected::Invalid)?;
        let material = self.read_material(&config).map_err(Rejected::Invalid)?;
        let By { actor, reason, if_match } = by;
        let is_other = *config != *view.config;
        let request = Request { change: Change::Reload(config), actor, reason, if_match };
        Ok((is_other.then_some(request), material))
    }

    fn tell_failed_reload(&self, reloads: &Reloads, actor: String) {
        let file = self.source.name();
        for problem in &reloads.problems {
            tracing::error!("{}", crate::source::describe(&file, problem));
        }
        tracing::error!(
            "the configuration file, or one that it names, is not good; what was in force stays in force"
        );
        let mut detail = Map::new();
        detail.insert("ok".into(), false.into());
        detail.insert("problems".into(), serde_json::to_value(&reloads.problems).unwrap_or(Value::Null));
        self.events.publish(Event {
            kind: Kind::Reload,
            time_ms: reloads.at_ms,
            generation: self.live.peek().generation,
            actor,
            message: format!("the configuration file is not good: {} problem(s)", reloads.problems.len()),
            detail,
        });
    }
}

/// A verdict on one line of the log, with all that explains it; and as an event.
fn tell_verdict(entry: &Entry, verdict: &Verdict) -> Event {
    let split = entry.after.splits.keys().next().map(String::as_str).unwrap_or_default();
    let evidence = wire::Verdict::json(verdict);
    let (generation, decided) = (entry.generation, verdict.decided.as_str());
    let (by, why) = (&verdict.by, &verdict.why);
    if verdict.decided == Decided::Pass {
        tracing::info!(split, generation, decided, by, %evidence, "verdict: {why}");
    } else {
        tracing::warn!(split, generation, decided, by, %evidence, "verdict: {why}");
    }
    let mut detail = evidence.as_object().cloned().unwrap_or_default();
    // The event has a time and a generation of its own: those of the change that followed.
    detail.retain(|key, _| !matches!(key.as_str(), "time" | "generation"));
    detail.insert("split".into(), split.into());
    Event {
        kind: Kind::Verdict,
        time_ms: entry.time_ms,
        generation,
        actor: entry.actor.clone(),
        message: format!("{decided}: {why}"),
        detail,
    }
}

#[cfg(test)]
impl Control {
    /// Makes writing to the state folder fail while `during` runs.
    pub(crate) async fn with_full_disk(&self, during: impl Future<Output = ()>) {
        let journal = match &mut *self.keeper.lock() {
            Keeper::Folder(store) => Some(store.fail()),
            Keeper::Memory | Keeper::Away { .. } => None,
        };
        during.await;
        if let (Keeper::Folder(store), Some(journal)) = (&mut *self.keeper.lock(), journal) {
            store.heal(journal);
        }
    }
}

/// Why a reload was not made, as problems of the file.
pub(crate) fn problems_of(rejected: &Rejected) -> Vec<Problem> {
    let problem = |path: &str, message: String, hint: Option<&str>| Problem {
        path: path.to_owned(),
        line: None,
        message,
        hint: hint.map(str::to_owned),
    };
    match rejected {
        Rejected::Invalid(problems) => problems.clone(),
        Rejected::NeedsRestart(what) => what
            .iter()
            .map(|what| problem(what, "cannot be changed by a reload".into(), Some("restart to change it")))
            .collect(),
        other => vec![problem("", other.to_string(), None)],
    }
}

/// Runs something that waits for a disk where waiting holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only our own bug, or a runtime that is being torn down, in which nobody is left to answer.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
