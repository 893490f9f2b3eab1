//! Metrics: the names of the contract, and label sets that clients cannot grow.

use serde_json::{Value, json};

use crate::harness::api::metric;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// What is there as soon as there has been traffic, with its labels.
const NAMES: [(&str, &[&str]); 16] = [
    ("tidegate_requests_total", &["route", "split", "pool", "code"]),
    ("tidegate_request_duration_seconds_bucket", &["route", "split", "pool", "le"]),
    ("tidegate_request_duration_seconds_count", &["route", "split", "pool"]),
    ("tidegate_requests_in_flight", &["pool"]),
    ("tidegate_failures_total", &["split", "pool", "reason"]),
    ("tidegate_attempts_total", &["pool", "outcome"]),
    ("tidegate_split_share", &["split", "pool"]),
    ("tidegate_endpoint_up", &["pool", "endpoint"]),
    ("tidegate_endpoint_in_flight", &["pool", "endpoint"]),
    ("tidegate_health_checks_total", &["pool", "endpoint", "outcome"]),
    ("tidegate_upstream_connections", &["pool", "state"]),
    ("tidegate_client_connections", &["listener"]),
    ("tidegate_config_generation", &[]),
    ("tidegate_config_reloads_total", &["outcome"]),
    ("tidegate_config_last_reload_success", &[]),
    ("tidegate_build_info", &["version", "commit"]),
];

async fn shop() -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let text = config::canary(&[&stable], &[&canary], [90, 10], config::QUICK_HEALTH);
    let tidegate = Tidegate::start(&text).await;
    (stable, canary, tidegate)
}

fn of_user(target: &str, number: usize) -> Request {
    Request::get(target).header("x-user-id", &format!("user-{number}"))
}

#[tokio::test]
async fn the_names_of_the_contract_are_there() {
    let (stable, _canary, tidegate) = shop().await;
    let mut client = Client::new(tidegate.web());
    for number in 0..50 {
        client.ask(&of_user("/", number)).await;
        client.ask(&of_user("/?do=status:500", number)).await;
    }
    eventually("a check", async || (stable.health_checks() > 0).then_some(())).await;
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    let text = tidegate.api().metrics().await;
    let mut missing = Vec::new();
    for (name, labels) in NAMES {
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        match line {
            None => missing.push(name.to_owned()),
            Some(line) => {
                let without = labels.iter().filter(|label| !line.contains(&format!("{label}=\"")));
                missing.extend(without.map(|label| format!("{name}: {label} in {line}")));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}\n{text}");
    assert!(text.contains("process_resident_memory_bytes"), "the usual ones of the process");
    let count = |code: &str| metric(&text, "tidegate_requests_total", &[("split", "shop"), ("code", code)]);
    assert_eq!((count("200"), count("500")), (Some(50.0), Some(50.0)));
    assert_eq!(metric(&text, "tidegate_failures_total", &[("split", "shop")]), Some(50.0));
    assert_eq!(metric(&text, "tidegate_split_share", &[("pool", "canary")]), Some(0.1));
    assert_eq!(metric(&text, "tidegate_requests_in_flight", &[]), Some(0.0));
    let split = tidegate.api().get("/v1/splits/shop").await.ok();
    let of = |pool: &str, what: &str| split["requests"][pool][what].as_u64().unwrap();
    assert_eq!(of("stable", "total") + of("canary", "total"), 100);
    assert_eq!(of("stable", "failed") + of("canary", "failed"), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_paths_and_hosts_make_no_series() {
    let (_stable, _canary, tidegate) = shop().await;
    let api = tidegate.api();
    let mut client = Client::new(tidegate.web());
    for number in 0..200 {
        client.ask(&of_user("/", number)).await;
        client.ask(&of_user("/?do=status:404", number)).await;
    }
    let series = async || api.metrics().await.lines().filter(|line| !line.starts_with('#')).count();
    let before = series().await;
    for number in 0..10_000 {
        let target = format!("/path-{number}?do=status:404&q={number}");
        client.ask(&of_user(&target, number).host(&format!("host-{number}.test"))).await;
    }
    let after = series().await;
    assert!(after <= before + 20, "{before} series became {after}");
    let text = api.metrics().await;
    assert!(!text.contains("path-") && !text.contains("host-") && !text.contains("user-"));
}

#[tokio::test]
async fn series_of_what_was_removed_go_away() {
    let (stable, canary, tidegate) = shop().await;
    let mut client = Client::new(tidegate.web());
    for number in 0..50 {
        client.ask(&of_user("/", number)).await;
    }
    assert!(tidegate.api().metrics().await.contains("pool=\"canary\""));
    let rest = config::pool("stable", &[&stable], "");
    let route = "[[routes]]\nname = \"other\"\npool = \"stable\"\n";
    tidegate.replace_config(&config::with(&format!("{rest}{route}")));
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    client.ask(&Request::get("/")).await;
    let api = tidegate.api();
    eventually("the series are gone", async || {
        let text = api.metrics().await;
        let gone =
            ["pool=\"canary\"", "split=\"shop\"", "route=\"all\""].iter().all(|label| !text.contains(label));
        gone.then_some(())
    })
    .await;
    drop(canary);
}

#[tokio::test]
async fn refused_requests_are_counted_by_reason() {
    let (_stable, _canary, tidegate) = shop().await;
    let limit = std::time::Duration::from_secs(10);
    for bytes in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"] {
        crate::harness::client::raw(tidegate.web(), bytes.as_bytes(), limit).await;
    }
    let api = tidegate.api();
    eventually("both are counted", async || {
        let counted = metric(&api.metrics().await, "tidegate_rejected_total", &[("listener", "web")]);
        counted.filter(|count| *count >= 2.0)
    })
    .await;
    let change = json!({ "weights": { "stable": 1, "canary": 3 } });
    api.put("/v1/splits/shop/weights", &change).await.ok();
    let text = api.metrics().await;
    assert_eq!(metric(&text, "tidegate_split_share", &[("pool", "canary")]), Some(0.75));
}
