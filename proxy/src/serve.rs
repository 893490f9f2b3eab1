//! The whole process: bind, start every part, drain, end. [`run`] wires it to the command line and to
//! signals.
//!
//! The data plane has a runtime of its own, so that nothing the admin API does can take a worker's
//! time; admin, checks, drains and the watcher share another, and copies of requests have a third.

mod run;
mod signals;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tidegate_admin::Control;
use tidegate_admin::process::Phase;
use tidegate_core::address::Address;
use tidegate_core::edge::ListenerCell;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::listen;
use crate::mirror::Mirror;
use crate::shutdown::Drain;
use crate::telemetry::{AccessLog, Sink};
use crate::upgrade::{ADMIN, Inherited, Offer, Taken, canonical};
use crate::{discover, drain, notify, panic, peer, probe};

pub(crate) use run::{Plan, run};
use signals::Because;

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
    /// The sockets, for a process that takes over.
    offers: Arc<Vec<Offer>>,
    data: Runtime,
    background: Runtime,
    mirror: Runtime,
    /// Ends when the last call of the admin API has been answered.
    admin: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts, and returns once it listens; nothing is logged about requests.
    pub(crate) fn start(control: Arc<Control>) -> anyhow::Result<Self> {
        Self::start_with(control, None, background_runtime()?, &mut Inherited::default())
    }

    fn start_with(
        control: Arc<Control>,
        sink: Option<Arc<Sink>>,
        background: Runtime,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Self> {
        let config = Arc::clone(&control.live().view().config);
        let data = runtime("tidegate-worker", workers(config.server.workers))?;
        let drain = Drain::new();
        let mut offers = Vec::new();
        let bound = bind_all(&control, inherited, &mut offers)?;
        let listeners: Vec<_> = bound.iter().map(|b| Arc::clone(&b.cell)).collect();
        let admin = bind_admin(&control, inherited, &mut offers)
            .with_context(|| format!("cannot listen on the admin address {}", config.admin.address))?;

        let access = Arc::new(AccessLog::new(sink));
        let mirror = runtime("tidegate-mirror", 1)?;
        let copies = Mirror::new(Arc::clone(&control), mirror.handle().clone());
        let gateway = Gateway::new(Arc::clone(&control), Arc::clone(&drain), Arc::clone(&access), copies);
        let settings = ServerConf {
            max_retries: MAX_TRIES,
            upstream_keepalive_pool_size: KEPT_CONNECTIONS,
            // pingora panics where the system has none. Pools that name theirs do not need them.
            ca_file: (!tidegate_admin::tls::system_has_authorities()).then(|| "/dev/null".to_owned()),
            ..ServerConf::default()
        };
        let proxy = Arc::new(http_proxy(&Arc::new(settings), gateway.clone()));
        background.block_on(discover::start(&control));
        for one in bound {
            let accepting = listen::accept(
                one,
                Arc::clone(&control),
                Arc::clone(&proxy),
                gateway.clone(),
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
        background.spawn(peer::sweep(Arc::clone(&control)));
        background.spawn(tidegate_admin::watch(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::tick(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::control_rollouts(Arc::clone(&control), stopped()));
        background.spawn(tidegate_admin::control_pool_rollouts(Arc::clone(&control), stopped()));
        let admin = background.spawn(tidegate_admin::serve(Arc::clone(&control), admin, stopped()));
        control.process().set_listeners(listeners.clone());
        control.process().set_phase(Phase::Ready);
        let offers = Arc::new(offers);
        Ok(Self { control, drain, listeners, offers, data, background, mirror, admin, stop })
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
        self.end(Because::Asked);
    }

    /// Ends without having been the only one to accept on any of the sockets.
    fn leave(self) {
        let listeners = self.listeners.iter().map(|listener| listener.name.clone()).collect();
        self.end(Because::HandedOver(Taken { listeners, admin: true }));
    }

    fn end(self, because: Because) {
        // A socket is closed when its last handle is.
        drop(self.offers);
        let settings = Arc::clone(&self.control.live().peek().settings);
        if matches!(because, Because::Asked) {
            self.control.process().set_phase(Phase::Stopping);
        }
        self.drain.announce();
        tracing::info!(
            shutdown_delay = %tidegate_core::units::Span(settings.shutdown_delay),
            shutdown_timeout = %tidegate_core::units::Span(settings.shutdown_timeout),
            handed_over = matches!(because, Because::HandedOver(_)),
            "draining"
        );
        let cut = self.background.block_on(async {
            match because {
                Because::Asked => {
                    notify::stopping();
                    tokio::time::sleep(settings.shutdown_delay).await;
                    self.drain.close(settings.shutdown_timeout).await
                }
                Because::HandedOver(Taken { listeners, admin }) => {
                    if admin {
                        self.control.process().hand_over_admin();
                    }
                    // Whoever calls from now on is to reach the other process.
                    self.stop.send_replace(true);
                    let closed = self.drain.close_handed_over(listeners, settings.shutdown_timeout);
                    tokio::join!(closed, self.admin).0
                }
            }
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

fn bind_all(
    control: &Control,
    inherited: &mut Inherited,
    offers: &mut Vec<Offer>,
) -> anyhow::Result<Vec<listen::Bound>> {
    let settings = Arc::clone(&control.live().peek().settings);
    let mut bind = |listener: &Arc<tidegate_core::config::Listener>| {
        let address = canonical(&listener.address, |address| control.locate(address));
        let place = address.parse().map_err(|why: String| io::Error::new(io::ErrorKind::InvalidInput, why));
        let taken = inherited.take(&listener.name, &address);
        let bound = place.and_then(|place| listen::bind(listener, &place, taken)).and_then(|bound| {
            offers.push(Offer::of(&listener.name, address, bound.handle()?));
            Ok(bound)
        });
        bound.with_context(|| {
            format!("cannot listen on {} for listener `{}`", listener.address, listener.name)
        })
    };
    settings.listeners.iter().map(&mut bind).collect()
}

fn bind_admin(
    control: &Control,
    inherited: &mut Inherited,
    offers: &mut Vec<Offer>,
) -> io::Result<tidegate_admin::Bound> {
    let written = control.live().view().config.admin.address.clone();
    let address = canonical(&written, |address| control.locate(address));
    let bound = tidegate_admin::bind(control, inherited.take(ADMIN, &address))?;
    offers.push(Offer::of(ADMIN, address, bound.handle()?));
    Ok(bound)
}
