//! What runs behind one pool is replaced, one process after another or all at once, and no client notices.
//!
//! Real processes, under load; the bounds of the queue are in `pool_recreate`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::hooks::{Answer, Hooks};
use crate::harness::nginx::Nginx;
use crate::harness::visitors::{Crowd, Tally, Visitors};
use crate::harness::{Tidegate, config, eventually};

const ROLLOUT: &str = "/v1/pools/app/rollout";

/// The directives of a version.
fn version(name: &str) -> String {
    format!(
        "location /healthz {{ return 200 \"well\"; }}\n\
         location / {{ add_header x-upstream {name} always; return 200 \"{name}\"; }}\n"
    )
}

/// Three processes of the first version, and what replaces them.
struct Scene {
    addresses: Vec<SocketAddr>,
    processes: Arc<Mutex<Vec<Nginx>>>,
    hooks: Hooks,
    tidegate: Tidegate,
    visitors: Visitors,
}

impl Scene {
    async fn new(crowd: &Crowd) -> Self {
        let mut processes = Vec::new();
        for _ in 0..3 {
            processes.push(Nginx::start(&version("v1")).await);
        }
        let addresses: Vec<SocketAddr> = processes.iter().map(Nginx::address).collect();
        let rest = config::one_pool_at(&addresses, config::QUICK_HEALTH, "");
        let tidegate = Tidegate::start(&config::with(&rest)).await;
        let api = tidegate.api();
        for address in &addresses {
            let up = async || (api.endpoint("app", *address).await["state"] == "up").then_some(());
            eventually("it is up", up).await;
        }
        let visitors = Visitors::start(tidegate.web(), crowd);
        visitors.flow(100).await;
        let processes = Arc::new(Mutex::new(processes));
        Self { addresses, processes, hooks: Hooks::start().await, tidegate, visitors }
    }

    async fn start(&self, mut plan: Value) -> crate::harness::api::Answer {
        plan["hooks"] = json!([{ "on": "replace", "url": self.hooks.url("/deploy"), "timeout": "20s" }]);
        self.tidegate.api().post(ROLLOUT, &plan).await
    }

    async fn until(&self, state: &str) -> Value {
        let api = self.tidegate.api();
        eventually(&format!("the rollout is {state}"), async || {
            let rollout = api.get(ROLLOUT).await.ok();
            (rollout["state"] == state).then_some(rollout)
        })
        .await
    }

    /// Everyone is served by the second version; what was seen in all.
    async fn end(self) -> Tally {
        eventually("only the second version answers", async || {
            self.visitors.take();
            self.visitors.flow(50).await;
            let tally = self.visitors.so_far();
            tally.assert_clean(1);
            (tally.of("v1") == 0).then_some(())
        })
        .await;
        let tally = self.visitors.stop().await;
        println!("in the end: {:?}", tally.answers);
        tally.assert_clean(50);
        tally
    }
}

/// A deploy script: replaces the process that the call names, and notes how many it has at work at once.
fn deploy(processes: &Arc<Mutex<Vec<Nginx>>>, at_work: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) -> Answer {
    let (processes, at_work, most) = (Arc::clone(processes), Arc::clone(at_work), Arc::clone(most));
    Answer::after(move |body: Value| {
        let (processes, at_work, most) = (Arc::clone(&processes), Arc::clone(&at_work), Arc::clone(&most));
        async move {
            most.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for process in processes.lock().await.iter_mut() {
                let address = process.address().to_string();
                let named = body["endpoints"].as_array().is_some_and(|all| all.contains(&json!(address)));
                if body["endpoint"] == address || named {
                    process.replace(&version("v2")).await;
                }
            }
            // As long as a real one takes.
            tokio::time::sleep(Duration::from_millis(400)).await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            200
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_one_after_another() {
    let scene = Scene::new(&Crowd::of(300)).await;
    let (at_work, most) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    scene.hooks.answer("/deploy", deploy(&scene.processes, &at_work, &most));
    let started = scene.start(json!({ "strategy": "rolling", "max_unavailable": 1 })).await.ok();
    assert_eq!((&started["pool"], &started["strategy"]), (&json!("app"), &json!("rolling")), "{started:#}");
    scene.start(json!({ "strategy": "rolling" })).await.problem(409);
    let end = scene.until("succeeded").await;
    println!("{}", end["endpoints"]);
    let endpoints = end["endpoints"].as_array().expect("endpoints");
    assert!(endpoints.iter().all(|endpoint| endpoint["state"] == "replaced"), "{end:#}");
    let calls = scene.hooks.calls("/deploy");
    let mut asked: Vec<String> =
        calls.iter().map(|call| call.body["endpoint"].as_str().unwrap_or_default().to_owned()).collect();
    asked.sort();
    let mut all: Vec<String> = scene.addresses.iter().map(ToString::to_string).collect();
    all.sort();
    assert_eq!(asked, all, "each once");
    assert!(calls.iter().all(|call| call.body["on"] == "replace" && call.body["pool"] == "app"));
    assert_eq!(most.load(Ordering::SeqCst), 1, "one after another");
    let tally = scene.visitors.take();
    println!("while they were replaced: {:?}, p99 {:?}", tally.answers, tally.quantile(990));
    tally.assert_clean(100);
    assert!(tally.of("v1") > 0 && tally.of("v2") > 0, "{:?}", tally.answers);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_come_back_stops_the_replacement_and_the_others_serve_on() {
    let scene = Scene::new(&Crowd::of(200)).await;
    let processes = Arc::clone(&scene.processes);
    let sick = "location /healthz { return 503; }\nlocation / { return 500; }\n";
    scene.hooks.answer(
        "/deploy",
        Answer::after(move |body| {
            let processes = Arc::clone(&processes);
            async move {
                for process in processes.lock().await.iter_mut() {
                    if body["endpoint"] == process.address().to_string() {
                        process.replace(sick).await;
                    }
                }
                200
            }
        }),
    );
    scene.start(json!({ "strategy": "rolling", "healthy_timeout": "1500ms" })).await.ok();
    let api = scene.tidegate.api();
    let end = eventually("it has stopped", async || {
        let rollout = api.get(ROLLOUT).await.ok();
        (rollout["state"] != "running").then_some(rollout)
    })
    .await;
    println!("{} {} {}: {}", end["state"], end["paused"], end["ended"], end["endpoints"]);
    assert!(end["state"] == "paused" || end["state"] == "aborted", "{end:#}");
    assert_eq!(scene.hooks.calls("/deploy").len(), 1, "the others are left alone");
    let failed = end["endpoints"].as_array().unwrap().iter().filter(|one| one["state"] == "failed").count();
    assert_eq!(failed, 1, "{end:#}");
    scene.visitors.flow(100).await;
    scene.visitors.stop().await.assert_clean(200);
    let mut usable = 0;
    for address in &scene.addresses {
        usable += usize::from(api.endpoint("app", *address).await["state"] == "up");
    }
    assert_eq!(usable, 2, "what could be put back is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once_while_requests_wait() {
    let scene = Scene::new(&Crowd { connections: 160, ..Crowd::of(300) }).await;
    let (at_work, most) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    scene.hooks.answer("/deploy", deploy(&scene.processes, &at_work, &most));
    scene.start(json!({ "strategy": "recreate", "queue": 1000, "queue_timeout": "20s" })).await.ok();
    scene.until("succeeded").await;
    let calls = scene.hooks.calls("/deploy");
    assert_eq!(calls.len(), 1, "one call for the whole pool");
    assert_eq!(calls[0].body["endpoints"].as_array().map(Vec::len), Some(3), "{}", calls[0].body);
    scene.visitors.flow(200).await;
    let tally = scene.visitors.take();
    let (median, most) = (tally.quantile(500), tally.quantile(1000));
    println!("while it was replaced: {:?}, median {median:?}, longest {most:?}", tally.answers);
    tally.assert_clean(50);
    assert!(tally.of("v2") > 0, "those who waited got the second version: {:?}", tally.answers);
    assert!(most >= Duration::from_millis(300), "somebody has waited: {most:?}");
    scene.end().await;
}
