//! The command line against a running process: what it does, what it prints, how it ends.

use std::process::Output;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::tidegate::{BINARY, command, stderr, stdout};
use crate::harness::upstream::refusing;
use crate::harness::{PATIENCE, Tidegate, Upstream, config, eventually, within};

async fn shop() -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [90, 10], "")).await;
    (stable, canary, tidegate)
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", stdout(output), stderr(output));
    stdout(output)
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    let text = ends(output, 0);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test]
async fn commands_change_what_is_in_force() {
    let (stable, _canary, tidegate) = shop().await;
    let api = tidegate.api();
    ends(&tidegate.command(&["shift", "shop", "stable=60", "canary=40"]).await, 0);
    assert_eq!(api.weights("shop").await, json!({ "stable": 60, "canary": 40 }));
    ends(&tidegate.command(&["cutover", "shop", "canary"]).await, 0);
    assert_eq!(api.get("/v1/splits/shop").await.ok()["shares"]["canary"], 1.0);
    ends(&tidegate.command(&["revert", "shop"]).await, 0);
    assert_eq!(api.weights("shop").await, json!({ "stable": 60, "canary": 40 }));
    ends(&tidegate.command(&["drain", "canary"]).await, 0);
    assert_eq!(api.get("/v1/pools/canary").await.ok()["state"], "drained", "it waits until drained");
    ends(&tidegate.command(&["undrain", "canary"]).await, 0);
    assert_eq!(api.get("/v1/pools/canary").await.ok()["state"], "ready");
    let endpoint = stable.address().to_string();
    ends(&tidegate.command(&["drain", "stable", &endpoint]).await, 0);
    assert_eq!(api.endpoint("stable", stable.address()).await["state"], "drained");
    ends(&tidegate.command(&["undrain", "stable", &endpoint]).await, 0);
    let history = api.get("/v1/history").await.ok();
    let entries = history["history"].as_array().unwrap();
    let first = entries
        .iter()
        .rev()
        .find(|entry| entry["after"].to_string().contains("\"stable\":60"))
        .expect("the shift");
    ends(&tidegate.command(&["shift", "shop", "stable=1", "canary=1"]).await, 0);
    ends(&tidegate.command(&["restore", &first["generation"].to_string()]).await, 0);
    assert_eq!(api.weights("shop").await, json!({ "stable": 60, "canary": 40 }));
}

#[tokio::test]
async fn commands_tell_people_and_programs() {
    let (_stable, _canary, tidegate) = shop().await;
    ends(&tidegate.command(&["shift", "shop", "stable=75", "canary=25"]).await, 0);
    for arguments in
        [&["status"][..], &["history"], &["explain", "http://shop.test/x", "-H", "x-user-id: user-1"]]
    {
        let human = ends(&tidegate.command(arguments).await, 0);
        assert!(!human.trim().is_empty(), "{arguments:?}");
        assert!(!human.contains('\u{1b}'), "no colour where it is not a terminal: {human:?}");
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        json_of(&tidegate.command(&with_json).await);
    }
    let explain = ["explain", "http://shop.test/x", "-H", "x-user-id: user-1", "-X", "POST", "--json"];
    let said = json_of(&tidegate.command(&explain).await);
    assert_eq!((&said["route"], &said["reason"]), (&json!("all"), &json!("bucket")), "{said}");
    let history = json_of(&tidegate.command(&["history", "--json"]).await);
    assert!(history.to_string().contains("75"), "{history}");
    json_of(&tidegate.command(&["shift", "shop", "stable=1", "canary=2", "--json"]).await);
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let (_stable, _canary, tidegate) = shop().await;
    ends(&tidegate.command(&["shift", "shop", "nobody=1"]).await, 1);
    ends(&tidegate.command(&["shift", "nobody", "stable=1"]).await, 1);
    ends(&tidegate.command(&["shift", "shop", "stable=0", "canary=0"]).await, 1);
    ends(&tidegate.command(&["restore", "999999999"]).await, 1);
    let refused = tidegate.command(&["drain", "nobody"]).await;
    ends(&refused, 1);
    assert!(stderr(&refused).contains("nobody"), "{}", stderr(&refused));
    for wrong in [
        &["shift", "shop"][..],
        &["shift", "shop", "stable"],
        &["shift", "shop", "stable=1", "stable=2"],
        &["nonsense"],
        &["status", "--nonsense"],
        &["cutover"],
    ] {
        ends(&tidegate.command(wrong).await, 2);
    }
    let nobody = format!("http://{}", refusing().await);
    let unreachable = command(&["status", "--admin", &nobody], &[]).await;
    ends(&unreachable, 3);
    assert!(stderr(&unreachable).contains(nobody.trim_start_matches("http://")), "{}", stderr(&unreachable));
    ends(&command(&["shift", "shop", "stable=1", "--admin", &nobody, "--json"], &[]).await, 3);
    assert_eq!(tidegate.api().weights("shop").await, json!({ "stable": 90, "canary": 10 }));
    ends(&command(&["--help"], &[]).await, 0);
    ends(&command(&["--version"], &[]).await, 0);
}

/// How a command ends after Ctrl-C.
async fn interrupted(command: &mut tokio::process::Child) -> std::process::ExitStatus {
    let kill = format!("kill -INT {}", command.id().expect("it runs"));
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    within(PATIENCE, "the end", command.wait()).await.unwrap()
}

#[tokio::test]
async fn a_watched_status_ends_well() {
    let (_stable, _canary, tidegate) = shop().await;
    let mut status = tokio::process::Command::new(BINARY);
    status.args(["status", "--watch", "--json", "--admin", &format!("http://{}", tidegate.admin())]);
    status.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut status = status.spawn().unwrap();
    let mut lines = BufReader::new(status.stdout.take().unwrap()).lines();
    within(PATIENCE, "a line", lines.next_line()).await.unwrap().expect("the status");
    assert!(interrupted(&mut status).await.success());
}

#[tokio::test]
async fn events_are_followed() {
    let (_stable, _canary, tidegate) = shop().await;
    let mut events = tokio::process::Command::new(BINARY);
    events.args(["events", "--json", "--admin", &format!("http://{}", tidegate.admin())]);
    events.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut events = events.spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let following = tokio::spawn(async move {
        loop {
            let line = lines.next_line().await.unwrap().expect("the stream goes on");
            if line.contains("change") && line.contains("canary") {
                return serde_json::from_str::<Value>(&line).expect("JSON");
            }
        }
    });
    // It says nothing when it is connected: change until it has noticed.
    let mut number = 1;
    let noticed = async || {
        number += 1;
        let weights = json!({ "weights": { "stable": number, "canary": 1 } });
        tidegate.api().put("/v1/splits/shop/weights", &weights).await.ok();
        following.is_finished().then_some(())
    };
    eventually("an event is printed", noticed).await;
    assert_eq!(within(PATIENCE, "the line", following).await.unwrap()["kind"], "change");
    assert!(interrupted(&mut events).await.success(), "Ctrl-C is how it is meant to end");
}

#[cfg(unix)]
#[tokio::test]
async fn the_admin_api_can_be_a_socket() {
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("admin.sock");
    let text = config::with("");
    let text = text.replace(
        "[admin]\naddress = \"127.0.0.1:0\"",
        &format!("[admin]\naddress = \"unix:{}\"", socket.display()),
    );
    let _tidegate = Tidegate::start_in(folder.path(), &text).await;
    let admin = format!("unix:{}", socket.display());
    let status = json_of(&command(&["status", "--json", "--admin", &admin], &[]).await);
    assert!(status.to_string().contains("generation"), "{status}");
    ends(&command(&["status"], &[("TIDEGATE_ADMIN", &admin)]).await, 0);
}
