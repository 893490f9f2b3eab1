//! The program's log and the access log: JSON lines, written by a thread of their own.
//!
//! Workers hand a line over and go on; when the reader of the output is stuck, lines are dropped
//! and counted, traffic is not held up. What a client sent is escaped by the JSON encoder, and
//! secrets (cookies, authorisation) are never logged.

mod access;
mod sink;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_core::config::Log;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

pub(crate) use access::AccessLog;
pub(crate) use sink::Sink;

/// The running log.
pub(crate) struct Telemetry {
    sink: Arc<Sink>,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// pingora tells every broken client at `error`; what matters of that is counted and logged here.
const QUIET: &str = "pingora_core=off,pingora_proxy=off,pingora_pool=off,pingora_cache=off";

fn filter(level: &str) -> EnvFilter {
    let directives = if level.contains("pingora") { level.to_owned() } else { format!("{level},{QUIET}") };
    EnvFilter::builder().parse_lossy(directives)
}

impl Telemetry {
    /// Begins to log.
    pub(crate) fn start() -> io::Result<Self> {
        let sink = Sink::start()?;
        let (filter, handle) = reload::Layer::new(filter(&Log::default().level));
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(sink::Lines(Arc::clone(&sink)));
        // A second start, in a test, keeps the first log.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Ok(Self { sink, filter: handle })
    }

    /// Takes over the settings of the file, at the start and when a reload changed them.
    pub(crate) fn apply(&self, log: &Log, output: Option<PathBuf>) {
        self.sink.switch(output);
        if let Err(error) = self.filter.reload(filter(&log.level)) {
            tracing::warn!("the log level could not be changed: {error}");
        }
    }

    /// Where lines are handed over.
    pub(crate) fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Opens the output again, after something has moved it away.
    pub(crate) fn reopen(&self) {
        self.sink.reopen();
    }
}
