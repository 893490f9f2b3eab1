//! While too few endpoints are usable, health is ignored: told once, seen everywhere, and never for a drain.

use serde_json::{Value, json};

use crate::harness::api::metric;
use crate::harness::events::Events;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

struct World {
    upstreams: [Upstream; 3],
    tidegate: Tidegate,
    events: Events,
}

impl World {
    async fn start(threshold: u32) -> Self {
        let upstreams =
            [Upstream::start("one").await, Upstream::start("two").await, Upstream::start("three").await];
        let keys =
            format!("panic_threshold = {threshold}\nbalance = \"round_robin\"\n{}", config::QUICK_HEALTH);
        let [one, two, three] = &upstreams;
        let tidegate = Tidegate::start(&config::one_pool(&[one, two, three], &keys, "")).await;
        let events = Events::open(&tidegate).await;
        let this = Self { upstreams, tidegate, events };
        for at in 0..3 {
            this.until(at, "up").await;
        }
        this
    }

    async fn until(&self, at: usize, state: &str) {
        let (api, address) = (self.tidegate.api(), self.upstreams[at].address());
        eventually(&format!("{at} is {state}"), async || {
            (api.endpoint("app", address).await["state"] == state).then_some(())
        })
        .await;
    }

    async fn set(&self, at: usize, healthy: bool) {
        self.upstreams[at].set_healthy(healthy);
        self.until(at, if healthy { "up" } else { "down" }).await;
    }

    /// How many of some requests each got.
    async fn shares(&self) -> [usize; 3] {
        let before = [0, 1, 2].map(|at| self.upstreams[at].requests());
        let mut client = Client::new(self.tidegate.web());
        for _ in 0..30 {
            assert_eq!(client.ask(&Request::get("/")).await.status, 200);
        }
        [0, 1, 2].map(|at| self.upstreams[at].requests() - before[at])
    }

    /// The next event of a panic: whether it begins.
    async fn told(&mut self) -> bool {
        loop {
            let event = self.events.next("health").await;
            match event["state"].as_str() {
                Some("panic") => return true,
                Some("calm") => return false,
                _ => {}
            }
        }
    }

    async fn is_shown(&self) -> bool {
        let api = self.tidegate.api();
        let pool: Value = api.get("/v1/pools/app").await.ok();
        let shown = pool["panic"].as_bool().unwrap();
        let counted = metric(&api.metrics().await, "tidegate_pool_panic", &[("pool", "app")]);
        assert_eq!(counted.map(|value| value > 0.5), Some(shown), "{pool}");
        shown
    }
}

#[tokio::test]
async fn all_take_requests_while_most_are_down() {
    let mut world = World::start(50).await;
    world.set(0, false).await;
    assert_eq!(world.shares().await, [0, 15, 15], "two of three are more than half");
    assert!(!world.is_shown().await);
    world.set(1, false).await;
    assert_eq!(world.shares().await, [10, 10, 10]);
    assert!(world.is_shown().await);
    assert!(world.told().await);
    world.set(2, false).await;
    assert_eq!(world.shares().await, [10, 10, 10], "none is up, and all are asked");
    let drain = format!("/v1/pools/app/endpoints/{}/drain", world.upstreams[0].address());
    world.tidegate.api().post(&drain, &json!({})).await.ok();
    assert_eq!(world.shares().await, [0, 15, 15], "what an operator drains is left alone");
    world.set(1, true).await;
    world.set(2, true).await;
    assert!(!world.told().await, "one beginning, one end");
    assert!(!world.is_shown().await);
}

#[tokio::test]
async fn without_a_threshold_nothing_is_ignored() {
    let world = World::start(0).await;
    world.set(0, false).await;
    world.set(1, false).await;
    assert_eq!(world.shares().await, [0, 0, 30]);
    world.set(2, false).await;
    let answer = Client::new(world.tidegate.web()).ask(&Request::get("/")).await;
    assert_eq!((answer.status, answer.header("x-tidegate-error")), (503, Some("no_endpoint")));
}
