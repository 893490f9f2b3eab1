//! `tidegate run`: from the file to a process that serves, and from a signal to its end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tidegate_admin::clock::Clock;
use tidegate_admin::{Control, Options, Prepared};
use tidegate_core::config::LogOutput;
use tidegate_core::handover::Handover;
use tokio::runtime::Runtime;

use super::signals::{Because, Signals};
use super::{Running, background_runtime};
use crate::notify;
use crate::telemetry::Telemetry;
use crate::upgrade::{Inherited, Place, Predecessor};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// Whether to take over from a running process.
    pub(crate) upgrade: bool,
    /// Where the two meet; absent = where the configuration file says.
    pub(crate) socket: Option<PathBuf>,
}

/// Serves until a signal ends it.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<ExitCode> {
    let telemetry = Arc::new(Telemetry::start().context("cannot start the log")?);
    let ended = serve(plan, &telemetry);
    telemetry.sink().flush();
    ended
}

fn serve(plan: &Plan, telemetry: &Arc<Telemetry>) -> anyhow::Result<ExitCode> {
    let background = background_runtime()?;
    // From here on no signal ends the process unasked.
    let mut signals = background.block_on(async { Signals::listen() })?;
    // Each upstream connection takes two descriptors; where the limit stays low, connections are
    // refused in time, and that is told.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let prepared = match Prepared::read(Options::file(plan.config.clone(), Clock::start())) {
        Ok(prepared) => prepared,
        Err(error) => {
            telemetry.sink().flush();
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let place = Place::of(plan.socket.as_deref(), &plan.config);
    let started = if plan.upgrade {
        take_over(prepared, background, telemetry, &place, &mut signals)
    } else {
        start(prepared, background, telemetry).map(Some)
    };
    match started {
        Ok(Some(running)) => until_ended(running, telemetry, &place, signals),
        // Asked to stop before there was anything to stop.
        Ok(None) => return Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!("{error:#}");
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(prepared: Prepared, background: Runtime, telemetry: &Arc<Telemetry>) -> anyhow::Result<Running> {
    let running = begin(prepared, background, telemetry, None, Inherited::default())?.0;
    notify::ready(running.control.live().peek().generation);
    Ok(running)
}

/// Takes the place of a running process; `None` when asked to stop while it waits for that.
fn take_over(
    prepared: Prepared,
    background: Runtime,
    telemetry: &Arc<Telemetry>,
    place: &Place,
    signals: &mut Signals,
) -> anyhow::Result<Option<Running>> {
    let waited = background.block_on(async {
        tokio::select! {
            biased;
            () = signals.stop() => None,
            waited = Predecessor::wait(place) => Some(waited),
        }
    });
    let Some(waited) = waited else { return Ok(None) };
    let mut old = waited?;
    let taken = old
        .receive()
        .and_then(|(handover, inherited)| begin(prepared, background, telemetry, Some(&handover), inherited));
    let (running, mut inherited) = taken.inspect_err(|error| old.failed(error))?;
    match old.serving(inherited.taken()) {
        Ok(aborts) => running.background.block_on(running.control.abort_again(&aborts)),
        Err(error) => {
            running.leave();
            return Err(error);
        }
    }
    notify::took_over(running.control.live().peek().generation);
    tracing::info!("taken over");
    Ok(Some(running))
}

/// Starts everything, on sockets of an earlier process where there are some; what is left of these.
fn begin(
    prepared: Prepared,
    background: Runtime,
    telemetry: &Arc<Telemetry>,
    handover: Option<&Handover>,
    mut inherited: Inherited,
) -> anyhow::Result<(Running, Inherited)> {
    let control = prepared.open(handover)?;
    telemetry.sink().count_in(Arc::clone(&control));
    take_over_log(telemetry, &control);
    let sink = Some(Arc::clone(telemetry.sink()));
    let running = Running::start_with(Arc::clone(&control), sink, background, &mut inherited)?;
    for (name, address) in running.listeners() {
        tracing::info!(listener = name, %address, "listening");
    }
    tracing::info!(address = running.admin_address(), "admin listening");
    tracing::info!(version = control.process().version(), "ready");
    running.background.spawn(follow_log(Arc::clone(telemetry), control));
    Ok((running, inherited))
}

fn until_ended(running: Running, telemetry: &Arc<Telemetry>, place: &Place, mut signals: Signals) {
    let offers = Arc::clone(&running.offers);
    let ended = signals.until_it_ends(telemetry, &running.control, place, &offers);
    let because = running.background.block_on(ended);
    drop(offers);
    let (last, drain) = (Arc::clone(telemetry.sink()), Arc::clone(&running.drain));
    let is_asked = matches!(because, Because::Asked);
    running.background.spawn(async move {
        if !is_asked {
            signals.stop().await;
            tracing::info!("asked to stop: idle connections are not waited for any longer");
            drain.hurry();
        }
        // One signal drains; the next, of either kind, ends at once.
        signals.stop().await;
        tracing::warn!("asked to stop a second time: ending at once");
        last.flush();
        std::process::exit(0);
    });
    running.end(because);
}

/// Puts the log's settings in force whenever a table changes them.
async fn follow_log(telemetry: Arc<Telemetry>, control: Arc<Control>) {
    let mut tables = control.tables();
    let mut current = control.live().peek().settings.log.clone();
    while tables.changed().await.is_ok() {
        let log = tables.borrow_and_update().settings.log.clone();
        if log.level != current.level || log.output != current.output {
            take_over_log(&telemetry, &control);
            current = log;
        }
    }
}

fn take_over_log(telemetry: &Telemetry, control: &Control) {
    let settings = Arc::clone(&control.live().peek().settings);
    let output = match &settings.log.output {
        LogOutput::Stdout => None,
        LogOutput::File(path) => Some(control.resolve(path)),
    };
    telemetry.apply(&settings.log, output);
}
