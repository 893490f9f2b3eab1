//! The process that is measured: started, told what to do by its admin API, and asked for its CPU time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Connection, Message};
use crate::exec::Result;

/// How long a start may take, of the process and of a rollout.
const PATIENCE: Duration = Duration::from_secs(20);

/// Linux tells times of processes in these, whatever the kernel's own tick is.
const TICKS_A_SECOND: f64 = 100.0;

/// Every test on, and none that equal pools could cross.
const PLAN: &str = r#"{"baseline":"stable","candidate":"canary","steps":[{"percent":50,"hold":"1h"}],
    "max_step_time":"2h","guard":{"max_failure_rate":0.5,"latency":{"quantile":0.99,"max":"9s","ratio":100}}}"#;

/// A running process. Dropping it ends it.
pub(super) struct Tidegate {
    child: Child,
    folder: PathBuf,
    web: SocketAddr,
    admin: SocketAddr,
}

impl Tidegate {
    /// Starts the program with a split `checkout` of two pools.
    pub(super) fn start(binary: &Path, [stable, canary]: [SocketAddr; 2]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidegate-guard-cost-{}", std::process::id()));
        let file = folder.join("tidegate.toml");
        let config = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [pools.stable]\nendpoints = [\"{stable}\"]\n[pools.canary]\nendpoints = [\"{canary}\"]\n\
             [splits.checkout]\nweights = {{ stable = 50, canary = 50 }}\nkey = [\"header:x-user-id\"]\n\
             [[routes]]\nname = \"all\"\nsplit = \"checkout\"\n"
        );
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, config))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&file).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("starting Tidegate: {error}"))?;
        let out = child.stdout.take().ok_or("Tidegate has no stdout")?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut this = Self { child, folder, web: nowhere, admin: nowhere };
        (this.web, this.admin) = addresses(out)?;
        Ok(this)
    }

    pub(super) fn web(&self) -> SocketAddr {
        self.web
    }

    /// CPU time up to now, of all threads, the user's and the system's.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        ticks(&stat)
            .map(|ticks| Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND))
            .ok_or(format!("{path} does not read as expected"))
    }

    /// Half of the users to each pool, with no rollout.
    pub(super) fn even_weights(&self) -> Result {
        self.call("PUT", "/weights", r#"{"weights":{"stable":50,"canary":50}}"#).map(drop)
    }

    /// Starts a rollout, and waits until half of the users are the candidate's.
    pub(super) fn start_rollout(&self) -> Result {
        self.call("POST", "/rollout", PLAN)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let split = self.call("GET", "", "")?;
            if split.contains("\"shares\":{\"canary\":0.5,\"stable\":0.5}") {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("the rollout did not come to its first step: {split}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the rollout, if it was still running and has seen all of the round.
    pub(super) fn end_rollout(&self, requests: usize) -> Result {
        // The last requests are counted by the next tick.
        thread::sleep(Duration::from_millis(300));
        let rollout = self.call("GET", "/rollout", "")?;
        let seen: u64 = numbers(&rollout, "\"requests\":").take(2).sum();
        if !rollout.contains("\"state\":\"running\"") || seen != requests as u64 {
            return Err(format!("the rollout should run and have seen {requests} requests: {rollout}"));
        }
        self.call("POST", "/rollout/abort", "").map(drop)
    }

    /// A call about the split; the answer's body without white space.
    fn call(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut connection = Connection::to(self.admin)?;
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let request = format!(
            "{method} /v1/splits/checkout{path} HTTP/1.1\r\nhost: {}\r\n{kind}content-length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        connection.send(request.as_bytes())?;
        let answer: Message = connection.receive()?.ok_or("the admin API did not answer")?;
        let text: String = String::from_utf8_lossy(&answer.body).split_whitespace().collect();
        match answer.status() {
            200..=299 => Ok(text),
            status => Err(format!("{method} /v1/splits/checkout{path}: {status} {text}")),
        }
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The release build beside which this program was built.
pub(super) fn release_build() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("this program's own place: {error}"))?;
    let target = own.ancestors().nth(2).ok_or("this program is in no target folder")?;
    Ok(target.join("release").join("tidegate"))
}

/// Where the process says that it listens; what it says after that is read and dropped.
fn addresses(out: ChildStdout) -> Result<(SocketAddr, SocketAddr)> {
    let (mut web, mut admin) = (None, None);
    let mut lines = BufReader::new(out).lines().map_while(std::io::Result::ok);
    for line in &mut lines {
        let address = || text_after(&line, "\"address\":\"")?.parse::<SocketAddr>().ok();
        match text_after(&line, "\"message\":\"") {
            Some("listening") => web = address(),
            Some("admin listening") => admin = address(),
            Some("ready") => break,
            _ => {}
        }
    }
    let found = web.zip(admin).ok_or("Tidegate ended before it was ready, or said not where it listens")?;
    thread::spawn(move || lines.for_each(drop));
    Ok(found)
}

/// What stands between a mark and the next quotation mark.
fn text_after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark)?.1.split('"').next()
}

/// The numbers behind each of a mark.
fn numbers<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = u64> + 'a {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split(mark).skip(1).filter_map(move |rest| digits(rest).parse().ok())
}

/// utime and stime, fields 14 and 15 of `/proc/PID/stat` (proc(5)); the second may hold spaces.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 900 0 0 0 120 34 0 0 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn what_stands_in_json() {
        let text = r#"{"message":"listening","address":"127.0.0.1:80","requests":12,"b":{"requests":3}}"#;
        assert_eq!(text_after(text, "\"address\":\""), Some("127.0.0.1:80"));
        assert_eq!(numbers(text, "\"requests\":").collect::<Vec<_>>(), [12, 3]);
    }
}
