//! A request that fails in one pool is sent once more, to another: the client is helped, and the pool that
//! failed is charged all the same.

use serde_json::{Value, json};

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::load::Load;
use crate::harness::logs::field;
use crate::harness::rollouts::plan;
use crate::harness::{Request, Tidegate, Upstream, config, eventually};

const RESCUE: &str = "rescue = true\nfallback = [\"stable\"]";
const NO_RETRY: &str = "retry = { attempts = 0, try_timeout = \"500ms\" }";

struct World {
    stable: Upstream,
    canary: Upstream,
    tidegate: Tidegate,
}

impl World {
    /// Everybody is in `canary`.
    async fn start(pool_keys: &str, route: &str) -> Self {
        let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
        let rest = config::canary_rest(&[&stable], &[&canary], [0, 1], pool_keys, RESCUE);
        let text = format!("[log]\naccess = \"on\"\n\n{}", config::with(&format!("{rest}{route}\n")));
        let tidegate = Tidegate::start(&text).await;
        Self { stable, canary, tidegate }
    }

    async fn get(&self) -> (u16, String) {
        let answer = ask(self.tidegate.web(), &Request::get("/")).await;
        (answer.status, answer.upstream().to_owned())
    }

    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = metric(&self.tidegate.api().metrics().await, name, labels).unwrap_or(0.0);
        format!("{value}").parse().unwrap()
    }

    /// So many rescues ended so; a request is counted once all of its answer has been sent.
    async fn until_rescues(&self, outcome: &str, count: u64) {
        let labels = [("split", "shop"), ("from", "canary"), ("to", "stable"), ("outcome", outcome)];
        eventually(&format!("{count} rescues are {outcome}"), async || {
            (self.metric("tidegate_rescues_total", &labels).await == count).then_some(())
        })
        .await;
    }

    /// Nobody was rescued.
    async fn assert_no_rescue(&self) {
        assert_eq!(self.metric("tidegate_rescues_total", &[("split", "shop")]).await, 0);
    }
}

fn helped() -> (u16, String) {
    (200, "stable".to_owned())
}

#[tokio::test]
async fn each_kind_of_failure_is_made_good_once_and_charged_to_the_pool_that_failed() {
    let world = World::start("", NO_RETRY).await;
    for (number, act) in (1..).zip(["reset", "status:500", "status:503", "hang"]) {
        world.canary.behave(act);
        assert_eq!(world.get().await, helped(), "{act}");
        assert_eq!((world.canary.requests(), world.stable.requests()), (number, number), "{act}");
    }
    world.canary.kill().await;
    assert_eq!(world.get().await, helped(), "a connection that is refused");
    let post = ask(world.tidegate.web(), &Request::post("/", b"nothing has been sent")).await;
    assert_eq!((post.status, post.upstream()), (200, "stable"));
    world.until_rescues("ok", 6).await;
    for (reason, count) in [("reset", 1), ("5xx", 2), ("timeout", 1), ("connect", 2)] {
        let labels = [("pool", "canary"), ("reason", reason)];
        assert_eq!(world.metric("tidegate_failures_total", &labels).await, count, "{reason}");
    }
    let of = |pool| [("split", "shop"), ("pool", pool)];
    assert_eq!(world.metric("tidegate_failures_total", &of("canary")).await, 6);
    assert_eq!(world.metric("tidegate_failures_total", &of("stable")).await, 0);
    assert_eq!(world.metric("tidegate_fallbacks_total", &[("split", "shop")]).await, 0);
    assert_eq!(world.metric("tidegate_attempts_total", &[("pool", "stable"), ("outcome", "ok")]).await, 6);
    let split = world.tidegate.api().get("/v1/splits/shop").await.ok();
    assert_eq!(split["requests"]["canary"], json!({ "total": 6, "failed": 6 }), "{split}");
    assert_eq!(split["requests"]["stable"], json!({ "total": 0, "failed": 0 }), "{split}");
}

#[tokio::test]
async fn the_log_and_explain_tell_of_it() {
    let world = World::start("", NO_RETRY).await;
    let explained = world.tidegate.api().post("/v1/explain", &json!({ "path": "/" })).await.ok();
    assert_eq!(
        (&explained["pool"], &explained["rescue"]),
        (&json!("canary"), &json!("stable")),
        "{explained}"
    );
    world.canary.behave("status:500");
    assert_eq!(world.get().await, helped());
    let line = eventually("a line", async || {
        world.tidegate.out.json().into_iter().find(|line| field(line, "attempts") == 2)
    })
    .await;
    let endpoint = world.stable.address().to_string();
    for (key, value) in
        [("pool", "stable"), ("endpoint", &endpoint), ("failure", "5xx"), ("reason", "rescue")]
    {
        assert_eq!(field(&line, key), value, "{key} in {line}");
    }
    assert_eq!((field(&line, "status"), field(&line, "error")), (&json!(200), &Value::Null), "{line}");
}

#[tokio::test]
async fn the_routes_retries_come_first_and_a_rescue_is_not_retried() {
    let world = World::start("", "retry = { attempts = 2, on = [\"5xx\"], budget_percent = 100 }").await;
    world.canary.behave("status:500");
    world.stable.behave("status:502");
    assert_eq!(
        world.get().await,
        (502, "stable".to_owned()),
        "the client gets the answer of the one that helped"
    );
    assert_eq!((world.canary.requests(), world.stable.requests()), (3, 1));
    world.until_rescues("failed", 1).await;
    world.until_rescues("ok", 0).await;
    assert_eq!(world.metric("tidegate_failures_total", &[("pool", "stable")]).await, 0);
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_not() {
    let world = World::start("", NO_RETRY).await;
    world.canary.behave("reset");
    let post = ask(world.tidegate.web(), &Request::post("/", b"once")).await;
    assert_eq!((post.status, post.header("x-tidegate-error")), (502, Some("upstream_reset")));
    // Larger than what is kept of a body to be sent again.
    let large = Request { body: vec![b'x'; 200_000], ..Request::new("PUT", "/") };
    assert_eq!(ask(world.tidegate.web(), &large).await.status, 502);
    world.canary.behave("truncate");
    let begun = crate::harness::Client::new(world.tidegate.web()).send(&Request::get("/")).await;
    assert!(begun.is_err(), "an answer that has begun is not begun anew: {begun:?}");
    assert_eq!(world.stable.requests(), 0);
    world.assert_no_rescue().await;
}

#[tokio::test]
async fn a_pool_without_room_helps_nobody_and_the_answer_passes_as_it_is() {
    let world = World::start("limits = { max_in_flight = 1 }", NO_RETRY).await;
    world.stable.behave("hang");
    world.canary.behave("status:500");
    let web = world.tidegate.web();
    let held = tokio::spawn(async move { ask(web, &Request::get("/")).await });
    eventually("the one place is taken", async || (world.stable.active() == 1).then_some(())).await;
    assert_eq!(world.get().await, (500, "canary".to_owned()));
    assert_eq!(held.await.unwrap().status, 504);
    world.until_rescues("failed", 1).await;
}

/// The guard sees what the candidate did, and not that nobody noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_aborted_though_every_client_was_helped() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    canary.behave("status:500");
    let rest = config::canary_rest(&[&stable], &[&canary], [100, 0], "", "rescue = true");
    let tidegate = Tidegate::start(&config::with(&format!("{rest}{NO_RETRY}\n"))).await;
    let api = tidegate.api();
    let load = Load::start(tidegate.web(), 4, &Request::get("/"));
    load.flows(500).await;
    api.start(&plan(&[(50.0, "60s"), (100.0, "0s")], json!({}))).await.ok();
    api.state("aborted").await;
    load.flows(100).await;
    let tally = load.stop().await;
    tally.assert_clean(600);
    assert!(canary.requests() > 0 && tally.of("canary") == 0, "{tally:?}");
    let rollout = api.rollout().await;
    assert_eq!(rollout["evidence"]["baseline"]["failures"], 0, "{rollout}");
}
