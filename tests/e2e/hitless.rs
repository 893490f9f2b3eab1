//! Clients of every kind, none of whom may notice: upgrades, reloads and drains under load, counted by kind.

use serde_json::{Value, json};

use crate::harness::echo::Echo;
use crate::harness::grpc::Shop;
use crate::harness::{Clients, PATIENCE, Tidegate, Upstream, config, eventually};

/// Two endpoints of each kind of service.
struct Services {
    app: [Upstream; 2],
    shop: [Shop; 2],
    chat: [Echo; 2],
}

impl Services {
    async fn start() -> Self {
        Self {
            app: [Upstream::start("app").await, Upstream::start("app").await],
            shop: [Shop::start("shop").await, Shop::start("shop").await],
            chat: [Echo::start().await, Echo::start().await],
        }
    }

    /// A file with a pool and a route for each; `timeout` differs from one reload to the next.
    fn config(&self, timeout: usize) -> String {
        let shop = self.shop.each_ref().map(|shop| shop.address);
        let chat = self.chat.each_ref().map(|echo| echo.address);
        let pools = config::pool("app", &self.app.each_ref(), "")
            + &config::pool_at("shop", &shop, "protocol = \"h2\"")
            + &config::pool_at("chat", &chat, "");
        let routes = format!(
            "[[routes]]\nname = \"shop\"\nmatches = [{{ path = {{ prefix = \"/test.Shop\" }} }}]\npool = \"shop\"\n\
             [[routes]]\nname = \"chat\"\nmatches = [{{ path = {{ exact = \"/chat\" }} }}]\npool = \"chat\"\n\
             [[routes]]\nname = \"app\"\npool = \"app\"\ntimeout = \"{timeout}s\"\n"
        );
        config::server("shutdown_timeout = \"2s\"", &config::with(&(pools + &routes)))
    }

    /// Every endpoint, with its pool.
    fn endpoints(&self) -> Vec<(&'static str, std::net::SocketAddr)> {
        let app = self.app.iter().map(|upstream| ("app", upstream.address()));
        let shop = self.shop.iter().map(|shop| ("shop", shop.address));
        let chat = self.chat.iter().map(|echo| ("chat", echo.address));
        app.chain(shop).chain(chat).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_upgrades() {
    let services = Services::start().await;
    let mut tidegate = Tidegate::start(&services.config(60)).await;
    let clients = Clients::start_all(tidegate.web());
    for number in 0..20 {
        clients.flow().await;
        let (new, mut old) = tidegate.upgrade().await;
        assert_eq!(old.ended(PATIENCE).await.code(), Some(0), "upgrade {number}");
        tidegate = new;
    }
    clients.flow().await;
    for (kind, tally) in clients.stop_clean().await {
        // A channel of calls connects again by itself.
        assert!(tally.connects > 20 || kind.contains("calls"), "{kind}: {} connections", tally.connects);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_and_twenty_drains() {
    let services = Services::start().await;
    let tidegate = Tidegate::start(&services.config(60)).await;
    let (api, clients) = (tidegate.api(), Clients::start_all(tidegate.web()));
    clients.flow().await;
    for number in 0..50 {
        tidegate.replace_config(&services.config(61 + number));
        api.post("/v1/config/reload", &Value::Null).await.ok();
    }
    clients.flow().await;
    let endpoints = services.endpoints();
    for number in 0..20 {
        let (pool, address) = endpoints[number % endpoints.len()];
        let path = format!("/v1/pools/{pool}/endpoints/{address}");
        api.post(&format!("{path}/drain"), &json!({ "timeout": "2s" })).await.ok();
        eventually("the endpoint has drained", async || {
            (api.endpoint(pool, address).await["state"] == "drained").then_some(())
        })
        .await;
        api.post(&format!("{path}/undrain"), &Value::Null).await.ok();
    }
    clients.flow().await;
    clients.stop_clean().await;
}
