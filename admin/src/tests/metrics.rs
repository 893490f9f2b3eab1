//! The scrape.

use std::sync::Arc;

use tidegate_core::edge::{ListenerCell, Refusal};
use tidegate_core::record::Failure;

use super::harness::{Admin, config};

#[tokio::test]
async fn every_family_of_the_contract_is_there() {
    let admin = Admin::start(&config("[pools.canary.health]\npath = \"/healthz\"\n"));
    let listener = Arc::new(ListenerCell::new("web".into(), "127.0.0.1:8080".parse().expect("an address")));
    listener.connected();
    listener.refuse(Refusal::BadRequest);
    admin.control.process().set_listeners(vec![listener]);
    let snapshot = admin.control.live().snapshot();
    snapshot.tallies[0][0].add(200, 1_500);
    snapshot.tallies[0][0].add(999, 70_000_000);
    snapshot.unrouted.add(404, 10);
    let split = snapshot.split_named("checkout").expect("it is there");
    split.members[0].charges.add(Some(Failure::Timeout));
    let answer = admin.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    for line in [
        r#"tidegate_requests_total{route="checkout",split="checkout",pool="canary",code="200"} 1"#,
        r#"tidegate_requests_total{route="checkout",split="checkout",pool="canary",code="other"} 1"#,
        r#"tidegate_requests_total{route="",split="",pool="",code="404"} 1"#,
        r#"tidegate_request_duration_seconds_bucket{route="checkout",split="checkout",pool="canary",le="0.001"} 0"#,
        r#"tidegate_request_duration_seconds_bucket{route="checkout",split="checkout",pool="canary",le="0.0025"} 1"#,
        r#"tidegate_request_duration_seconds_bucket{route="checkout",split="checkout",pool="canary",le="+Inf"} 2"#,
        r#"tidegate_request_duration_seconds_sum{route="checkout",split="checkout",pool="canary"} 70.0015"#,
        r#"tidegate_requests_in_flight{pool="stable"} 0"#,
        r#"tidegate_failures_total{split="checkout",pool="canary",reason="timeout"} 1"#,
        r#"tidegate_attempts_total{pool="stable",outcome="ok"} 0"#,
        r#"tidegate_fallbacks_total{split="checkout",from="canary",to="stable"} 0"#,
        r#"tidegate_split_share{split="checkout",pool="canary"} 0.05"#,
        r#"tidegate_endpoint_up{pool="stable",endpoint="127.0.0.1:9001"} 1"#,
        r#"tidegate_endpoint_up{pool="canary",endpoint="127.0.0.1:9002"} 0"#,
        r#"tidegate_endpoint_in_flight{pool="stable",endpoint="127.0.0.1:9001"} 0"#,
        r#"tidegate_health_checks_total{pool="canary",endpoint="127.0.0.1:9002",outcome="failed"} 0"#,
        r#"tidegate_upstream_connections{pool="stable",state="idle"} 0"#,
        r#"tidegate_client_connections{listener="web"} 1"#,
        r#"tidegate_rejected_total{listener="web",reason="bad_request"} 1"#,
        "tidegate_config_generation 1",
        r#"tidegate_config_reloads_total{outcome="ok"} 0"#,
        "tidegate_config_last_reload_success 1",
        "tidegate_log_lines_dropped_total 0",
        r#"tidegate_build_info{version=""#,
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(answer.body.lines().any(|l| l.starts_with(line)), "{line} in\n{}", answer.body);
    }
}

#[tokio::test]
async fn series_of_what_is_removed_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, config("")).expect("written");
    let admin = Admin::start_file(&path);
    assert!(admin.get("/metrics").await.body.contains("canary"));
    let text = config("")
        .replace("stable = 95, canary = 5", "stable = 95")
        .replace("[pools.canary]\nendpoints = [\"127.0.0.1:9002\"]", "");
    std::fs::write(&path, text).expect("written");
    admin.post("/v1/config/reload", "").await.ok();
    assert!(!admin.get("/metrics").await.body.contains("canary"));
}
