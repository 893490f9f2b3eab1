//! The proxies that are compared: where their programs are, their configuration, and how they are started.
//!
//! A configuration is a file in `load/peers` with ports and paths filled in, so that a reader can check whether the
//! comparison is fair. Each has two: one for the row with features and one for all others.

mod list;
mod place;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::process::Running;
use crate::row::{Door, Row};
use crate::upstream::Upstreams;
use crate::wire::Reader;
use crate::work::{Script, exchange};

pub(crate) use list::PEERS;
pub(crate) use place::{Place, Ports, fill};

/// How long a proxy may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a proxy's standard output goes.
const OUTPUT: &str = "output";

/// A file's name, and what it holds before places are filled in.
type Template<'a> = (&'a str, &'a str);

/// A proxy as it is known beforehand.
pub(crate) struct Peer {
    /// Its name in options and in the JSON.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Names of its program: beside this one, in the folder of tools, or where the system has programs.
    pub(crate) programs: &'static [&'static str],
    /// What makes it tell its version.
    pub(crate) version: &'static [&'static str],
    /// Its configuration; the first file is the one that it is told of.
    pub(crate) files: &'static [Template<'static>],
    pub(crate) features: &'static [Template<'static>],
    /// Its arguments, with places to fill in.
    pub(crate) arguments: &'static [&'static str],
    /// Rows that it has no part in, and why.
    pub(crate) lacks: &'static [(Row, &'static str)],
    /// Where a row is not quite the same in it.
    pub(crate) notes: &'static [(Row, &'static str)],
    /// What to do when its program is missing.
    pub(crate) install: &'static str,
}

/// A proxy whose program is here.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) peer: &'static Peer,
    program: PathBuf,
    pub(crate) version: String,
}

/// Where programs are that no system has.
pub(crate) struct Tools {
    /// The folder of this program, with Tidegate's.
    pub(crate) own: PathBuf,
    /// The folder into which `cargo xtask load` puts what it fetched.
    pub(crate) fetched: PathBuf,
}

impl Peer {
    /// Looks for its program and asks its version; `None` when there is none that runs.
    pub(crate) fn find(&'static self, tools: &Tools) -> Option<Found> {
        let folders = [tools.own.clone(), tools.fetched.clone(), tools.fetched.join("bin")];
        let beside =
            self.programs.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let anywhere = self.programs.iter().map(PathBuf::from);
        beside.filter(|path| path.exists()).chain(anywhere).find_map(|program| {
            let told = Command::new(&program).args(self.version).stdin(Stdio::null()).output().ok()?;
            if !told.status.success() {
                return None;
            }
            // Some tell it on standard error.
            let text = [told.stdout, told.stderr].concat();
            Some(Found { peer: self, program, version: place::version(&String::from_utf8_lossy(&text)) })
        })
    }

    pub(crate) fn lack(&self, row: Row) -> Option<&'static str> {
        self.lacks.iter().find(|(of, _)| *of == row).map(|(_, why)| *why)
    }
}

/// A proxy that serves.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    /// Where its admin API is, if it was given one.
    pub(crate) admin: SocketAddr,
    /// Dropped last: the process writes there.
    folder: tempfile::TempDir,
}

impl Serving {
    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many lines the access log has: of a file, or where there is none, of standard output.
    pub(crate) fn logged(&self) -> Result<u64> {
        let file = self.folder.path().join("access.log");
        let path = if file.exists() { file } else { self.folder.path().join(OUTPUT) };
        let mut log = fs::File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        let mut lines = 0;
        loop {
            let read = log.read(&mut buffer)?;
            if read == 0 {
                return Ok(lines);
            }
            lines += buffer[..read].split(|byte| *byte == b'\n').skip(1).count() as u64;
        }
    }
}

/// Where the parts of a measurement run.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
}

impl Found {
    /// Starts it for a row and waits until it accepts connections.
    pub(crate) async fn serve(&self, row: Row, upstreams: &Upstreams, cores: Cores) -> Result<Serving> {
        let templates = if row == Row::Features { self.peer.features } else { self.peer.files };
        self.launch(templates, row.door(), upstreams, (&[cores.proxy], cores.load)).await
    }

    /// Starts it with these files, on these cores (the last is where we are), and waits until it accepts
    /// connections.
    pub(crate) async fn launch(
        &self,
        templates: &[Template<'_>],
        door: Door,
        upstreams: &Upstreams,
        (cores, load): (&[usize], usize),
    ) -> Result<Serving> {
        let folder = tempfile::Builder::new().prefix("tidegate-load-").tempdir()?;
        let ports = Ports::pick()?;
        let place = Place::new(folder.path(), &ports, upstreams)?;
        for (name, text) in templates {
            fs::write(folder.path().join(name), fill(text, &place)?)?;
        }
        let main = templates.first().map_or("", |(name, _)| *name);
        let config = folder.path().join(main).display().to_string();
        let mut command = Command::new(&self.program);
        for argument in self.peer.arguments {
            command.arg(fill(&argument.replace("@CONFIG@", &config), &place)?);
        }
        // What a proxy keeps for its user goes where the rest goes.
        command.env("HOME", folder.path());
        let output = folder.path().join(OUTPUT);
        let mut running = Running::start(&command, cores, load, &output)?;
        let address = ports.of(door);
        if let Err(why) = await_start(&mut running, [ports.of(Door::Plain), address]).await {
            let told = fs::read_to_string(&output).unwrap_or_default();
            bail!("{}: {why:#}. It said: {}", self.peer.id, last_lines(&told));
        }
        running.look()?;
        let admin = SocketAddr::from(([127, 0, 0, 1], ports.admin));
        Ok(Serving { running, address, admin, folder })
    }
}

/// Waits until a request is answered well and the listener of the row accepts connections. Some listen a while before
/// their routes are in force.
async fn await_start(running: &mut Running, [plain, door]: [SocketAddr; 2]) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let tried = timeout(Duration::from_secs(2), async {
            TcpStream::connect(door).await?;
            let mut stream = TcpStream::connect(plain).await?;
            let script = Script::users();
            exchange(&mut stream, &mut Reader::new(4 * 1024), &script.requests[0], script.length).await
        });
        let Err(why) = tried.await.context("no answer").flatten() else { return Ok(()) };
        if running.has_ended() {
            bail!("it ended at its start");
        }
        if Instant::now() > end {
            return Err(why.context(format!("it did not serve within {PATIENCE:?}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

impl Ports {
    fn of(&self, door: Door) -> SocketAddr {
        let port = match door {
            Door::Plain => self.plain,
            Door::Tls => self.tls,
            Door::H2 => self.h2,
            Door::Grpc => self.grpc,
        };
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}

/// The key and certificate that all proxies show, written into a folder: three files, the last for HAProxy.
pub(crate) fn write_certificate(folder: &Path) -> Result<[PathBuf; 3]> {
    let paths = ["cert.pem", "key.pem", "both.pem"].map(|name| folder.join(name));
    let made =
        rcgen::generate_simple_self_signed(["shop.test".to_owned()]).context("making a certificate")?;
    let (cert, key) = (made.cert.pem(), made.key_pair.serialize_pem());
    fs::write(&paths[0], &cert)?;
    fs::write(&paths[1], &key)?;
    fs::write(&paths[2], format!("{cert}{key}"))?;
    Ok(paths)
}
