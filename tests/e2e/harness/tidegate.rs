//! A real Tidegate process with its configuration in a folder of its own.
//!
//! Starting follows what the binary says on stdout, one JSON object a line: `listening` with `listener` and
//! `address` for each listener, `admin listening` with `address`, then `ready`. A failing test keeps all that
//! the process wrote and says where.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::logs::{Lines, field, json_lines, keep};
use super::names::Names;
use super::{Api, PATIENCE};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// A running process. Dropping it ends it at once.
pub(crate) struct Tidegate {
    child: Child,
    folder: PathBuf,
    own_folder: Option<TempDir>,
    listeners: BTreeMap<String, SocketAddr>,
    admin: Option<SocketAddr>,
    pub(crate) out: Lines,
    err: Lines,
}

impl Tidegate {
    /// Start with this configuration and wait until it is ready.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut this = Self::start_in(folder.path(), config).await;
        this.own_folder = Some(folder);
        this
    }

    /// As [`Self::start`], in a folder that outlives the process.
    pub(crate) async fn start_in(folder: &Path, config: &str) -> Self {
        fs::write(folder.join("tidegate.toml"), config).unwrap();
        Self::start_again(folder).await
    }

    /// Start with the configuration that lies in the folder.
    pub(crate) async fn start_again(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// As [`Self::start_again`], with variables in the environment.
    pub(crate) async fn start_with(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut this = Self::spawn(folder, variables);
        let out = this.out.clone();
        this.until_ready(|| out.json()).await;
        this
    }

    /// As [`Self::start_in`], where the configuration has the log in this file.
    pub(crate) async fn start_logging_to(folder: &Path, config: &str, log: &Path) -> Self {
        fs::write(folder.join("tidegate.toml"), config).unwrap();
        let mut this = Self::spawn(folder, &[]);
        let out = this.out.clone();
        this.until_ready(|| {
            let mut lines = out.json();
            lines.extend(json_lines(&fs::read_to_string(log).unwrap_or_default()));
            lines
        })
        .await;
        this
    }

    /// As [`Self::start_in`], for a process whose disk can be full: see [`Self::fill_disk`].
    pub(crate) async fn start_fillable(folder: &Path, config: &str) -> Self {
        fs::write(folder.join("tidegate.toml"), config).unwrap();
        // A write over the limit is to be an error, as on a full disk, and not the end of the process.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
        let mut this = Self::spawn_by(command, folder, &[]);
        let out = this.out.clone();
        this.until_ready(|| out.json()).await;
        this
    }

    /// As [`Self::start_in`], where names stand for what the test says.
    pub(crate) async fn start_with_names(folder: &Path, config: &str, names: &Names) -> Self {
        fs::write(folder.join("tidegate.toml"), config).unwrap();
        let mut this = Self::spawn_by(names.command(), folder, &[]);
        let out = this.out.clone();
        this.until_ready(|| out.json()).await;
        this
    }

    /// Whether no file of this process can grow any more.
    pub(crate) fn fill_disk(&self, is_full: bool) {
        let (pid, hard) =
            (i32::try_from(self.child.id()).unwrap(), rlimit::Resource::FSIZE.get_hard().unwrap());
        let soft = if is_full { 0 } else { hard };
        rlimit::prlimit(pid, rlimit::Resource::FSIZE, Some((soft, hard)), None).unwrap();
    }

    fn spawn(folder: &Path, variables: &[(&str, &str)]) -> Self {
        Self::spawn_by(Command::new(BINARY), folder, variables)
    }

    fn spawn_by(mut command: Command, folder: &Path, variables: &[(&str, &str)]) -> Self {
        command.arg("run");
        Self::spawn_with(command, folder, variables)
    }

    fn spawn_with(mut command: Command, folder: &Path, variables: &[(&str, &str)]) -> Self {
        command.arg("--config").arg(folder.join("tidegate.toml"));
        command.envs(variables.iter().copied()).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let (folder, listeners) = (folder.to_path_buf(), BTreeMap::new());
        Self { child, folder, own_folder: None, listeners, admin: None, out, err }
    }

    /// Start another process that waits to take this one's place, with what lies in the folder now.
    pub(crate) async fn successor(&self) -> Self {
        let this = self.spawn_successor(&[]);
        this.logs("the configuration is good").await;
        this
    }

    /// As [`Self::successor`], with variables in the environment, and however it goes.
    pub(crate) fn spawn_successor(&self, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--upgrade").env_remove("TIDEGATE_UPGRADE_SOCKET");
        Self::spawn_with(command, &self.folder, variables)
    }

    /// Upgrade in place: the new process, and the old one, which drains.
    pub(crate) async fn upgrade(mut self) -> (Self, Self) {
        let mut new = self.successor().await;
        self.signal("QUIT");
        new.takes_over().await;
        // From then on it is the new one that answers.
        self.logs("the admin API accepts no more calls").await;
        new.own_folder = self.own_folder.take();
        (new, self)
    }

    /// Wait until it has taken over and is ready.
    pub(crate) async fn takes_over(&mut self) {
        let out = self.out.clone();
        self.until_ready(|| out.json()).await;
        self.logs("taken over").await;
    }

    /// Wait for a line of the log that begins so.
    pub(crate) async fn logs(&self, words: &str) {
        let said = async || self.has_logged(words).then_some(());
        super::eventually(&format!("it says: {words}"), said).await;
    }

    pub(crate) fn has_logged(&self, words: &str) -> bool {
        let message = |line: &Value| field(line, "message").as_str().is_some_and(|m| m.starts_with(words));
        self.out.json().iter().any(message)
    }

    /// What it wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        self.err.all().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn until_ready(&mut self, lines: impl Fn() -> Vec<Value>) {
        let end = Instant::now() + PATIENCE;
        while !lines().iter().any(|line| field(line, "message") == "ready") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} before it was ready");
            assert!(Instant::now() < end, "not ready within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for line in lines() {
            let address = || field(&line, "address").as_str().and_then(|text| text.parse().ok());
            match (field(&line, "message").as_str(), field(&line, "listener").as_str()) {
                // One on a Unix socket is reached by its path.
                (Some("listening"), Some(name)) => {
                    self.listeners.extend(address().map(|address| (name.to_owned(), address)));
                }
                (Some("admin listening"), _) => self.admin = address(),
                _ => {}
            }
        }
    }

    /// Where the listener `web` is.
    pub(crate) fn web(&self) -> SocketAddr {
        self.listener("web")
    }

    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        *self.listeners.get(name).unwrap_or_else(|| panic!("no line says where {name} listens"))
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("a line says where the admin API listens")
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.admin())
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("tidegate.toml")
    }

    /// Put another configuration in the place of the present one, in one step.
    pub(crate) fn replace_config(&self, config: &str) {
        let beside = self.folder.join("next.toml");
        fs::write(&beside, config).unwrap();
        fs::rename(beside, self.config_path()).unwrap();
    }

    /// `TERM`, `HUP`, `INT`, …
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: a minimal system has no program of that name.
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }

    /// As a power cut: nothing is written any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory that the process holds, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Wait for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running after {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Run a command of the binary against this process.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let admin = format!("http://{}", self.admin());
        command(arguments, &[("TIDEGATE_ADMIN", &admin)]).await
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let config = fs::read_to_string(self.config_path()).unwrap_or_default();
            let config = config.lines().map(str::to_owned).collect();
            let parts = [("stdout", self.out.all()), ("stderr", self.err.all()), ("config", config)];
            eprintln!("what this Tidegate wrote is kept in {}", keep("tidegate", &parts).display());
        }
    }
}

/// Run the binary with these arguments to its end, with a bound.
pub(crate) async fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    super::within(PATIENCE, &format!("{arguments:?}"), command.output()).await.unwrap()
}

/// What a command wrote to stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
