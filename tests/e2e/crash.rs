//! Kill -9 at random points of acknowledged changes: after the restart the last acknowledged one is in force.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Dice, Request, Tidegate, Upstream, config};

const CHANGES: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_acknowledged_change_survives_any_kill() {
    let mut dice = Dice::fresh();
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let folder = TempDir::new().unwrap();
    let rest = config::canary_rest(&[&stable], &[&canary], [1_000_000, 0], "", "");
    let mut tidegate =
        Tidegate::start_in(folder.path(), &config::with_listener("", "state_dir = \"state\"", &rest)).await;
    let (mut acknowledged, mut kills) = (0, 0);
    while acknowledged < CHANGES {
        let changes = tokio::spawn(changes_until_it_dies(tidegate.admin(), acknowledged));
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        tidegate.kill();
        kills += 1;
        acknowledged = changes.await.unwrap();
        tidegate = Tidegate::start_again(folder.path()).await;
        let weights = tidegate.api().weights("shop").await;
        // One that was on its way may be in force, too: nobody was told.
        let ones = [acknowledged, acknowledged + 1];
        assert!(
            ones.iter().any(|number| weights == weights_of(*number)),
            "{weights}, acknowledged {acknowledged}"
        );
        acknowledged = ones[usize::from(weights == weights_of(ones[1]))];
    }
    println!("{kills} kills");
    assert!(kills >= 3, "{CHANGES} changes were done before it could be killed");
}

/// The weights that change number so-and-so sets.
fn weights_of(number: u32) -> Value {
    json!({ "stable": 1_000_000 - number, "canary": number })
}

/// Make change after change; the number of the last one acknowledged.
async fn changes_until_it_dies(admin: std::net::SocketAddr, mut done: u32) -> u32 {
    let mut client = Client::new(admin);
    loop {
        let body = json!({ "weights": weights_of(done + 1), "reason": format!("change {}", done + 1) });
        let mut request = Request::new("PUT", "/v1/splits/shop/weights").host(&admin.to_string());
        request = request.header("content-type", "application/json");
        request.body = body.to_string().into_bytes();
        match client.send(&request).await {
            Ok(response) => assert_eq!(response.status, 200, "{}", response.text()),
            Err(_) => return done,
        }
        done += 1;
    }
}

#[tokio::test]
async fn a_torn_journal_is_no_reason_to_lose_what_was_acknowledged() {
    let upstream = Upstream::start("stable").await;
    let folder = TempDir::new().unwrap();
    let rest = config::canary_rest(&[&upstream], &[&upstream], [100, 0], "", "");
    let mut tidegate =
        Tidegate::start_in(folder.path(), &config::with_listener("", "state_dir = \"state\"", &rest)).await;
    let change = json!({ "weights": { "stable": 60, "canary": 40 } });
    tidegate.api().put("/v1/splits/shop/weights", &change).await.ok();
    tidegate.kill();
    // Half of a record that was being written when the power went.
    let mut torn = 0;
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("journal") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend_from_slice(&bytes.clone()[..bytes.len().min(7)]);
            std::fs::write(&path, bytes).unwrap();
            torn += 1;
        }
    }
    assert_eq!(torn, 1, "there is one journal in state_dir");
    let tidegate = Tidegate::start_again(folder.path()).await;
    assert_eq!(tidegate.api().weights("shop").await, change["weights"]);
}
