//! Addresses and the configuration, before anything runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::cli::Failure;

use super::shop::Version;

/// Where the proxy listens if it can.
const LISTEN_PORT: u16 = 8080;

/// The name of the split.
pub(super) const SPLIT: &str = "shop";
/// The steps of its rollout, as they are told.
pub(super) const STEPS: &str = "5 %, 25 %, 50 %, 100 %";
/// The header that holds a visitor's id.
pub(super) const VISITOR_HEADER: &str = "x-user-id";

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Something of the system that did not work.
pub(super) fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("the demo cannot {what}: {error}"), "it needs nothing but loopback and free ports")
}

/// The admin API's address, if it is free: the other commands must find it.
pub(super) fn admin_address(port: u16) -> Result<SocketAddr, Failure> {
    let address = loopback(port);
    TcpListener::bind(address).map(|_| address).map_err(|error| {
        Failure::new(
            format!("the admin API cannot listen on {address}: {error}"),
            "another Tidegate may be running; choose another port, as in: tidegate demo --admin-port 9901",
        )
    })
}

/// The proxy's address; another port, and `true`, if the usual one is taken.
pub(super) fn listen_address() -> (SocketAddr, bool) {
    match TcpListener::bind(loopback(LISTEN_PORT)) {
        Ok(_) => (loopback(LISTEN_PORT), false),
        Err(_) => (loopback(0), true),
    }
}

/// What an operator would have written.
pub(super) fn config_text(listen: SocketAddr, admin: SocketAddr, shop: &[Version; 2]) -> String {
    let [stable, canary] = shop.each_ref().map(|version| (version.name, version.address));
    // Short enough to be watched, and with a bound on failures that holds where the baseline has no
    // traffic left to be compared with.
    // The fallback is written out, so that either version can be drained at any weights.
    format!(
        r#"
[server]
shutdown_timeout = "5s"

[[listeners]]
name = "web"
address = "{listen}"

[admin]
address = "{admin}"

[pools.{}]
endpoints = ["{}"]
health = {{ path = "/healthz", interval = "1s" }}

[pools.{}]
endpoints = ["{}"]
health = {{ path = "/healthz", interval = "1s" }}

[splits.{SPLIT}]
weights = {{ {} = 95, {} = 5 }}
key = ["header:{VISITOR_HEADER}"]
fallback = ["{}", "{}"]

[splits.{SPLIT}.rollout]
baseline = "{}"
candidate = "{}"
steps = [
  {{ percent = 5, hold = "15s" }},
  {{ percent = 25, hold = "15s" }},
  {{ percent = 50, hold = "15s" }},
  {{ percent = 100, hold = "15s" }},
]
min_requests = 50
bake = "30s"

[splits.{SPLIT}.rollout.guard]
max_failure_rate = 0.02

[[routes]]
name = "shop"
split = "{SPLIT}"
"#,
        stable.0, stable.1, canary.0, canary.1, stable.0, canary.0, stable.0, canary.0, stable.0, canary.0
    )
}

#[cfg(test)]
mod tests {
    use tidegate_core::config::read::read;

    use super::super::shop;
    use super::*;

    #[test]
    fn the_configuration_is_good() {
        let version = |name, port| Version { name, address: loopback(port) };
        let shop = [version(shop::STABLE.name, 1), version(shop::CANARY.name, 2)];
        let config = read(&config_text(loopback(0), loopback(9900), &shop), &|_| None).expect("good");
        let weights: Vec<_> = config.splits[SPLIT].weights.iter().map(|(p, w)| (p.as_str(), *w)).collect();
        assert_eq!(weights, [("canary", 5), ("stable", 95)]);
        let plan = config.splits[SPLIT].rollout.as_ref().expect("a plan");
        let steps: Vec<String> = plan.steps.iter().map(|step| format!("{} %", step.percent)).collect();
        assert_eq!(steps.join(", "), STEPS, "as the advice says");
    }

    #[test]
    fn a_taken_admin_port_is_told_with_a_way_out() {
        let taken = TcpListener::bind(loopback(0)).expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let failure = admin_address(port).expect_err("taken");
        let text = format!("{failure:?}");
        assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("--admin-port"), "{text}");
    }
}
