//! Upgrades that come to nothing: the old process goes on as if nothing had been.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::successor::Successor;
use crate::harness::{Client, Clients, PATIENCE, Request, Tidegate, Upstream, config, eventually};

const NOT_TAKEN: &str = "the new process has not taken over";

struct Scene {
    _upstream: Upstream,
    tidegate: Tidegate,
    clients: Clients,
}

impl Scene {
    async fn new() -> Self {
        let upstream = Upstream::start("stable").await;
        let rest = config::canary_rest(&[&upstream], &[&upstream], [100, 0], "", "");
        let text = config::with_listener("", "state_dir = \"state\"", &rest);
        let tidegate = Tidegate::start(&text).await;
        let clients = Clients::start(tidegate.web());
        clients.flow().await;
        Self { _upstream: upstream, tidegate, clients }
    }

    /// Everything goes on: traffic, changes, and what is on disk.
    async fn goes_on(mut self, generation: u64) {
        let change = json!({ "weights": { "stable": 61, "canary": 39 } });
        let split = self.tidegate.api().put("/v1/splits/shop/weights", &change).await.ok();
        assert_eq!(split["generation"], generation, "{split:#}");
        let status = self.tidegate.api().get("/v1/status").await.ok();
        assert_eq!(status["state"]["durable"], true, "{status:#}");
        assert_eq!(self.tidegate.api().get("/readyz").await.status, 200);
        self.clients.flow().await;
        self.clients.stop_clean().await;
        self.tidegate.kill();
        let folder = self.tidegate.config_path();
        let again = Tidegate::start_again(folder.parent().unwrap()).await;
        assert_eq!(again.api().weights("shop").await, change["weights"]);
        let history = again.api().get("/v1/history").await.ok();
        assert_eq!(history["history"][1]["generation"], generation, "{history:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_sigquit_changes_nothing() {
    let scene = Scene::new().await;
    scene.tidegate.signal("QUIT");
    scene.tidegate.logs("SIGQUIT hands over to a new process, and none waits").await;
    scene.goes_on(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_found_before_anything_begins() {
    let scene = Scene::new().await;
    let good = std::fs::read_to_string(scene.tidegate.config_path()).unwrap();
    scene.tidegate.replace_config("[[listeners]]\nname = \"web\"\nadress = \"127.0.0.1:0\"\n");
    let mut new = scene.tidegate.spawn_successor(&[]);
    assert_eq!(new.ended(PATIENCE).await.code(), Some(1));
    assert!(new.stderr().contains("did you mean `address`"), "{}", new.stderr());
    scene.tidegate.signal("QUIT");
    scene.tidegate.logs("SIGQUIT hands over to a new process, and none waits").await;
    scene.tidegate.replace_config(&good);
    scene.goes_on(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_listen_gives_everything_back() {
    let scene = Scene::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = std::fs::read_to_string(scene.tidegate.config_path()).unwrap();
    let more =
        format!("[[listeners]]\nname = \"more\"\naddress = \"{}\"\n\n{good}", taken.local_addr().unwrap());
    scene.tidegate.replace_config(&more);
    let mut new = scene.tidegate.successor().await;
    scene.tidegate.signal("QUIT");
    // By then it has the state folder, and has written its start to it.
    assert_eq!(new.ended(PATIENCE).await.code(), Some(1));
    assert!(new.stderr().contains("listener `more`"), "{}", new.stderr());
    scene.tidegate.logs(NOT_TAKEN).await;
    assert!(scene.tidegate.out.all().iter().any(|line| line.contains(NOT_TAKEN) && line.contains("`more`")));
    scene.tidegate.replace_config(&good);
    scene.goes_on(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_while_it_waits_or_greets_is_not_missed() {
    let scene = Scene::new().await;
    let mut new = scene.tidegate.successor().await;
    new.kill();
    scene.tidegate.signal("QUIT");
    scene.tidegate.logs("SIGQUIT hands over to a new process, and none waits").await;
    // What a killed process left is not in the next one's way.
    let mut new = scene.tidegate.successor().await;
    new.signal("STOP");
    scene.tidegate.signal("QUIT");
    tokio::time::sleep(Duration::from_millis(300)).await;
    new.kill();
    scene.tidegate.logs(NOT_TAKEN).await;
    scene.goes_on(2).await;
}

/// How far a process gets before it is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    Greeted,
    Welcomed,
    Given,
    Failing,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_away_at_any_point_is_not_missed() {
    for gone in [Gone::Greeted, Gone::Welcomed, Gone::Given, Gone::Failing] {
        let folder = TempDir::new().unwrap();
        let place = folder.path().join("upgrade.sock");
        let upstream = Upstream::start("app").await;
        std::fs::write(folder.path().join("tidegate.toml"), config::one_pool(&[&upstream], "", "")).unwrap();
        let variables = [("TIDEGATE_UPGRADE_SOCKET", place.to_str().unwrap())];
        let mut tidegate = Tidegate::start_with(folder.path(), &variables).await;
        let clients = Clients::start(tidegate.web());
        let met = Successor::meet(&place);
        tidegate.signal("QUIT");
        let mut successor = met.await;
        if gone != Gone::Greeted {
            successor.welcome();
        }
        if matches!(gone, Gone::Given | Gone::Failing) {
            let estate = successor.estate().await;
            assert_eq!(estate["sockets"].as_array().unwrap().len(), 2, "{estate:#}");
        }
        if gone == Gone::Failing {
            successor.say(&json!({ "Failed": { "why": "it does not like it here" } }));
        }
        drop(successor);
        tidegate.logs(NOT_TAKEN).await;
        clients.flow().await;
        clients.stop_clean().await;
        assert!(tidegate.is_running(), "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_is_waited_for_ten_seconds() {
    let scene = Scene::new().await;
    let new = scene.tidegate.successor().await;
    new.signal("STOP");
    scene.tidegate.signal("QUIT");
    scene.tidegate.logs(NOT_TAKEN).await;
    drop(new);
    scene.goes_on(2).await;
}

#[tokio::test]
async fn two_at_once_are_one_too_many() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let mut first = tidegate.successor().await;
    let mut second = tidegate.spawn_successor(&[]);
    assert_eq!(second.ended(PATIENCE).await.code(), Some(1));
    assert!(second.stderr().contains("another process waits to take over"), "{}", second.stderr());
    tidegate.signal("QUIT");
    first.takes_over().await;
    // One that has handed over does so once.
    tidegate.signal("QUIT");
    assert_eq!(Client::new(first.web()).ask(&Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn one_that_nobody_wants_ends_when_it_is_told_to() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let mut new = tidegate.successor().await;
    new.signal("TERM");
    assert_eq!(new.ended(PATIENCE).await.code(), Some(0));
    tidegate.signal("QUIT");
    tidegate.logs("SIGQUIT hands over to a new process, and none waits").await;
    assert_eq!(tidegate.api().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn two_processes_cannot_have_one_state_folder() {
    let folder = TempDir::new().unwrap();
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let text = config::with_listener("", "state_dir = \"state\"", &rest);
    let mut first = Tidegate::start_in(folder.path(), &text).await;
    let config = first.config_path();
    let second = crate::harness::tidegate::command(&["run", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(second.status.code(), Some(1));
    let why = crate::harness::tidegate::stderr(&second);
    assert!(why.contains("another process uses this folder"), "{why}");
    first.kill();
    let again = Tidegate::start_again(folder.path()).await;
    eventually("it is ready", async || (again.api().get("/readyz").await.status == 200).then_some(())).await;
}
