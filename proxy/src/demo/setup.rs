//! Addresses and the configuration, before anything runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::cli::Failure;

use super::shop::Version;

/// Where the proxy listens if it can.
const LISTEN_PORT: u16 = 8080;

/// The name of the split.
pub(super) const SPLIT: &str = "shop";
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

[[routes]]
name = "shop"
split = "{SPLIT}"
"#,
        stable.0, stable.1, canary.0, canary.1, stable.0, canary.0, stable.0, canary.0
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
