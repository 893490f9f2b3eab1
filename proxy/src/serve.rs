//! The whole process: bind, start every part, wait for a signal, drain, end.
//!
//! The data plane has a runtime of its own, so that nothing the admin API does can take a worker's
//! time; admin, checks, drains and the watcher share another, and copies of requests have a third.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tidegate_admin::clock::Clock;
use tidegate_admin::process::Phase;
use tidegate_admin::{Control, Options};
use tidegate_core::address::Address;
use tidegate_core::config::LogOutput;
use tidegate_core::edge::ListenerCell;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::listen;
use crate::mirror::Mirror;
use crate::shutdown::Drain;
use crate::telemetry::{AccessLog, Sink, Telemetry};
use crate::{drain, panic, probe};

/// Kept connections to upstreams, over all endpoints.
const KEPT_CONNECTIONS: usize = 4_096;
/// Tries of one request, stale connections and all; routes allow fewer.
const MAX_TRIES: usize = 16;
/// What is left of a runtime after the drain is given so long.
const LAST_TASKS: Duration = Duration::from_millis(200);

/// A running Tidegate.
pub(crate) struct Running {
    control: Arc<Control>,
    drain: Arc<Drain>,
    listeners: Vec<Arc<ListenerCell>>,
    data: Runtime,
    background: Runtime,
    mirror: Runtime,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts, and returns once it listens; nothing is logged about requests.
    pub(crate) fn start(control: Arc<Control>) -> anyhow::Result<Self> {
        Self::start_with(control, None, background_runtime()?)
    }

    fn start_with(
        control: Arc<Control>,
        sink: Option<Arc<Sink>>,
        background: Runtime,
    ) -> anyhow::Result<Self> {
        let config = Arc::clone(&control.live().view().config);
        let data = runtime("tidegate-worker", workers(config.server.workers))?;
        let drain = Drain::new();
        let bound = bind_all(&control)?;
        let listeners: Vec<_> = bound.iter().map(|b| Arc::clone(&b.cell)).collect();
        let admin = background
            .block_on(async { tidegate_admin::bind(&control) })
            .with_context(|| format!("cannot listen on the admin address {}", config.admin.address))?;

        let access = Arc::new(AccessLog::new(sink));
        let mirror = runtime("tidegate-mirror", 1)?;
        let copies = Mirror::new(Arc::clone(&control), mirror.handle().clone());
        let gateway = Gateway::new(Arc::clone(&control), Arc::clone(&drain), Arc::clone(&access), copies);
        let settings = ServerConf {
            max_retries: MAX_TRIES,
            upstream_keepalive_pool_size: KEPT_CONNECTIONS,
            ..ServerConf::default()
        };
        let proxy = Arc::new(http_proxy(&Arc::new(settings), gateway));
        for one in bound {
            let accepting = listen::accept(
                one,
                Arc::clone(&control),
                Arc::clone(&proxy),
                Arc::clone(&drain),
                Arc::clone(&access),
            );
            drain.spawn_on(data.handle(), accepting);
        }
        let stop = watch::Sender::new(false);
        let stopped = || {
            let mut stop = stop.subscribe();
            async move {
                // An error means that the sender is gone, which is a stop as well.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        background.spawn(probe::run(Arc::clone(&control)));
        background.spawn(drain::run(Arc::clone(&control)));
        background.spawn(panic::run(Arc::clone(&control)));
        background.spawn(tidegate_admin::watch(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::tick(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::control_rollouts(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::control_pool_rollouts(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::serve(Arc::clone(&control), admin, stopped()));
        control.process().set_listeners(listeners.clone());
        control.process().set_phase(Phase::Ready);
        Ok(Self { control, drain, listeners, data, background, mirror, stop })
    }

    /// The listeners by name, with the addresses they are bound to.
    pub(crate) fn listeners(&self) -> Vec<(String, Address)> {
        self.listeners.iter().map(|l| (l.name.clone(), l.address.clone())).collect()
    }

    /// Where the admin API listens.
    pub(crate) fn admin_address(&self) -> String {
        self.control.admin_address()
    }

    /// Drains and ends.
    pub(crate) fn stop(self) {
        let settings = Arc::clone(&self.control.live().peek().settings);
        self.control.process().set_phase(Phase::Stopping);
        self.drain.announce();
        tracing::info!(
            shutdown_delay = %tidegate_core::units::Span(settings.shutdown_delay),
            shutdown_timeout = %tidegate_core::units::Span(settings.shutdown_timeout),
            "draining"
        );
        let cut = self.background.block_on(async {
            tokio::time::sleep(settings.shutdown_delay).await;
            self.drain.close(settings.shutdown_timeout).await
        });
        if cut > 0 {
            tracing::warn!(cut, "shutdown_timeout reached, requests in flight were cut");
        }
        self.stop.send_replace(true);
        self.data.shutdown_timeout(LAST_TASKS);
        // Copies are not waited for.
        self.mirror.shutdown_background();
        self.background.shutdown_timeout(LAST_TASKS);
        tracing::info!("stopped");
    }
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

fn background_runtime() -> io::Result<Runtime> {
    runtime("tidegate-admin", 2)
}

fn workers(written: u16) -> usize {
    match written {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => usize::from(n),
    }
}

fn bind_all(control: &Control) -> anyhow::Result<Vec<listen::Bound>> {
    let settings = Arc::clone(&control.live().peek().settings);
    let bind = |listener: &Arc<tidegate_core::config::Listener>| {
        listen::bind(listener).with_context(|| {
            format!("cannot listen on {} for listener `{}`", listener.address, listener.name)
        })
    };
    settings.listeners.iter().map(bind).collect()
}

/// `tidegate run`: until a signal ends it.
pub(crate) fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let telemetry = Telemetry::start().context("cannot start the log")?;
    let background = background_runtime()?;
    // From here on no signal ends the process unasked.
    let mut signals = background.block_on(async { Signals::listen() })?;
    // Each upstream connection takes two descriptors; where the limit stays low, connections are
    // refused in time, and that is told.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let control = match Control::open(Options::file(config.to_owned(), Clock::start())) {
        Ok(control) => control,
        Err(error) => {
            telemetry.sink().flush();
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    telemetry.sink().count_in(Arc::clone(&control));
    take_over_log(&telemetry, &control);
    let sink = Some(Arc::clone(telemetry.sink()));
    let running = match Running::start_with(Arc::clone(&control), sink, background) {
        Ok(running) => running,
        Err(error) => {
            tracing::error!("{error:#}");
            telemetry.sink().flush();
            return Err(error);
        }
    };
    for (name, address) in running.listeners() {
        tracing::info!(listener = name, %address, "listening");
    }
    tracing::info!(address = running.admin_address(), "admin listening");
    tracing::info!(version = control.process().version(), "ready");
    let telemetry = Arc::new(telemetry);
    running.background.spawn(follow_log(Arc::clone(&telemetry), Arc::clone(&control)));
    running.background.block_on(signals.until_asked_to_stop(&telemetry, &control));
    let last = Arc::clone(telemetry.sink());
    running.background.spawn(async move {
        // The first signal drains; a second one, of either kind, ends at once.
        signals.stop().await;
        tracing::warn!("asked to stop a second time: ending at once");
        last.flush();
        std::process::exit(0);
    });
    running.stop();
    telemetry.sink().flush();
    Ok(ExitCode::SUCCESS)
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

/// The signals that the process answers to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Serves SIGHUP until SIGTERM or SIGINT.
    async fn until_asked_to_stop(&mut self, telemetry: &Telemetry, control: &Arc<Control>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    telemetry.reopen();
                    // What came of it is logged, counted and shown in /v1/status.
                    let _ = control.reload().await;
                }
                _ = self.quit.recv() => {
                    tracing::warn!("SIGQUIT hands over to a new process, which this version cannot: ignored");
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
