//! The layout of the containers, with processes: no container engine runs where the tests run.
//!
//! The files that go into containers are used as they are; only addresses come from the environment.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::api::metric;
use crate::harness::tidegate::{command, stderr};
use crate::harness::{Api, Client, Request, Tidegate, Upstream, eventually};

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

fn read(name: &str) -> String {
    fs::read_to_string(docker().join(name)).unwrap()
}

#[tokio::test]
async fn the_images_own_configuration_is_good() {
    let file = docker().join("tidegate.toml");
    let checked = command(&["check", file.to_str().unwrap()], &[]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
}

#[tokio::test]
async fn the_compose_layout_splits_traffic_and_is_watched() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tidegate.toml"), read("compose/tidegate.toml")).unwrap();
    let token = folder.path().join("admin.token");
    fs::write(&token, "a-token-of-our-own").unwrap();
    let (of_stable, of_canary) = (stable.address().to_string(), canary.address().to_string());
    let variables = [
        ("WEB_ADDRESS", "127.0.0.1:0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ("STABLE_ADDRESS", of_stable.as_str()),
        ("CANARY_ADDRESS", of_canary.as_str()),
        ("TOKEN_FILE", token.to_str().unwrap()),
        ("STATE_DIR", "state"),
    ];
    let tidegate = Tidegate::start_with(folder.path(), &variables).await;
    let api = Api::new(tidegate.admin()).with_token("a-token-of-our-own");
    eventually("both are up", async || {
        let states =
            [api.endpoint("stable", stable.address()).await, api.endpoint("canary", canary.address()).await];
        states.iter().all(|endpoint| endpoint["state"] == "up").then_some(())
    })
    .await;
    let mut client = Client::new(tidegate.web());
    for number in 0..200 {
        let user = format!("user-{number}");
        assert_eq!(client.ask(&Request::get("/").header("x-user-id", &user)).await.status, 200);
    }
    assert!(stable.requests() > canary.requests() && canary.requests() > 0);
    // Prometheus asks without a token and by the service's name.
    let scraped = Api::new(tidegate.admin()).send(Request::get("/metrics").host("tidegate:9900")).await;
    let total = metric(&scraped.response.text(), "tidegate_requests_total", &[]);
    assert_eq!((scraped.status, total), (200, Some(200.0)));
    // The image's health check, with the environment of compose.yaml.
    let admin = format!("http://{}", tidegate.admin());
    let environment = [("TIDEGATE_TOKEN_FILE", token.to_str().unwrap())];
    let health = command(&["status", "--admin", &admin], &environment).await;
    assert_eq!(health.status.code(), Some(0), "{}", stderr(&health));
}

#[test]
fn compose_and_configuration_name_the_same_places() {
    let (compose, config, image) = (read("compose.yaml"), read("compose/tidegate.toml"), read("Dockerfile"));
    for address in ["172.31.99.11", "172.31.99.12"] {
        assert!(compose.contains(address) && config.contains(&format!("{address}:8080")), "{address}");
    }
    for path in ["/run/tidegate/admin.token", "/var/lib/tidegate"] {
        assert!(compose.contains(path) && config.contains(path), "{path}");
    }
    assert!(read("compose/prometheus.yml").contains("tidegate:9900"));
    for line in
        ["USER 10001:10001", "ENTRYPOINT [\"tidegate\"]", "\"/etc/tidegate/tidegate.toml\"]", "HEALTHCHECK"]
    {
        assert!(image.contains(line), "{line}");
    }
}
