//! The file: reading it again, checking another, and which of file and API wins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::harness::{Admin, config, eventually};

const WEIGHTS: &str = "/v1/splits/checkout/weights";

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("tidegate.toml");
    std::fs::write(&path, text).expect("written");
    path
}

fn with_canary(weight: u32) -> String {
    config("").replace("canary = 5", &format!("canary = {weight}"))
}

#[tokio::test]
async fn a_good_file_is_put_in_force_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    let admin = Admin::start_file(&path);
    let answer = admin.post("/v1/config/reload", "").await.ok();
    assert_eq!((&answer["changed"], &answer["generation"]), (&json!(false), &json!(1)));
    write(folder.path(), &with_canary(7));
    let answer = admin.post("/v1/config/reload?dry_run=true", "").await.ok();
    assert_eq!((&answer["changed"], &answer["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 5);
    let answer = admin.post("/v1/config/reload", r#"{"reason":"new file"}"#).await.ok();
    assert_eq!(answer["change"]["after"]["splits"]["checkout"]["weights"]["canary"], 7);
    for (text, needle) in [
        ("", "listener"),
        ("listeners = 3", "listeners"),
        ("[[listeners", ""),
        (&*config("[server]\nwrokers = 3\n"), "wrokers"),
        (&*config("[server]\nworkers = 3\n"), "workers"),
        (&*config("").replace("name = \"web\"", "name = \"other\""), "other"),
    ] {
        write(folder.path(), text);
        let problem = admin.post("/v1/config/reload", "").await.refused(422);
        assert!(problem["problems"].to_string().contains(needle), "{problem}");
        let status = admin.get("/v1/status").await.ok();
        assert_eq!(status["last_reload"]["ok"], false);
        assert!(!status["last_reload"]["problems"].as_array().expect("a list").is_empty());
    }
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 7);
    std::fs::remove_file(&path).expect("removed");
    admin.post("/v1/config/reload", "").await.refused(422);
    std::fs::create_dir(&path).expect("made");
    admin.post("/v1/config/reload", "").await.refused(422);
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.contains("tidegate_config_reloads_total{outcome=\"failed\"} 8"), "{metrics}");
    assert!(metrics.contains("tidegate_config_last_reload_success 0"));
}

#[tokio::test]
async fn a_stale_reload_is_refused_and_says_nothing_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    let admin = Admin::start_file(&path);
    let reload = async |query: &str, tag: &str| {
        let path = format!("/v1/config/reload{query}");
        admin.call("POST", &path, &[("if-match", tag)], None).await
    };
    admin.post("/v1/pools/canary/drain", "").await.ok();
    for text in [config(""), with_canary(7), "listeners = 3".into()] {
        write(folder.path(), &text);
        for query in ["", "?dry_run=true"] {
            let answer = reload(query, "\"1\"").await;
            assert_eq!(answer.refused(412)["current"], json!({"generation": 2}), "{text}");
            assert_eq!(answer.header("etag"), Some("\"2\""));
        }
    }
    let reloads = admin.control.reloads();
    assert_eq!((reloads.ok, reloads.unchanged, reloads.failed), (0, 0, 0), "{reloads:?}");
    write(folder.path(), &with_canary(7));
    for (changed, tag, next) in [(true, "\"2\"", "\"3\""), (false, "\"3\"", "\"3\"")] {
        let answer = reload("", tag).await;
        assert_eq!((&answer.ok()["changed"], answer.header("etag")), (&json!(changed), Some(next)));
    }
}

#[tokio::test]
async fn the_newer_intent_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    let admin = Admin::start_file(&path);
    admin.put(WEIGHTS, r#"{"weights":{"stable":50,"canary":50}}"#).await.ok();
    // Another value of the file changes: the runtime weights hold.
    write(folder.path(), &config("").replace("9002", "9012"));
    admin.post("/v1/config/reload", "").await.ok();
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!((&split["source"], &split["weights"]["canary"]), (&json!("api"), &json!(50)));
    // The file's own weights change: they win.
    write(folder.path(), &with_canary(9));
    let answer = admin.post("/v1/config/validate", "").await;
    assert_eq!(answer.status, 415);
    admin.post("/v1/config/reload", "").await.ok();
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!((&split["source"], &split["weights"]["canary"]), (&json!("file"), &json!(9)));
}

#[tokio::test]
async fn a_file_can_be_checked_before_it_is_used() {
    let admin = Admin::start(&config(""));
    let toml = [("content-type", "application/toml")];
    let check = async |text: &str| admin.call("POST", "/v1/config/validate", &toml, Some(text)).await;
    admin.put(WEIGHTS, r#"{"weights":{"stable":50,"canary":50}}"#).await.ok();
    let same = check(&config("")).await.ok();
    assert_eq!((&same["ok"], &same["changes"]["any"]), (&json!(true), &json!(false)));
    let more = config("[[routes]]\nname = \"new\"\npool = \"canary\"\nhosts = [\"new.example.com\"]\n")
        .replace("canary = 5", "canary = 6")
        .replace("/checkout", "/pay");
    let other = check(&more).await.ok();
    assert_eq!(other["changes"]["before"]["splits"]["checkout"]["weights"]["canary"], 50);
    assert_eq!(other["changes"]["after"]["splits"]["checkout"]["weights"]["canary"], 6);
    assert_eq!(other["changes"]["routes"], json!({"added": ["new"], "removed": [], "changed": ["checkout"]}));
    assert_eq!(other["changes"]["dropped"].as_array().map(Vec::len), Some(1));
    let problem = check("[[routes]]\nname = 3\n").await.refused(422);
    assert!(problem["problems"].as_array().is_some_and(|problems| problems.len() >= 2), "{problem}");
    check(&config("[server]\nworkers = 3\n")).await.refused(422);
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"], 50);
    let in_force = admin.get("/v1/config").await.ok();
    assert_eq!(in_force["config"]["splits"]["checkout"]["weights"]["canary"], 5);
}

#[tokio::test]
async fn status_tells_how_it_is() {
    let admin = Admin::start(&config(""));
    let status = admin.get("/v1/status").await.ok();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["generation"], 1);
    assert_eq!(
        (&status["last_reload"]["ok"], &status["last_reload"]["problems"]),
        (&json!(true), &json!([]))
    );
    let counts =
        json!({"listeners": 1, "routes": 2, "splits": 1, "pools": 2, "endpoints": 3, "overrides": 0});
    assert_eq!(status["counts"], counts);
    assert_eq!(status["admin_address"], admin.address.to_string());
}

/// Runs the watcher over what `change` does to the folder, until the split has `weight`.
async fn watched(folder: &Path, path: &Path, weight: u32, change: impl FnOnce(&Path)) {
    let admin = Admin::start_file(path);
    let watching = tokio::spawn(crate::watch(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    tokio::time::sleep(Duration::from_millis(150)).await;
    change(folder);
    eventually("the new file is in force", async || {
        admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"] == weight
    })
    .await;
    let reloads = admin.control.reloads();
    assert_eq!((reloads.ok, reloads.unchanged, reloads.failed), (1, 0, 0), "{reloads:?}");
    admin.stop().await;
    watching.await.expect("ends with the process");
}

#[tokio::test]
async fn a_write_in_place_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    watched(folder.path(), &path, 6, |folder| drop(write(folder, &with_canary(6)))).await;
}

#[tokio::test]
async fn a_rename_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    watched(folder.path(), &path, 7, |folder| {
        let temporary = folder.join(".tidegate.toml.swp");
        std::fs::write(&temporary, with_canary(7)).expect("written");
        std::fs::rename(&temporary, folder.join("tidegate.toml")).expect("renamed");
    })
    .await;
}

#[tokio::test]
async fn a_swapped_link_is_seen() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let mount = folder.path();
    for (version, text) in [("..v1", config("")), ("..v2", with_canary(8))] {
        std::fs::create_dir(mount.join(version)).expect("made");
        std::fs::write(mount.join(version).join("tidegate.toml"), text).expect("written");
    }
    symlink("..v1", mount.join("..data")).expect("linked");
    symlink("..data/tidegate.toml", mount.join("tidegate.toml")).expect("linked");
    watched(mount, &mount.join("tidegate.toml"), 8, |mount| {
        symlink("..v2", mount.join("..data_tmp")).expect("linked");
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("swapped");
        std::fs::remove_dir_all(mount.join("..v1")).expect("removed");
    })
    .await;
}

#[tokio::test]
async fn a_link_to_another_folder_is_followed() {
    use std::os::unix::fs::symlink;
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let real = write(there.path(), &config(""));
    let link = here.path().join("link.toml");
    symlink(&real, &link).expect("linked");
    watched(there.path(), &link, 9, |there| drop(write(there, &with_canary(9)))).await;
}

#[tokio::test]
async fn a_burst_is_few_reloads_and_the_last_one_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    let admin = Admin::start_file(&path);
    let watching = tokio::spawn(crate::watch(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    tokio::time::sleep(Duration::from_millis(150)).await;
    for weight in 1..=1_000 {
        let temporary = folder.path().join("new");
        std::fs::write(&temporary, with_canary(weight)).expect("written");
        std::fs::rename(&temporary, &path).expect("renamed");
    }
    eventually("the last file is in force", async || {
        admin.get("/v1/splits/checkout").await.ok()["weights"]["canary"] == 1_000
    })
    .await;
    assert!(admin.control.reloads().ok <= 5, "{:?}", admin.control.reloads());
    admin.stop().await;
    watching.await.expect("ends with the process");
}

/// A log beside the file: what a bad file makes Tidegate log must not have it read again for ever.
#[tokio::test]
async fn what_a_file_says_is_told_once_whatever_else_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &config(""));
    let admin = Admin::start_file(&path);
    let watching = tokio::spawn(crate::watch(Arc::clone(&admin.control), admin.stopping().cancelled_owned()));
    let counts = || {
        let reloads = admin.control.reloads();
        (reloads.ok, reloads.unchanged, reloads.failed)
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counts(), (0, 0, 0), "the first look is not a reload");
    write(folder.path(), "listeners = 3");
    eventually("the bad file has been told", async || counts() == (0, 0, 1)).await;
    for line in 0..5 {
        std::fs::write(folder.path().join("acc.log"), format!("line {line}")).expect("written");
        // The same text again: the name counts, the text has been told.
        std::fs::write(folder.path().join("new"), "listeners = 3").expect("written");
        std::fs::rename(folder.path().join("new"), &path).expect("renamed");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(counts(), (0, 0, 1), "the same bad file is not told again");
    admin.post("/v1/config/reload", "").await.refused(422);
    assert_eq!(counts(), (0, 0, 2), "a call is always answered");
    // What was in force before the bad file is news.
    write(folder.path(), &config(""));
    eventually("the good file has been told", async || counts() == (0, 1, 2)).await;
    admin.stop().await;
    watching.await.expect("ends with the process");
}
