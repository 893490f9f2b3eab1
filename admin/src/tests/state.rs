//! What survives a restart, and what happens when it cannot be written.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::harness::{Admin, config};
use crate::clock::Clock;
use crate::{Control, Options, Prepared, StartError};

const WEIGHTS: &str = "/v1/splits/checkout/weights";

fn write(folder: &Path, more: &str, canary: u32) -> PathBuf {
    let path = folder.join("tidegate.toml");
    let text = config(more)
        .replace("[admin]", "[admin]\nstate_dir = \"state\"")
        .replace("canary = 5", &format!("canary = {canary}"));
    std::fs::write(&path, text).expect("written");
    path
}

/// Starts again, as after a kill: nothing is flushed or closed in between but by the kernel.
async fn restart(admin: Admin, path: &Path) -> Admin {
    admin.stop().await;
    Admin::start_file(path)
}

#[tokio::test]
async fn runtime_changes_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    admin.put(WEIGHTS, r#"{"weights":{"stable":50,"canary":50},"reason":"r","ttl":"1h"}"#).await.ok();
    admin.put("/v1/pools/canary/endpoints", r#"{"endpoints":["127.0.0.1:9022"]}"#).await.ok();
    admin.post("/v1/pools/stable/endpoints/127.0.0.1:9003/drain", "").await.ok();
    let before = admin.get("/v1/splits/checkout").await.ok();
    let admin = restart(admin, &path).await;
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!(split["weights"], json!({"canary": 50, "stable": 50}));
    assert_eq!(split["override"], before["override"]);
    assert_eq!(split["generation"], 5);
    let pool = admin.get("/v1/pools/canary").await.ok();
    assert_eq!(pool["endpoints"][0]["address"], "127.0.0.1:9022");
    let pool = admin.get("/v1/pools/stable").await.ok();
    assert_eq!(pool["endpoints"][1]["state"], "drained");
    let history = admin.get("/v1/history").await.ok();
    let actions: Vec<_> =
        history["history"].as_array().expect("a list").iter().map(|c| &c["action"]).collect();
    assert_eq!(json!(actions), json!(["start", "drain", "set_endpoints", "set_weights", "start"]));
    // Going back reaches over the restart.
    let split = admin.post("/v1/splits/checkout/revert", "").await.ok();
    assert_eq!(split["weights"]["canary"], 5);
}

#[tokio::test]
async fn a_file_that_changed_while_down_counts_as_newer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    admin.put(WEIGHTS, r#"{"weights":{"stable":50,"canary":50}}"#).await.ok();
    write(folder.path(), "", 6);
    let admin = restart(admin, &path).await;
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!((&split["source"], &split["weights"]["canary"]), (&json!("file"), &json!(6)));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    let second = Control::open(Options::file(path.clone(), Clock::start()));
    assert!(matches!(second, Err(StartError::State(why)) if why.contains("another process")));
    let admin = restart(admin, &path).await;
    admin.get("/v1/splits").await.ok();
}

#[tokio::test]
async fn damaged_state_is_kept_aside_and_the_file_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    admin.put(WEIGHTS, r#"{"weights":{"stable":0,"canary":1}}"#).await.ok();
    admin.stop().await;
    let state = folder.path().join("state");
    let journal = std::fs::read(state.join("journal")).expect("it is there");
    let mut damaged = journal.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(state.join("journal"), damaged).expect("written");
    let admin = Admin::start_file(&path);
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!((&split["source"], &split["weights"]["canary"]), (&json!("file"), &json!(5)));
    let kept = std::fs::read_dir(&state).expect("a folder").filter_map(Result::ok);
    assert!(kept.map(|e| e.file_name()).any(|name| name.to_string_lossy().starts_with("journal.bad-")));
    admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.ok();
    let admin = restart(admin, &path).await;
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 1);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    let body = r#"{"weights":{"stable":1,"canary":1}}"#;
    admin
        .control
        .with_full_disk(async {
            admin.put(WEIGHTS, body).await.refused(507);
            admin.post("/v1/pools/canary/drain", "").await.refused(507);
            let split = admin.get("/v1/splits/checkout").await.ok();
            assert_eq!((&split["source"], &split["generation"]), (&json!("file"), &json!(1)));
            assert_eq!(admin.get("/v1/status").await.ok()["state"], json!({"durable": true, "failures": 2}));
        })
        .await;
    admin.put(WEIGHTS, body).await.ok();
    let admin = restart(admin, &path).await;
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 1);
}

#[test]
fn a_start_tells_everything_that_is_wrong() {
    let text = "[[listeners]]\nname = \"a b\"\naddress = \"nonsense\"\n[pool]\n";
    let Err(error) = Control::open(Options::text(text.into(), Clock::start())) else {
        panic!("it is not good")
    };
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("configuration:2: listeners[0].name: ")), "{lines:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Control::open(Options::file(folder.path().join("none.toml"), Clock::start()));
    assert!(matches!(missing, Err(StartError::File { .. })));
}

#[tokio::test]
async fn a_process_that_hands_over_changes_nothing_and_takes_back_what_the_other_one_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    admin.put(WEIGHTS, r#"{"weights":{"stable":50,"canary":50}}"#).await.ok();
    let handover = admin.control.hand_over().expect("all is on disk");
    assert_eq!(handover.state.generation, 2);
    let refused = admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.refused(503);
    assert_eq!(refused["type"], "urn:tidegate:problem:taking-over");
    // The other process gets as far as writing its start down, and then fails.
    let other = Prepared::read(Options::file(path.clone(), Clock::start())).expect("a good file");
    let other = other.open(Some(&handover)).expect("the folder is free");
    assert_eq!((other.live().peek().generation, other.is_durable()), (3, Some(true)));
    drop(other);
    admin.control.take_back();
    assert_eq!(admin.control.is_durable(), Some(true));
    let split = admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.ok();
    assert_eq!(split["generation"], 3, "as if nothing had been");
    let admin = restart(admin, &path).await;
    let history = admin.get("/v1/history").await.ok();
    let generations: Vec<_> =
        history["history"].as_array().expect("a list").iter().map(|c| &c["generation"]).collect();
    assert_eq!(json!(generations), json!([4, 3, 2, 1]));
}

#[tokio::test]
async fn a_folder_that_the_other_process_keeps_is_had_again_when_that_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "", 5);
    let admin = Admin::start_file(&path);
    let handover = admin.control.hand_over().expect("all is on disk");
    let other = Prepared::read(Options::file(path.clone(), Clock::start())).expect("a good file");
    let other = other.open(Some(&handover)).expect("the folder is free");
    let control = std::sync::Arc::clone(&admin.control);
    tokio::task::spawn_blocking(move || control.take_back()).await.expect("no panic");
    let refused = admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.refused(507);
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("another process")), "{refused}");
    assert_eq!(admin.control.is_durable(), Some(false));
    drop(other);
    // Asked for at most once a second.
    let latest = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while admin.control.is_durable() != Some(true) {
        assert!(std::time::Instant::now() < latest, "not had again");
        admin.control.save_unsaved().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    admin.put(WEIGHTS, r#"{"weights":{"stable":1,"canary":1}}"#).await.ok();
}
