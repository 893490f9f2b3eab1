//! `tidegate demo`: everything in one process, on loopback only, with no file and no argument.
//!
//! Two versions of a small shop ([`shop`]), a steady load of visitors with ids ([`visitors`]), the
//! proxy and the admin API as `tidegate run` would start them, and a table ([`board`]) of what was
//! asked for beside what the visitors saw ([`tally`]). The table reads the shares from the running
//! snapshot, so that a change made in another terminal is on the next line; what was seen is counted
//! by the visitors alone, from the version that answered.
//!
//! The canary can be broken while a rollout moves the visitors to it, to see the guard stop it.
//!
//! The shop and the visitors have a runtime of their own. [`Running`] brings its own, too, and blocks
//! while it starts and stops, so it is never called from within one.

mod advice;
mod board;
mod setup;
mod shop;
mod tally;
mod visitors;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_admin::clock::Clock;
use tidegate_admin::{Control, Options};
use tidegate_core::address::Address;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Failure, Paint, print};
use crate::serve::Running;

use advice::Places;
use board::Board;
use shop::Version;
use tally::Tally;
use visitors::Visitors;

/// How often the table is refreshed.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// End after this time; `None` = by a signal.
    pub(crate) duration: Option<Duration>,
    /// The admin API's port; 0 = a free one.
    pub(crate) admin_port: u16,
}

/// Runs the demo until its time is over or somebody ends it.
pub(crate) fn run(plan: Plan) -> Result<ExitCode, Failure> {
    let admin = setup::admin_address(plan.admin_port)?;
    let (listen, taken) = setup::listen_address();
    let runtime = runtime().map_err(|error| setup::failed("start", &error))?;
    let shop = runtime
        .block_on(async { Ok([Version::open(shop::STABLE).await?, Version::open(shop::CANARY).await?]) })
        .map_err(|error: io::Error| setup::failed("open the shop", &error))?;
    let text = setup::config_text(listen, admin, &shop);
    let control = Control::open(Options::text(text, Clock::start()))
        .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    let running = Running::start(Arc::clone(&control))?;
    let bound = running.listeners().into_iter().find_map(|(_, address)| match address {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    });

    let places = Places {
        proxy: bound.unwrap_or(listen),
        admin: running.admin_address(),
        canary: shop[1].address,
        taken,
        program: advice::program(),
    };
    let paint = Paint::of(&io::stdout());
    print(&advice::welcome(&places, paint))?;
    let tally = Arc::new(Mutex::new(Tally::new(Instant::now())));
    let visitors = Visitors::send(&runtime, places.proxy, &tally);
    let board = Board::new(Arc::clone(&control), Arc::clone(&tally), paint, io::stdout().is_terminal());
    let watched = runtime.block_on(watch(plan.duration, board, &control));

    // First the visitors, each with its last answer; then the proxy, with nothing left to lose.
    runtime.block_on(visitors.leave());
    running.stop();
    runtime.shutdown_background();
    watched?;
    let tally = tally.lock();
    print(&board::summary(&tally, paint))?;
    Ok(if tally.lost() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("tidegate-demo").enable_all().build()
}

/// Refreshes the table until the time is over or a signal comes.
async fn watch(duration: Option<Duration>, mut board: Board, control: &Control) -> Result<(), Failure> {
    let failed = |error| setup::failed("listen to signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut lines = tokio::time::interval_at(tokio::time::Instant::now() + LINE_EVERY, LINE_EVERY);
    let mut tables = control.tables();
    loop {
        tokio::select! {
            _ = lines.tick() => board.refresh()?,
            Ok(()) = tables.changed() => board.changed(),
            () = &mut over => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    tokio::spawn(end_at_once(interrupt));
    Ok(())
}

/// Who is not patient enough for the end presses Ctrl-C again.
async fn end_at_once(mut interrupt: Signal) {
    interrupt.recv().await;
    std::process::exit(130);
}
