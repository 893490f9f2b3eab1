//! What a service manager is told: ready, reloading, stopping, and who the main process is.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::api::metric;
use crate::harness::tidegate::BINARY;
use crate::harness::{Client, PATIENCE, Request, Tidegate, Upstream, config, eventually, within};

/// A service manager that listens.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next message, as its lines.
    async fn told(&self) -> Vec<String> {
        let message = async || {
            let mut bytes = [0; 4_096];
            let length = self.socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        let message = eventually("the service manager is told", message).await;
        println!("{message:?}");
        message.lines().map(str::to_owned).collect()
    }

    /// Nothing more.
    fn is_told_nothing(&self) {
        let mut bytes = [0; 4_096];
        let more = self.socket.recv(&mut bytes);
        assert!(more.is_err(), "{}", String::from_utf8_lossy(&bytes));
    }
}

fn has(message: &[String], line: &str) -> bool {
    message.iter().any(|own| own == line)
}

#[tokio::test]
async fn it_follows_a_process_and_its_successors() {
    let manager = Manager::new();
    let path = manager.path();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let upstream = Upstream::start("app").await;
    let folder = TempDir::new().unwrap();
    let text = config::one_pool(&[&upstream], "", "");
    std::fs::write(folder.path().join("tidegate.toml"), &text).unwrap();
    let mut tidegate = Tidegate::start_with(folder.path(), &variables).await;
    let ready = manager.told().await;
    assert!(has(&ready, "READY=1") && has(&ready, "STATUS=serving, generation 1"), "{ready:?}");

    for (text, status) in [(text.as_str(), "serving, generation 1"), ("oops", "NOT good")] {
        tidegate.replace_config(text);
        tidegate.signal("HUP");
        let reloading = manager.told().await;
        assert!(has(&reloading, "RELOADING=1"), "{reloading:?}");
        let usec = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)), "{reloading:?}");
        let reloaded = manager.told().await;
        assert!(has(&reloaded, "READY=1"), "{reloaded:?}");
        assert!(reloaded.iter().any(|line| line.contains(status)), "{reloaded:?}");
    }

    tidegate.replace_config(&text);
    let mut new = tidegate.spawn_successor(&variables);
    new.logs("the configuration is good").await;
    tidegate.signal("QUIT");
    new.takes_over().await;
    let taken = manager.told().await;
    assert!(has(&taken, &format!("MAINPID={}", new.pid())) && has(&taken, "READY=1"), "{taken:?}");
    assert_eq!(tidegate.ended(PATIENCE).await.code(), Some(0));
    // A service whose old process ends does not stop.
    manager.is_told_nothing();

    new.signal("TERM");
    assert_eq!(new.ended(PATIENCE).await.code(), Some(0));
    let stopping = manager.told().await;
    assert!(has(&stopping, "STOPPING=1"), "{stopping:?}");
}

/// Run what `systemctl reload` runs, for this process and this program.
async fn reload(tidegate: &Tidegate, program: &Path, variables: &[(&str, &str)]) -> ExitStatus {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/reload");
    let mut command = Command::new(script);
    command.envs(variables.iter().copied());
    command.env("TIDEGATE", program).env("TIDEGATE_CONFIG", tidegate.config_path());
    command.env("MAINPID", tidegate.pid().to_string());
    // A process that takes over outlives the script, and keeps what it writes to.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    within(PATIENCE, "the reload", command.status()).await.unwrap()
}

#[tokio::test]
async fn a_reload_reads_the_file_again_or_upgrades_where_the_program_is_another() {
    let manager = Manager::new();
    let folder = TempDir::new().unwrap();
    let (notify, place) = (manager.path(), folder.path().join("upgrade.sock"));
    let variables =
        [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("TIDEGATE_UPGRADE_SOCKET", place.to_str().unwrap())];
    let upstream = Upstream::start("app").await;
    let text = config::one_pool(&[&upstream], "", "");
    fs::write(folder.path().join("tidegate.toml"), &text).unwrap();
    let mut tidegate = Tidegate::start_with(folder.path(), &variables).await;
    let (web, api) = (tidegate.web(), tidegate.api());
    manager.told().await;

    assert!(reload(&tidegate, Path::new(BINARY), &variables).await.success());
    assert!(has(&manager.told().await, "RELOADING=1"));
    assert!(has(&manager.told().await, "READY=1"));
    let text_of = api.metrics().await;
    let unchanged = metric(&text_of, "tidegate_config_reloads_total", &[("outcome", "unchanged")]);
    assert!(unchanged.is_some_and(|count| count >= 1.0), "{unchanged:?}");

    let other = folder.path().join("tidegate");
    fs::copy(BINARY, &other).unwrap();
    tidegate.replace_config("oops");
    assert_eq!(reload(&tidegate, &other, &variables).await.code(), Some(1), "a bad file");
    assert_eq!(Client::new(web).ask(&Request::get("/")).await.status, 200);

    tidegate.replace_config(&text);
    assert!(reload(&tidegate, &other, &variables).await.success());
    let taken = manager.told().await;
    let pid = taken.iter().find_map(|line| line.strip_prefix("MAINPID=")).expect("the new process's id");
    assert_eq!(tidegate.ended(PATIENCE).await.code(), Some(0));
    assert_eq!(Client::new(web).ask(&Request::get("/")).await.status, 200);
    let command = format!("kill -TERM {pid}");
    assert!(Command::new("sh").args(["-c", &command]).status().await.unwrap().success());
    assert!(has(&manager.told().await, "STOPPING=1"));
}
