//! One measurement: a proxy is started, loaded, asked what it used, and ended.
//!
//! The load comes twice over. First as fast as answers come (a closed loop), which gives requests a second and CPU
//! time for each: the proxy's core should be busy then, and how busy it was is kept. Then at a rate that is the same
//! for all proxies (an open loop), which gives the latencies that can be compared: at its own most, a fast proxy
//! would be asked for more than a slow one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::pace::Pacer;
use crate::peer::{Cores, Found, Serving};
use crate::process::{cpu_of, cpu_of_all};
use crate::recorder::{Outcome, Recorder};
use crate::row::Row;
use crate::upstream::Upstreams;
use crate::work::h2::{Connection, Kind};
use crate::work::idle::Crowd;
use crate::work::{Load, PATIENCE, Script, counted, fresh, h2, keepalive, tls};

/// Connections of a load over HTTP/1.1, and streams of one over HTTP/2.
pub(crate) const CONNECTIONS: usize = 64;
pub(crate) const STREAMS: usize = 100;

const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;

/// What one measurement has found, by name; the page says what each is.
pub(crate) type Figures = BTreeMap<String, f64>;

/// How long and how much.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Before the window, so that connections, caches and code are warm.
    pub(crate) warm: Duration,
    pub(crate) window: Duration,
    /// Idle connections.
    pub(crate) crowd: usize,
}

/// What is sent.
pub(crate) enum Work {
    Row(Row),
    /// These requests over kept connections; what fails is counted and does not end the load.
    Counted(Arc<Script>),
}

/// Where everything is that a measurement needs.
pub(crate) struct Bench {
    pub(crate) upstreams: Upstreams,
    pub(crate) cores: Cores,
    pub(crate) plan: Plan,
}

/// What the processes had used at one moment, in seconds.
#[derive(Clone, Copy)]
struct Usage {
    proxy: f64,
    own: f64,
    /// Everybody, these two among them.
    all: f64,
}

/// What a load came to, and what it cost.
pub(crate) struct Loaded {
    pub(crate) outcome: Outcome,
    used: Usage,
}

impl Loaded {
    /// The figures of a closed loop.
    pub(crate) fn at_most(&self) -> Result<Figures> {
        let seconds = self.outcome.seconds;
        let done = self.outcome.within as f64;
        ensure!(done > 0.0, "nothing was answered within the window");
        let mut figures = Figures::new();
        let mut keep = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        keep("rps", done / seconds);
        keep("cpu_us", self.used.proxy * 1e6 / done);
        keep("busy", self.used.proxy / seconds);
        keep("load_busy", self.used.own / seconds);
        keep("others", (self.used.all - self.used.proxy - self.used.own).max(0.0) / seconds);
        for (name, share) in [("full_p50_us", 0.5), ("full_p99_us", 0.99), ("full_p999_us", 0.999)] {
            keep(name, self.outcome.latencies.quantile_us(share));
        }
        Ok(figures)
    }

    /// The figures of an open loop.
    pub(crate) fn at_rate(&self, rate: f64) -> Figures {
        let done = self.outcome.within as f64;
        let mut figures = Figures::new();
        let mut keep = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        keep("rate", rate);
        keep("held", done / self.outcome.seconds / rate);
        keep("rate_cpu_us", self.used.proxy * 1e6 / done.max(1.0));
        for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
            keep(name, self.outcome.latencies.quantile_us(share));
        }
        keep("max_us", self.outcome.latencies.max_us());
        figures
    }
}

impl Bench {
    /// How many requests a second a proxy does, roughly: to choose the rate that all can hold.
    pub(crate) async fn pilot(&self, found: &Found, row: Row) -> Result<f64> {
        let serving = found.serve(row, &self.upstreams, self.cores).await?;
        self.trial(&serving, &Work::Row(row)).await
    }

    /// How many requests a second something that serves does, roughly.
    pub(crate) async fn trial(&self, serving: &Serving, work: &Work) -> Result<f64> {
        let short = Plan { warm: self.plan.warm / 2, window: self.plan.window / 4, ..self.plan };
        let loaded = self.load(serving, work, Pacer::closed(), short).await?;
        Ok(loaded.outcome.within as f64 / loaded.outcome.seconds)
    }

    /// All figures of a proxy in a row, once. `rate` is in requests a second.
    pub(crate) async fn measure(&self, found: &Found, row: Row, rate: f64) -> Result<Figures> {
        let serving = found.serve(row, &self.upstreams, self.cores).await?;
        let canary = (self.upstreams.canary.served(), self.upstreams.served());
        let work = Work::Row(row);
        let closed = self.load(&serving, &work, Pacer::closed(), self.plan).await?;
        let mut figures = closed.at_most()?;
        let mut keep = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        keep("peak_mib", serving.running.peak()? / MIB);
        if row == Row::Features {
            let (canary, all) =
                (self.upstreams.canary.served() - canary.0, self.upstreams.served() - canary.1);
            keep("canary_share", canary as f64 / (all as f64).max(1.0));
            // Logs are written some time after: no later than a second or so.
            sleep(Duration::from_millis(1_500)).await;
            keep("logged", serving.logged()? as f64 / closed.outcome.answered as f64);
        }
        let open = self.load(&serving, &work, Pacer::open(rate), self.plan).await?;
        figures.extend(open.at_rate(rate));
        Ok(figures)
    }

    /// Memory of idle connections: fresh, and after one request on each.
    pub(crate) async fn idle(&self, found: &Found) -> Result<Figures> {
        let serving = found.serve(Row::Idle, &self.upstreams, self.cores).await?;
        self.crowd(&serving).await
    }

    /// The same of something that serves.
    pub(crate) async fn crowd(&self, serving: &Serving) -> Result<Figures> {
        // The first request of all brings parts into memory that no connection accounts for.
        Crowd::connect(serving.address, 1).await?.ask_each(&Script::small()).await?;
        let settled = || async {
            sleep(self.plan.warm).await;
            serving.running.private()
        };
        let base = settled().await?;
        let mut crowd = Crowd::connect(serving.address, self.plan.crowd).await?;
        let fresh = settled().await?;
        crowd.ask_each(&Script::small()).await?;
        let used = settled().await?;
        let each = |memory: f64| (memory - base) / KIB / self.plan.crowd as f64;
        Ok(Figures::from([
            ("base_mib".to_owned(), base / MIB),
            ("fresh_kib".to_owned(), each(fresh)),
            ("used_kib".to_owned(), each(used)),
            ("peak_mib".to_owned(), serving.running.peak()? / MIB),
        ]))
    }

    pub(crate) async fn load(
        &self,
        serving: &Serving,
        work: &Work,
        pacer: Pacer,
        plan: Plan,
    ) -> Result<Loaded> {
        let served = self.upstreams.served();
        let recorder = Recorder::new(pacer.is_open());
        let load = Arc::new(Load { pacer, recorder });
        let tasks = Tasks::start(work, serving, &load).await?;
        let driver = tokio::spawn({
            let load = Arc::clone(&load);
            async move { load.pacer.drive().await }
        });
        sleep(plan.warm).await;
        let before = self.usage(serving)?;
        load.recorder.begin();
        sleep(plan.window).await;
        load.recorder.end();
        let after = self.usage(serving)?;
        load.pacer.end();
        tasks.end().await?;
        driver.await?;
        let outcome = load.recorder.outcome();
        let (sent, answered, failed) = (outcome.sent, outcome.answered, outcome.failed);
        // A connection that could not be made has failed, too, with nothing sent.
        ensure!(
            answered <= sent && sent - answered <= failed,
            "{sent} requests were sent, {answered} answered, and {failed} failed"
        );
        let served = self.upstreams.served() - served;
        ensure!(served >= answered, "{answered} answers came, of which the upstream gave {served}");
        let used = Usage {
            proxy: after.proxy - before.proxy,
            own: after.own - before.own,
            all: after.all - before.all,
        };
        Ok(Loaded { outcome, used })
    }

    fn usage(&self, serving: &Serving) -> Result<Usage> {
        Ok(Usage {
            proxy: serving.running.cpu()?,
            own: cpu_of("self")?,
            all: cpu_of_all([self.cores.proxy, self.cores.load])?,
        })
    }
}

/// The connections of a load.
struct Tasks {
    handles: Vec<JoinHandle<Result<()>>>,
    /// What the streams of HTTP/2 go over.
    _connection: Option<Connection>,
}

impl Tasks {
    async fn start(work: &Work, serving: &Serving, load: &Arc<Load>) -> Result<Self> {
        let address = serving.address;
        let row = match work {
            Work::Row(row) => *row,
            Work::Counted(script) => {
                let spread = script.requests.len().div_ceil(CONNECTIONS);
                let handles = each(CONNECTIONS, |at| {
                    tokio::spawn(counted::run(address, Arc::clone(script), Arc::clone(load), at * spread))
                });
                return Ok(Self { handles, _connection: None });
            }
        };
        let kept = |script: Script| {
            let script = Arc::new(script);
            let spread = script.requests.len().div_ceil(CONNECTIONS);
            each(CONNECTIONS, |at| {
                tokio::spawn(keepalive::run(address, Arc::clone(&script), Arc::clone(load), at * spread))
            })
        };
        let last = Arc::new(Script::last());
        let secure = |is_resumed| {
            each(CONNECTIONS, |_| {
                tokio::spawn(tls::run(address, Arc::clone(&last), Arc::clone(load), is_resumed))
            })
        };
        let handles = match row {
            Row::Small | Row::Idle => kept(Script::small()),
            Row::Large => kept(Script::large()),
            Row::Post => kept(Script::post()),
            Row::Features => kept(Script::users()),
            Row::Fresh => {
                each(CONNECTIONS, |_| tokio::spawn(fresh::run(address, Arc::clone(&last), Arc::clone(load))))
            }
            Row::TlsFull => secure(false),
            Row::TlsResumed => secure(true),
            Row::Http2 | Row::Grpc => {
                let kind = if row == Row::Grpc { Kind::Grpc } else { Kind::Plain };
                let connection = timeout(PATIENCE, Connection::to(address)).await.context("connecting")??;
                let handles =
                    each(STREAMS, |_| tokio::spawn(h2::run(connection.send.clone(), kind, Arc::clone(load))));
                return Ok(Self { handles, _connection: Some(connection) });
            }
        };
        Ok(Self { handles, _connection: None })
    }

    /// Waits for the last answers; the first error of all.
    async fn end(self) -> Result<()> {
        let mut unfinished = 0;
        let mut first = Ok(());
        // One for all of them, or a proxy that answers nothing would hold the run up for as many times as long.
        let deadline = Instant::now() + PATIENCE;
        for mut handle in self.handles {
            if let Ok(ended) = timeout_at(deadline, &mut handle).await {
                first = first.and(ended?);
            } else {
                handle.abort();
                unfinished += 1;
            }
        }
        first.and_then(|()| {
            ensure!(unfinished == 0, "{unfinished} requests had no answer after {PATIENCE:?}");
            Ok(())
        })
    }
}

fn each(count: usize, start: impl Fn(usize) -> JoinHandle<Result<()>>) -> Vec<JoinHandle<Result<()>>> {
    (0..count).map(start).collect()
}
