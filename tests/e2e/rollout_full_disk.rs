//! The disk is full when a rollout has to be aborted: it is aborted, said loudly, and written down later.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::logs::field;
use crate::harness::rollouts::{config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Api, Tidegate, Upstream, eventually};

/// A running rollout at 25 %, in a process whose disk can be full.
async fn running(stable: &Upstream, canary: &Upstream, folder: &TempDir, more: Value) -> Tidegate {
    let text = config(&[stable], &[canary], "state_dir = \"state\"", "");
    let tidegate = Tidegate::start_fillable(folder.path(), &text).await;
    let api = tidegate.api();
    api.start(&plan(&[(25.0, "5m"), (100.0, "5m")], more)).await.ok();
    api.share_is(0.25).await;
    tidegate
}

/// Changes that could not be written down.
async fn failures(api: &Api) -> u64 {
    api.get("/v1/status").await.ok()["state"]["failures"].as_u64().expect("a number")
}

fn errors(tidegate: &Tidegate) -> Vec<Value> {
    tidegate.out.json().into_iter().filter(|line| field(line, "level") == "ERROR").collect()
}

/// There is room again: what is in force gets written down by itself, and a kill does not undo it.
async fn is_written_once_there_is_room(mut tidegate: Tidegate, folder: &TempDir) {
    tidegate.fill_disk(false);
    let api = tidegate.api();
    eventually("what is in force has been written down", async || {
        tidegate.out.all().iter().any(|line| line.contains("has been written now")).then_some(())
    })
    .await;
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "aborted", "{rollout:#}");
    tidegate.kill();
    let tidegate = Tidegate::start_again(folder.path()).await;
    let api = tidegate.api();
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "aborted", "{rollout:#}");
    api.assert_share(0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_abort_is_in_force_and_written_down_later() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let folder = TempDir::new().unwrap();
    let tidegate = running(&stable, &canary, &folder, Value::Null).await;
    let api = tidegate.api();
    assert_eq!(failures(&api).await, 0);
    let before = errors(&tidegate).len();
    tidegate.fill_disk(true);
    // Anything else is refused: it would not survive.
    let refused = api.verb("pause").await;
    assert!(refused.status >= 500, "{} {}", refused.status, refused.body);
    assert_eq!(api.rollout().await["state"], "running");
    let told = api.verb("abort").await.ok();
    assert_eq!((&told["state"], &told["durable"]), (&json!("aborted"), &json!(false)), "{told:#}");
    api.assert_share(0.0).await;
    assert!(failures(&api).await > 0);
    let said = errors(&tidegate);
    assert!(said.len() > before, "it is said loudly");
    println!("said: {}", said[said.len() - 1]);
    let again = api.verb("abort").await.ok();
    assert_eq!(again["state"], "aborted", "{again:#}");
    is_written_once_there_is_room(tidegate, &folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guards_abort_is_in_force_and_written_down_later() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let folder = TempDir::new().unwrap();
    let tidegate = running(&stable, &canary, &folder, Value::Null).await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    visitors.flow(200).await;
    tidegate.fill_disk(true);
    canary.behave("status:500");
    api.state("aborted").await;
    api.assert_share(0.0).await;
    assert!(failures(&api).await > 0);
    visitors.take();
    visitors.flow(200).await;
    visitors.take();
    visitors.flow(200).await;
    visitors.stop().await.assert_clean(200);
    is_written_once_there_is_room(tidegate, &folder).await;
}
