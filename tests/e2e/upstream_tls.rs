//! TLS to endpoints: who they must be, who we are to them, and that trust is never mixed.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::authority::{Authority, Pair};
use crate::harness::client::ask;
use crate::harness::{Modern, Request, Tidegate, config, eventually};

fn pool(name: &str, upstream: &Modern, keys: &str) -> String {
    config::pool_at(name, &[upstream.address], keys)
}

fn route(pool: &str) -> String {
    format!(
        "[[routes]]\nname = \"{pool}\"\nhosts = [\"{pool}.test\"]\npool = \"{pool}\"\nretry = {{ attempts = 0 }}\n"
    )
}

async fn start(folder: &Path, authority: &Authority, pools: &[(&str, &Modern, &str)]) -> Tidegate {
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let all: String = pools.iter().map(|(name, upstream, keys)| pool(name, upstream, keys)).collect();
    let routes: String = pools.iter().map(|(name, _, _)| route(name)).collect();
    Tidegate::start_in(folder, &config::with(&(all + &routes))).await
}

#[tokio::test]
async fn each_protocol_over_tls_with_the_pools_name_and_the_clients_host() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let pair = authority.issue(&["app.internal"]);
    let both = Modern::tls(authority.server(&pair, &["h2", "http/1.1"], false)).await;
    let old = Modern::tls(authority.server(&pair, &["http/1.1"], false)).await;
    let tls = "tls = { sni = \"app.internal\", ca = \"ca.pem\" }";
    let keys = |protocol: &str| format!("{tls}\nprotocol = \"{protocol}\"");
    let (h1, h2, auto) = (keys("http1"), keys("h2"), keys("auto"));
    let pools =
        [("one", &both, &*h1), ("two", &both, &*h2), ("auto", &both, &*auto), ("fallen", &old, &*auto)];
    let tidegate = start(folder.path(), &authority, &pools).await;
    for (host, version) in
        [("one", "HTTP/1.1"), ("two", "HTTP/2.0"), ("auto", "HTTP/2.0"), ("fallen", "HTTP/1.1")]
    {
        for _ in 0..3 {
            let answer = ask(tidegate.web(), &Request::get("/a?b=c").host(&format!("{host}.test"))).await;
            assert_eq!(answer.status, 200, "{host}: {}", answer.text());
            let seen = answer.json();
            assert_eq!(seen["version"], version, "{host}");
            assert_eq!(seen["server_name"], "app.internal");
            let named =
                if version == "HTTP/2.0" { seen["authority"].clone() } else { answer.echoed("host").into() };
            assert_eq!(named, format!("{host}.test"));
        }
    }
    assert_eq!(both.connections(), 3, "one for each pool, kept");
}

#[tokio::test]
async fn who_cannot_be_trusted_gets_no_request_and_the_log_says_why() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let stranger = Authority::new();
    let good = Modern::tls(authority.server(&authority.issue(&["app.internal"]), &[], false)).await;
    let expired =
        Modern::tls(authority.server(&authority.issue_until(&["app.internal"], 2020), &[], false)).await;
    let unknown = Modern::tls(authority.server(&stranger.issue(&["app.internal"]), &[], false)).await;
    let plain = Modern::plain().await;
    let trusted = "tls = { sni = \"app.internal\", ca = \"ca.pem\" }";
    let pools = [
        ("name", &good, "tls = { sni = \"other.internal\", ca = \"ca.pem\" }"),
        ("expired", &expired, trusted),
        ("unknown", &unknown, trusted),
        ("plain", &plain, trusted),
        ("system", &good, "tls = { sni = \"app.internal\" }"),
    ];
    let tidegate = start(folder.path(), &authority, &pools).await;
    for (pool, upstream, _) in pools {
        let answer = ask(tidegate.web(), &Request::get("/").host(&format!("{pool}.test"))).await;
        assert_eq!(
            (answer.status, answer.header("x-tidegate-error")),
            (502, Some("connect_failed")),
            "{pool}"
        );
        assert_eq!(upstream.requests(), 0, "{pool}");
    }
    eventually("the log says why", async || {
        let lines = tidegate.out.json();
        let why =
            |line: &serde_json::Value| line["message"].as_str().is_some_and(|m| m.contains("certificate"));
        lines.iter().any(|line| line["pool"] == "name" && why(line)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn verification_can_be_left_out_for_one_pool_and_is_not_for_its_neighbour() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let unknown = Modern::tls(authority.server(&Authority::new().issue(&["x.internal"]), &[], false)).await;
    let lax = "tls = { sni = \"x.internal\", verify = false }";
    let strict = "tls = { sni = \"x.internal\", ca = \"ca.pem\" }";
    let pools = [("lax", &unknown, lax), ("strict", &unknown, strict)];
    let tidegate = start(folder.path(), &authority, &pools).await;
    for (pool, status) in [("lax", 200), ("strict", 502), ("lax", 200)] {
        let answer = ask(tidegate.web(), &Request::get("/").host(&format!("{pool}.test"))).await;
        assert_eq!(answer.status, status, "a kept connection of the other pool is not used: {pool}");
    }
}

#[tokio::test]
async fn the_pools_client_certificate_is_shown_and_a_new_one_after_its_file_changed() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let pair = authority.issue(&["app.internal"]);
    let asking = Modern::tls(authority.server(&pair, &[], true)).await;
    authority.issue(&["tidegate.one"]).write(folder.path(), "client");
    let keys =
        "tls = { sni = \"app.internal\", ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }";
    let nobody = "tls = { sni = \"app.internal\", ca = \"ca.pem\" }";
    let tidegate =
        start(folder.path(), &authority, &[("app", &asking, keys), ("nobody", &asking, nobody)]).await;
    let seen = ask(tidegate.web(), &Request::get("/").host("app.test")).await;
    assert_eq!(seen.json()["client"], "CN=tidegate.one");
    assert_eq!(ask(tidegate.web(), &Request::get("/").host("nobody.test")).await.status, 502);
    authority.issue(&["tidegate.two"]).write(folder.path(), "client");
    eventually("the new certificate is shown", async || {
        let seen = ask(tidegate.web(), &Request::get("/").host("app.test")).await;
        assert_eq!(seen.status, 200);
        (seen.json()["client"] == "CN=tidegate.two").then_some(())
    })
    .await;
    let _: Pair = pair;
}

#[tokio::test]
async fn where_the_system_has_no_authorities_only_those_of_a_pools_own_are_trusted() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let pair = authority.issue(&["app.internal"]);
    let upstream = Modern::tls(authority.server(&pair, &["http/1.1"], false)).await;
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let (own, system) =
        ("tls = { sni = \"app.internal\", ca = \"ca.pem\" }", "tls = { sni = \"app.internal\" }");
    let pools = pool("own", &upstream, own) + &pool("system", &upstream, system);
    let file = config::with(&(pools + &route("own") + &route("system")));
    std::fs::write(folder.path().join("tidegate.toml"), file).unwrap();
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    let tidegate = Tidegate::start_with(folder.path(), &nowhere).await;
    assert_eq!(ask(tidegate.web(), &Request::get("/").host("own.test")).await.status, 200);
    assert_eq!(ask(tidegate.web(), &Request::get("/").host("system.test")).await.status, 502);
    assert_eq!(upstream.requests(), 1);
}
