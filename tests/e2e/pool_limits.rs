//! A pool is asked for no more than it may; what is above that waits in order, or is told so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::load::Load;
use crate::harness::{Client, Fail, Request, Response, Tidegate, Upstream, config, eventually};

struct World {
    upstream: Upstream,
    tidegate: Tidegate,
}

fn file(upstream: &Upstream, limits: &str, route: &str) -> String {
    config::one_pool(&[upstream], &format!("limits = {{ {limits} }}"), route)
}

impl World {
    async fn start(limits: &str, route: &str) -> Self {
        let upstream = Upstream::start("app").await;
        let tidegate = Tidegate::start(&file(&upstream, limits, route)).await;
        Self { upstream, tidegate }
    }

    fn send(&self, request: Request) -> JoinHandle<Result<Response, Fail>> {
        let mut client = Client::new(self.tidegate.web());
        tokio::spawn(async move { client.send(&request).await })
    }

    async fn until_active(&self, count: usize) {
        eventually(&format!("{count} are active"), async || (self.upstream.active() == count).then_some(()))
            .await;
    }

    async fn until_waiting(&self, count: u64) {
        let api = self.tidegate.api();
        eventually(&format!("{count} wait"), async || {
            (api.get("/v1/pools/app").await.ok()["waiting"] == count).then_some(())
        })
        .await;
    }

    async fn metric(&self, name: &str) -> f64 {
        metric(&self.tidegate.api().metrics().await, name, &[("pool", "app")]).unwrap_or(0.0)
    }

    async fn ask(&self, target: &str) -> Response {
        ask(self.tidegate.web(), &Request::get(target)).await
    }

    async fn reload(&self, limits: &str) {
        self.tidegate.replace_config(&file(&self.upstream, limits, ""));
        self.tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    }
}

#[track_caller]
fn assert_overloaded(response: &Response) {
    assert_eq!((response.status, response.header("x-tidegate-error")), (503, Some("overloaded")));
    assert!(response.header("retry-after").is_some(), "{response:?}");
}

#[tokio::test]
async fn what_is_above_the_limit_is_refused_at_once_and_charged_to_nobody() {
    let world = World::start("max_in_flight = 2", "retry = { attempts = 3, on = [\"5xx\"] }").await;
    let held = [world.send(Request::get("/?do=hang")), world.send(Request::get("/?do=hang"))];
    world.until_active(2).await;
    assert_overloaded(&world.ask("/").await);
    assert_overloaded(&ask(world.tidegate.web(), &Request::post("/", b"a body")).await);
    assert_eq!(world.upstream.requests(), 2);
    eventually("both are counted, once their answers are out", async || {
        (world.metric("tidegate_overloaded_total").await.to_string() == "2").then_some(())
    })
    .await;
    held.iter().for_each(JoinHandle::abort);
    world.until_active(0).await;
    eventually("there is room", async || (world.ask("/").await.status == 200).then_some(())).await;
    assert!(world.metric("tidegate_failures_total").await == 0.0);
    let tries = world.metric("tidegate_attempts_total").await;
    assert_eq!(tries.to_string(), world.upstream.requests().to_string(), "a refusal is no try");
}

#[tokio::test]
async fn who_waits_is_let_in_in_order() {
    let world = World::start("max_in_flight = 1, queue = 3, queue_timeout = \"20s\"", "").await;
    let first = world.send(Request::get("/?do=delay:1500"));
    world.until_active(1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 1..=3 {
        let (sent, order) = (world.send(Request::post("/?do=delay:50", b"a body")), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            assert_eq!(sent.await.unwrap().unwrap().status, 200);
            order.lock().push(number);
        }));
        world.until_waiting(number).await;
    }
    assert_overloaded(&world.ask("/").await);
    assert_eq!(world.metric("tidegate_requests_waiting").await.to_string(), "3");
    assert_eq!((world.upstream.active(), world.upstream.requests()), (1, 1));
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(*order.lock(), [1, 2, 3]);
    world.until_waiting(0).await;
}

#[tokio::test]
async fn a_place_is_held_until_the_last_byte() {
    let world = World::start("max_in_flight = 1", "").await;
    let stream = world.send(Request::get("/?do=stream:8:200"));
    world.until_active(1).await;
    assert_overloaded(&world.ask("/").await);
    assert_eq!(stream.await.unwrap().unwrap().text().lines().count(), 8);
    eventually("there is room", async || (world.ask("/").await.status == 200).then_some(())).await;
}

/// However an exchange ends, there is room for exactly one more.
#[tokio::test]
async fn a_place_is_given_back_however_it_ends() {
    let route = "timeout = \"2s\"\nretry = { attempts = 1, on = [\"reset\", \"5xx\"] }";
    let world = World::start("max_in_flight = 1, queue = 1, queue_timeout = \"10s\"", route).await;
    for act in
        ["reset", "reset-mid", "truncate", "truncate-chunked", "status:500", "vanish", "early:413", "hang"]
    {
        // However it ends.
        let _ = Client::new(world.tidegate.web()).send(&Request::get(&format!("/?do={act}"))).await;
        assert_eq!(world.ask("/").await.status, 200, "after {act}");
    }
    for target in ["/?do=hang", "/?do=stream:50:100", "/?do=bytes:50000000"] {
        let gone = world.send(Request::get(target));
        world.until_active(1).await;
        gone.abort();
        assert_eq!(world.ask("/").await.status, 200, "after the client of {target} had gone");
    }
    world.upstream.kill().await;
    assert_eq!(world.ask("/").await.status, 502);
    world.upstream.revive().await;
    let held = world.send(Request::get("/?do=hang"));
    world.until_active(1).await;
    let waiting = world.send(Request::get("/"));
    world.until_waiting(1).await;
    assert_overloaded(&world.ask("/").await);
    held.abort();
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn waiting_ends_with_the_clients_going_and_with_the_time() {
    let world = World::start("max_in_flight = 1, queue = 1, queue_timeout = \"700ms\"", "").await;
    let held = world.send(Request::get("/?do=hang"));
    world.until_active(1).await;
    let gone = world.send(Request::get("/"));
    world.until_waiting(1).await;
    gone.abort();
    world.until_waiting(0).await;
    let mut client = Client::new(world.tidegate.web());
    for _ in 0..2 {
        let begun = Instant::now();
        assert_overloaded(&client.ask(&Request::get("/")).await);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(690) && took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(client.connects, 1, "the connection stays");
    drop(held);

    let slow = "[[routes]]\nname = \"slow\"\npool = \"app\"\nmatches = [{ path = { prefix = \"/slow\" } }]";
    let route = format!("timeout = \"1s\"\n\n{slow}");
    let world = World::start("max_in_flight = 1, queue = 1, queue_timeout = \"60s\"", &route).await;
    let _held = world.send(Request::get("/slow?do=hang"));
    world.until_active(1).await;
    let begun = Instant::now();
    let late = world.ask("/").await;
    assert_eq!((late.status, late.header("x-tidegate-error")), (504, Some("upstream_timeout")));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reload_holds_for_what_waits_and_for_what_is_in_flight() {
    let world = World::start("max_in_flight = 1, queue = 9, queue_timeout = \"60s\"", "").await;
    let held = world.send(Request::get("/?do=hang"));
    world.until_active(1).await;
    let waiting: Vec<_> = (0..3).map(|_| world.send(Request::get("/?do=hang"))).collect();
    world.until_waiting(3).await;
    world.reload("max_in_flight = 3, queue = 9, queue_timeout = \"60s\"").await;
    world.until_active(3).await;
    world.until_waiting(1).await;
    world.reload("").await;
    world.until_active(4).await;
    world.reload("max_in_flight = 4").await;
    assert_overloaded(&world.ask("/").await);
    held.abort();
    waiting.iter().for_each(JoinHandle::abort);
    world.until_active(0).await;
    eventually("there is room", async || (world.ask("/").await.status == 200).then_some(())).await;
}

/// A request that waits is sent to where the table that is then in force sends it.
#[tokio::test]
async fn who_waits_follows_a_shift() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let keys = "limits = { max_in_flight = 1, queue = 9, queue_timeout = \"60s\" }";
    let tidegate = Tidegate::start(&config::canary(&[&stable], &[&canary], [0, 1], keys)).await;
    let send = |target: &str| {
        let (mut client, request) = (Client::new(tidegate.web()), Request::get(target));
        tokio::spawn(async move { client.send(&request).await })
    };
    let _held = send("/?do=hang");
    eventually("it is in flight", async || (canary.active() == 1).then_some(())).await;
    let waiting = send("/");
    let api = tidegate.api();
    eventually("it waits", async || (api.get("/v1/pools/canary").await.ok()["waiting"] == 1).then_some(()))
        .await;
    api.put("/v1/splits/shop/weights", &json!({ "weights": { "stable": 1, "canary": 0 } })).await.ok();
    assert_eq!(waiting.await.unwrap().unwrap().upstream(), "stable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_limit_holds_and_nobody_is_lost() {
    let world = World::start("max_in_flight = 3, queue = 100, queue_timeout = \"20s\"", "").await;
    let load = Load::start(world.tidegate.web(), 16, &Request::get("/?do=delay:2"));
    let mut highest = 0;
    let goal = load.answered() + 1_000;
    while load.answered() < goal {
        highest = highest.max(world.upstream.active());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    load.stop().await.assert_clean(1_000);
    assert!((1..=3).contains(&highest), "{highest} at once");
}
