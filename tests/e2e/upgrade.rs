//! An upgrade in place: no client notices, whatever kind it is of, and nothing is forgotten.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::api::metric;
use crate::harness::rollouts::{self, plan};
use crate::harness::tidegate::{command, stdout};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Client, Clients, PATIENCE, Request, Tidegate, Upstream, config, eventually};

const UPGRADES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_notices_twenty_of_them() {
    let upstream = Upstream::start("app").await;
    let mut tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let places = (tidegate.web(), tidegate.admin());
    let clients = Clients::start(tidegate.web());
    for number in 0..UPGRADES {
        clients.flow().await;
        let (new, mut old) = tidegate.upgrade().await;
        assert_eq!((new.web(), new.admin()), places, "ports that the system chose stay");
        // It ends as soon as all its clients have been told, also those that idled.
        assert_eq!(old.ended(PATIENCE).await.code(), Some(0), "upgrade {number}");
        assert!(old.has_logged("stopped"), "upgrade {number}");
        tidegate = new;
    }
    clients.flow().await;
    for (kind, tally) in clients.stop_clean().await {
        assert!(tally.connects > UPGRADES, "{kind}: {} connections", tally.connects);
    }
    assert!(tidegate.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_is_in_force_and_remembered_with_and_without_a_state_folder() {
    for admin in ["state_dir = \"state\"", ""] {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let tidegate = Tidegate::start(&rollouts::config(&[&stable], &[&canary], admin, "")).await;
        let api = tidegate.api();
        let change = json!({ "weights": { "stable": 60, "canary": 40 }, "reason": "before" });
        api.put("/v1/splits/shop/weights", &change).await.ok();
        let drain = format!("/v1/pools/stable/endpoints/{}/drain", stable.address());
        api.post(&drain, &json!({ "timeout": "1s" })).await.ok();
        let (before, split) = (history(&tidegate).await, api.get("/v1/splits/shop").await.ok());
        let (new, mut old) = tidegate.upgrade().await;
        assert_eq!(old.ended(PATIENCE).await.code(), Some(0));
        let after = history(&new).await;
        assert_eq!(after[1..], before, "{admin}: all of it, and the start");
        assert_eq!(after[0]["action"], "start");
        let now = new.api().get("/v1/splits/shop").await.ok();
        assert_eq!((&now["weights"], &now["override"]), (&split["weights"], &split["override"]), "{admin}");
        let drained = async || {
            let endpoint = new.api().endpoint("stable", stable.address()).await;
            (endpoint["state"] == "drained").then_some(())
        };
        eventually("the drain goes on", drained).await;
        // And the new one goes on from there.
        new.api().post("/v1/splits/shop/revert", &Value::Null).await.ok();
        assert_eq!(new.api().weights("shop").await, json!({ "stable": 100, "canary": 0 }));
    }
}

async fn history(tidegate: &Tidegate) -> Vec<Value> {
    let history = tidegate.api().get("/v1/history").await.ok();
    history["history"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_at_its_share_and_is_still_guarded() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&rollouts::config(&[&stable], &[&canary], "", "")).await;
    tidegate.api().start(&plan(&[(25.0, "5m")], Value::Null)).await.ok();
    tidegate.api().share_is(0.25).await;
    let (new, _old) = tidegate.upgrade().await;
    let rollout = new.api().rollout().await;
    assert_eq!(
        (&rollout["state"], rollout["percent"].as_f64()),
        (&json!("paused"), Some(25.0)),
        "{rollout:#}"
    );
    new.api().assert_share(0.25).await;
    canary.behave("status:500");
    let visitors = Visitors::start(new.web(), &Crowd::of(200));
    new.api().state("aborted").await;
    new.api().assert_share(0.0).await;
    visitors.stop().await;
}

#[tokio::test]
async fn the_new_process_knows_what_the_old_one_knew_of_endpoints() {
    let upstream = Upstream::start("app").await;
    let health = "health = { path = \"/healthz\", interval = \"1h\", unhealthy_after = 3 }";
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], health, "")).await;
    let state = async |tidegate: &Tidegate| tidegate.api().endpoint("app", upstream.address()).await;
    eventually("it is up", async || (state(&tidegate).await["state"] == "up").then_some(())).await;
    upstream.set_healthy(false);
    let (new, _old) = tidegate.upgrade().await;
    let failed = async || (state(&new).await["last_check"]["ok"] == false).then_some(());
    eventually("the new one has checked it", failed).await;
    // One failed check takes down only what nothing is known of.
    assert_eq!(state(&new).await["state"], "up");
}

#[tokio::test]
async fn the_new_file_may_have_other_listeners() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let listener = |name: &str| format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n\n");
    let text = |names: &[&str]| {
        let listeners: String = names.iter().map(|name| listener(name)).collect();
        format!("{listeners}[admin]\naddress = \"127.0.0.1:0\"\n\n{rest}")
    };
    let tidegate = Tidegate::start(&text(&["web", "gone"])).await;
    let gone = tidegate.listener("gone");
    tidegate.replace_config(&text(&["new", "web"]));
    let kept = tidegate.web();
    let (new, mut old) = tidegate.upgrade().await;
    assert_eq!(old.ended(PATIENCE).await.code(), Some(0));
    assert_eq!(new.web(), kept);
    for address in [kept, new.listener("new")] {
        assert_eq!(Client::new(address).ask(&Request::get("/")).await.status, 200);
    }
    assert!(tokio::net::TcpStream::connect(gone).await.is_err(), "nobody listens there any more");
}

#[tokio::test]
async fn a_unix_socket_outlives_the_old_process() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let text = config::with(&rest)
        .replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"unix:admin.sock\"");
    let tidegate = Tidegate::start(&text).await;
    let socket = tidegate.config_path().with_file_name("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let (mut new, mut old) = tidegate.upgrade().await;
    assert_eq!(old.ended(PATIENCE).await.code(), Some(0));
    let status = command(&["status", "--json", "--admin", &admin], &[]).await;
    assert!(status.status.success(), "{status:?}");
    assert!(stdout(&status).contains("ready"), "{}", stdout(&status));
    new.signal("TERM");
    assert_eq!(new.ended(PATIENCE).await.code(), Some(0));
    assert!(!socket.exists(), "the last one takes its socket away");
}

#[tokio::test]
async fn what_is_in_flight_finishes_in_the_old_process() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let web = tidegate.web();
    let slow = tokio::spawn(async move { Client::new(web).send(&Request::get("/?do=stream:10:300")).await });
    eventually("it is in flight", async || (upstream.active() == 1).then_some(())).await;
    let (new, mut old) = tidegate.upgrade().await;
    // Each process counts what it has served.
    let served = async || {
        assert_eq!(Client::new(web).ask(&Request::get("/")).await.status, 200);
        let text = new.api().metrics().await;
        metric(&text, "tidegate_requests_total", &[("pool", "app"), ("code", "200")])
    };
    assert!(eventually("the new one serves", served).await >= 1.0);
    assert!(old.is_running(), "it has something to finish");
    assert_eq!(slow.await.unwrap().unwrap().text().lines().count(), 10);
    assert_eq!(old.ended(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn asked_to_stop_the_old_process_does_not_wait_for_idle_clients_and_the_new_one_stays() {
    let upstream = Upstream::start("app").await;
    let text = config::one_pool(&[&upstream], "", "");
    let tidegate = Tidegate::start(&config::server("shutdown_timeout = \"60s\"", &text)).await;
    let mut idle = Client::new(tidegate.web());
    idle.ask(&Request::get("/")).await;
    let (mut new, mut old) = tidegate.upgrade().await;
    old.logs("draining").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(old.is_running(), "it waits for a client that has not been told");
    old.signal("TERM");
    assert_eq!(old.ended(Duration::from_secs(5)).await.code(), Some(0));
    assert!(new.is_running());
    assert_eq!(Client::new(new.web()).ask(&Request::get("/")).await.status, 200);
}
