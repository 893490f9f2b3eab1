//! Configuration files for tests, as text: what a test says stays readable in it.

use std::net::SocketAddr;

use super::Upstream;

/// A listener `web` and the admin API, each on a port of the system's choosing, then `rest`.
pub(crate) fn with(rest: &str) -> String {
    with_listener("", "", rest)
}

/// How a configuration without the express lane begins.
const WITHOUT_LANE: &str = "[server]\nexpress = false\n";

/// With `TIDEGATE_EXPRESS=off` in the environment the tests run without the express lane, but for those that say
/// `[server]` themselves; with [`server`] they need not.
fn lane(rest: &str) -> &'static str {
    let is_off = std::env::var("TIDEGATE_EXPRESS").is_ok_and(|word| word == "off");
    if is_off && !rest.contains("[server]") { WITHOUT_LANE } else { "" }
}

/// A configuration with more keys for `[server]`.
pub(crate) fn server(keys: &str, config: &str) -> String {
    let (lane, rest) = match config.strip_prefix(WITHOUT_LANE) {
        Some(rest) => (WITHOUT_LANE, rest),
        None => ("[server]\n", config),
    };
    format!("{lane}{keys}\n\n{rest}")
}

/// As [`with`], with more keys for the listener and for `[admin]`.
pub(crate) fn with_listener(listener: &str, admin: &str, rest: &str) -> String {
    let lane = lane(rest);
    format!(
        "{lane}[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\n\
         [admin]\naddress = \"127.0.0.1:0\"\n{admin}\n\n{rest}"
    )
}

/// A pool of these upstreams, with more keys.
pub(crate) fn pool(name: &str, upstreams: &[&Upstream], keys: &str) -> String {
    let addresses: Vec<SocketAddr> = upstreams.iter().map(|one| one.address()).collect();
    pool_at(name, &addresses, keys)
}

/// A pool of whatever is at these addresses, with more keys.
pub(crate) fn pool_at(name: &str, addresses: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[pools.{name}]\nendpoints = [{}]\n{keys}\n\n", endpoints.join(", "))
}

/// One pool `app` and a route `all` to it, with more keys for each.
pub(crate) fn one_pool(upstreams: &[&Upstream], pool_keys: &str, route_keys: &str) -> String {
    with(&one_pool_rest(upstreams, pool_keys, route_keys))
}

/// [`one_pool`] without listener and admin.
pub(crate) fn one_pool_rest(upstreams: &[&Upstream], pool_keys: &str, route_keys: &str) -> String {
    let addresses: Vec<SocketAddr> = upstreams.iter().map(|one| one.address()).collect();
    one_pool_at(&addresses, pool_keys, route_keys)
}

/// [`one_pool_rest`] of whatever is at these addresses.
pub(crate) fn one_pool_at(addresses: &[SocketAddr], pool_keys: &str, route_keys: &str) -> String {
    let pool = pool_at("app", addresses, pool_keys);
    format!("{pool}[[routes]]\nname = \"all\"\npool = \"app\"\n{route_keys}\n")
}

/// Pools `stable` and `canary`, a split `shop` keyed by `x-user-id`, and a route `all` to it.
pub(crate) fn canary(
    stable: &[&Upstream],
    canary: &[&Upstream],
    weights: [u32; 2],
    pool_keys: &str,
) -> String {
    with(&canary_rest(stable, canary, weights, pool_keys, ""))
}

/// [`canary`] without listener and admin, and with more keys for the split.
pub(crate) fn canary_rest(
    stable: &[&Upstream],
    canary: &[&Upstream],
    weights: [u32; 2],
    pool_keys: &str,
    split_keys: &str,
) -> String {
    let pools = pool("stable", stable, pool_keys) + &pool("canary", canary, pool_keys);
    let [of_stable, of_canary] = weights;
    format!(
        "{pools}[splits.shop]\nweights = {{ stable = {of_stable}, canary = {of_canary} }}\n\
         key = [\"header:x-user-id\"]\n{split_keys}\n\n[[routes]]\nname = \"all\"\nsplit = \"shop\"\n"
    )
}

/// An active health check that notices within a fraction of a second.
pub(crate) const QUICK_HEALTH: &str = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"1s\", \
                                       healthy_after = 2, unhealthy_after = 2 }";
