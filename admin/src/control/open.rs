//! From nothing to a table in force: read the file, recover what was changed at run time, publish.
//!
//! Everything that can be wrong is found before anything listens, and all of the file's problems are
//! told at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_core::change::Now;
use tidegate_core::config::Config;
use tidegate_core::handover::Handover;
use tidegate_core::live::Live;
use tidegate_core::state::State;
use tidegate_core::validate::{Problem, Valid};
use tokio::sync::watch;

use super::{Control, Reloads};
use crate::access::Token;
use crate::board::Board;
use crate::clock::Clock;
use crate::events::Bus;
use crate::keeper::Keeper;
use crate::process::Process;
use crate::source::{Env, Reading, Source, beside, describe};
use crate::store::{Recovered, Store};
use crate::tls::{Expired, Material};

/// What a start needs.
pub struct Options {
    /// The configuration file.
    pub config_path: Option<PathBuf>,
    /// The configuration itself, where there is no file.
    pub config_text: Option<String>,
    /// Gives the value of an environment variable.
    pub env: Env,
    /// The clocks.
    pub clock: Clock,
}

impl Options {
    /// A start from a file, in the environment of the process.
    pub fn file(path: PathBuf, clock: Clock) -> Self {
        Self { config_path: Some(path), config_text: None, env: system_env(), clock }
    }

    /// A start from a text, in the environment of the process.
    pub fn text(text: String, clock: Clock) -> Self {
        Self { config_path: None, config_text: Some(text), env: system_env(), clock }
    }
}

fn system_env() -> Env {
    Arc::new(|name| std::env::var(name).ok())
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum StartError {
    /// The file is not good.
    File {
        /// Its name.
        file: String,
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
    /// The admin API's token cannot be read.
    Token(String),
    /// The state folder cannot be used.
    State(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, problems } => {
                let lines: Vec<String> = problems.iter().map(|problem| describe(file, problem)).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Token(message) | Self::State(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for StartError {}

/// A start whose file has been found to be good: only the state folder is left to be opened.
pub struct Prepared {
    source: Source,
    reading: Reading,
    config: Arc<Valid<Config>>,
    token: Option<Token>,
    material: Material,
    clock: Clock,
}

impl Prepared {
    /// Reads the file, and all that it names.
    pub fn read(options: Options) -> Result<Self, StartError> {
        let Options { config_path, config_text, env, clock } = options;
        let source = Source::new(config_path, config_text, env);
        let reading = source.text();
        let config = source.parse(&reading);
        let not_good = |problems| StartError::File { file: source.name(), problems };
        let config = config.map_err(not_good)?;
        let now_s = i64::try_from(clock.now().wall_ms / 1_000).unwrap_or(i64::MAX);
        let material = Material::read(&config, &|file| source.resolve(file), Expired::Warn, now_s);
        let material = material.map_err(not_good)?;
        let token = config.admin.token_file.as_ref().map(|file| read_token(&source.resolve(file)));
        let token = token.transpose().map_err(|why| StartError::Token(format!("admin.token_file: {why}")))?;
        Ok(Self { source, reading, config, token, material, clock })
    }

    /// Recovers what an earlier process left, or takes what a running one hands over, and publishes the
    /// first table.
    pub fn open(self, handover: Option<&Handover>) -> Result<Arc<Control>, StartError> {
        let Self { source, reading, config, token, material, clock } = self;
        let now = clock.now();
        let written_address = config.admin.address.clone();
        let folder = config.admin.state_dir.as_ref().map(|folder| source.resolve(folder));
        let opened = folder.map(|folder| open_store(&folder, handover, now.wall_ms)).transpose();
        let (mut store, recovered) = opened.map_err(StartError::State)?.unzip();
        let recovered = handover.map(Recovered::handed_over).or(recovered);
        let Recovered { state, history } = recovered.unwrap_or_default();
        let (live, record, events) = Live::start(config, &state, history, now);
        if let Some(handover) = handover {
            handover.tell(&live.peek(), now);
        }
        let written = store.as_mut().map_or(Ok(()), |store| store.append_and_snapshot(&record));
        if let Err(error) = &written {
            tracing::error!(
                error,
                "the start could not be written to the state folder; changes will be refused"
            );
        }
        log_start(&state, &record.state, store.is_some());
        let bus = Bus::default();
        for event in events {
            tracing::warn!("{}", event.message);
            bus.publish(event);
        }
        let reloads = Reloads { at_ms: now.wall_ms, problems: Vec::new(), ok: 0, unchanged: 0, failed: 0 };
        Ok(Arc::new(Control {
            tables: watch::Sender::new(live.snapshot()),
            live: Arc::new(live),
            board: Board::default(),
            clock,
            events: bus,
            process: Process::new(now),
            written_address,
            source,
            token,
            material: ArcSwap::from_pointee(material),
            keeper: Mutex::new(Keeper::of(store)),
            standing: Mutex::default(),
            store_failures: AtomicU64::new(u64::from(written.is_err())),
            last_reading: Mutex::new(Some(reading)),
            reloads: Mutex::new(reloads),
        }))
    }
}

/// Opens the state folder; what is handed over goes into it, since it may be newer than what is there.
fn open_store(
    folder: &Path,
    handover: Option<&Handover>,
    wall_ms: u64,
) -> Result<(Store, Recovered), String> {
    let (mut store, recovered) = Store::open(folder, wall_ms)?;
    if let Some(handover) = handover {
        let history = handover.history.iter().map(|entry| (**entry).clone()).collect();
        store.write_anew(handover.state.clone(), history)?;
    }
    Ok((store, recovered))
}

impl Control {
    /// Reads the file, recovers what an earlier process left, and publishes the first table.
    pub fn open(options: Options) -> Result<Arc<Self>, StartError> {
        Prepared::read(options)?.open(None)
    }
}

/// What is wrong with the files that a configuration file names: the token's, and those for TLS.
pub fn problems_of_files(config_path: &Path, config: &Config, now: Now) -> Vec<Problem> {
    let resolve = |file: &str| beside(Some(config_path), file);
    let token = config.admin.token_file.as_ref().and_then(|file| read_token(&resolve(file)).err());
    let token =
        token.map(|message| Problem { path: "admin.token_file".into(), line: None, message, hint: None });
    let now_s = i64::try_from(now.wall_ms / 1_000).unwrap_or(i64::MAX);
    let tls = Material::read(config, &resolve, Expired::Refuse, now_s).err().unwrap_or_default();
    token.into_iter().chain(tls).collect()
}

fn read_token(path: &Path) -> Result<Token, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Token::new(text.trim()).map_err(|why| format!("{} {why}", path.display()))
}

fn log_start(before: &State, after: &State, durable: bool) {
    let kept = after.weights.len() + after.endpoints.len() + after.drains.len();
    tracing::info!(
        generation = after.generation,
        recovered = before.generation,
        runtime_changes = kept,
        durable,
        "the first table is in force"
    );
}
