//! Connections to upstreams: kept, counted, never shared between pools, closed when a drain is over.

use serde_json::{Value, json};

use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// Two pools with one and the same endpoint, each with a route of its own.
fn two_pools(upstream: &Upstream) -> String {
    let pools = config::pool("red", &[upstream], "") + &config::pool("blue", &[upstream], "");
    let routes = ["red", "blue"].map(|pool| {
        format!(
            "[[routes]]\nname = \"{pool}\"\nmatches = [{{ path = {{ prefix = \"/{pool}\" }} }}]\npool = \"{pool}\"\n"
        )
    });
    pools + &routes.concat()
}

#[tokio::test]
async fn pools_with_one_address_do_not_share_connections() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::with(&two_pools(&upstream))).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..20 {
        for path in ["/red", "/blue"] {
            assert_eq!(client.ask(&Request::get(path)).await.status, 200);
        }
    }
    assert_eq!(upstream.connections(), 2, "one kept connection for each pool");
    for pool in ["red", "blue"] {
        assert_eq!(tidegate.api().endpoint(pool, upstream.address()).await["connections"], 1, "{pool}");
    }
}

#[tokio::test]
async fn kept_connections_close_when_their_endpoint_has_drained() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::with(&two_pools(&upstream))).await;
    let (api, mut client) = (tidegate.api(), Client::new(tidegate.web()));
    for path in ["/red", "/blue"] {
        assert_eq!(client.ask(&Request::get(path)).await.status, 200);
    }
    assert_eq!(upstream.open(), 2);
    api.post("/v1/pools/red/drain", &json!({})).await.ok();
    eventually("red's connection is closed", async || (upstream.open() == 1).then_some(())).await;
    assert_eq!(client.ask(&Request::get("/blue")).await.status, 200);
    assert_eq!(upstream.connections(), 2, "blue's was kept");
    api.post("/v1/pools/red/undrain", &Value::Null).await.ok();
    assert_eq!(client.ask(&Request::get("/red")).await.status, 200);
}

#[tokio::test]
async fn connections_of_a_pool_that_a_reload_takes_away_close() {
    let upstream = Upstream::start("app").await;
    let text = config::with(&two_pools(&upstream));
    let tidegate = Tidegate::start(&text).await;
    let mut client = Client::new(tidegate.web());
    for path in ["/red", "/blue"] {
        assert_eq!(client.ask(&Request::get(path)).await.status, 200);
    }
    let without_blue = text.replace("[pools.blue]", "[pools.green]").replace("\"blue\"", "\"green\"");
    tidegate.replace_config(&without_blue.replace("/blue", "/green"));
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    eventually("blue's connection is closed", async || (upstream.open() == 1).then_some(())).await;
    assert_eq!(client.ask(&Request::get("/green")).await.status, 200);
}
