//! While a new process takes over: changes are refused clearly, and an abort is never lost.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::rollouts::{config, plan};
use crate::harness::successor::Successor;
use crate::harness::{PATIENCE, Tidegate, Upstream};

struct Scene {
    _upstreams: [Upstream; 2],
    folder: TempDir,
    tidegate: Tidegate,
}

impl Scene {
    /// With a rollout that runs.
    async fn new() -> Self {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let folder = TempDir::new().unwrap();
        let text = config(&[&stable], &[&canary], "state_dir = \"state\"", "");
        std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
        let place = folder.path().join("upgrade.sock");
        let variables = [("TIDEGATE_UPGRADE_SOCKET", place.to_str().unwrap())];
        let tidegate = Tidegate::start_with(folder.path(), &variables).await;
        tidegate.api().start(&plan(&[(25.0, "5m")], Value::Null)).await.ok();
        tidegate.api().share_is(0.25).await;
        Self { _upstreams: [stable, canary], folder, tidegate }
    }

    /// The old process has given everything, and waits for the new one to serve.
    async fn handing_over(&self) -> (Successor, Value) {
        let place = self.folder.path().join("upgrade.sock");
        let met = Successor::meet(&place);
        self.tidegate.signal("QUIT");
        let mut successor = met.await;
        successor.welcome();
        let estate = successor.estate().await;
        (successor, estate)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_refused_and_an_abort_is_in_force_at_once() {
    let scene = Scene::new().await;
    let api = scene.tidegate.api();
    let (successor, estate) = scene.handing_over().await;
    assert_eq!(estate["handover"]["state"]["rollouts"]["shop"]["percent"], 25.0, "{estate:#}");
    let change = json!({ "weights": { "stable": 60, "canary": 40 }, "force": true });
    let problem = api.put("/v1/splits/shop/weights", &change).await.problem(503);
    assert_eq!(problem["type"], "urn:tidegate:problem:taking-over", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("ask again"), "{problem}");
    let rollout = api.verb("abort").await.ok();
    assert_eq!((&rollout["state"], &rollout["durable"]), (&json!("aborted"), &json!(false)), "{rollout:#}");
    api.assert_share(0.0).await;
    // The new process fails: what was done meanwhile holds, and is on disk now.
    drop(successor);
    scene.tidegate.logs("the new process has not taken over").await;
    api.put("/v1/splits/shop/weights", &json!({ "weights": { "stable": 90, "canary": 10 } })).await.ok();
    let Scene { mut tidegate, folder, .. } = scene;
    tidegate.kill();
    let again = Tidegate::start_again(folder.path()).await;
    assert_eq!(again.api().rollout().await["state"], "aborted");
    assert_eq!(again.api().weights("shop").await, json!({ "stable": 90, "canary": 10 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_process_is_told_of_an_abort_that_came_too_late_for_it() {
    let scene = Scene::new().await;
    let (mut successor, _) = scene.handing_over().await;
    let abort = json!({ "reason": "enough" });
    scene.tidegate.api().post("/v1/splits/shop/rollout/abort", &abort).await.ok();
    successor.serve();
    let farewell = successor.hear().await;
    let told = &farewell["aborts"][0];
    assert_eq!(
        (&told["action"], &told["reason"]),
        (&json!("rollout_abort"), &json!("enough")),
        "{farewell:#}"
    );
    assert_eq!(told["after"]["splits"]["shop"]["rollout"]["state"], "aborted", "{farewell:#}");
    let Scene { mut tidegate, .. } = scene;
    assert_eq!(tidegate.ended(PATIENCE).await.code(), Some(0));
}
