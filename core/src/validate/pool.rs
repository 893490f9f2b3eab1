//! Checks of `[pools.*]`.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::status::StatusSet;
use super::{address, condition, path, rollout, text};
use crate::address::Address;
use crate::config::{Balance, Eject, Endpoint, Health, Pool, Protocol};
use crate::pool::Limits;
use crate::units::MAX_WEIGHT;

/// What it replaces may come back under another address.
const ROLLOUT_OF_NAME: &str = "a pool whose endpoints are found by `dns` has no rollout of its own";

pub(super) fn check(name: &str, pool: &Pool, findings: &mut Findings) {
    let at = path::key("pools", name);
    findings.name(&at, name);
    endpoints(pool, &pool.endpoints, &path::key(&at, "endpoints"), findings);
    if let Some(dns) = &pool.dns {
        if !pool.endpoints.is_empty() {
            findings.add(&at, "`endpoints` and `dns` cannot both be written");
        }
        if !address::is_name_and_port(dns) {
            let message = format!("`{dns}` is not a name and a port such as \"app.internal:8080\"");
            findings.add(path::key(&at, "dns"), message);
        }
        if pool.rollout.is_some() {
            findings.add(path::key(&at, "rollout"), ROLLOUT_OF_NAME);
        }
    }
    for (key, span) in [
        ("connect_timeout", pool.connect_timeout),
        ("dns_refresh", pool.dns_refresh),
        ("tunnel_idle_timeout", pool.tunnel_idle_timeout),
    ] {
        if span.limit().is_none() {
            findings.add(path::key(&at, key), format!("`{key}` must be longer than 0"));
        }
    }
    check_hash(pool, &at, findings);
    if let Some(tls) = &pool.tls {
        check_tls(tls, &path::key(&at, "tls"), findings);
    }
    if let Some(health) = &pool.health {
        check_health(health, &path::key(&at, "health"), findings);
    }
    if pool.health.as_ref().is_some_and(|health| health.grpc.is_some()) && !may_speak_h2(pool) {
        findings.hinted(
            path::key(&path::key(&at, "health"), "grpc"),
            "the pool does not speak HTTP/2, which gRPC needs",
            "set protocol = \"h2\"",
        );
    }
    if let Some(eject) = &pool.eject {
        check_eject(eject, &path::key(&at, "eject"), findings);
    }
    check_limits(pool, &path::key(&at, "limits"), findings);
    if pool.panic_threshold > 0 && pool.health.is_none() && pool.eject.is_none() {
        findings.hinted(
            path::key(&at, "panic_threshold"),
            "is used only with `health` or `eject`: nothing else makes an endpoint unusable",
            "set one of them, or remove panic_threshold",
        );
    }
    if let Some(plan) = &pool.rollout {
        rollout::check_pool(plan, &path::key(&at, "rollout"), findings);
    }
}

/// Checks each endpoint by itself and beside the pool's checks, and that none stands twice.
pub(super) fn endpoints(pool: &Pool, endpoints: &[Endpoint], at: &str, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    let has_port = pool.health.as_ref().is_some_and(|health| health.port.is_some());
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = path::index(at, index);
        // A bare address has no key of its own to point at.
        let at_address = match endpoint {
            Endpoint::Address(_) => at.clone(),
            Endpoint::Table(_) => path::key(&at, "address"),
        };
        if !(1..=MAX_WEIGHT).contains(&endpoint.weight()) {
            findings.add(path::key(&at, "weight"), format!("must be from 1 to {MAX_WEIGHT}"));
        }
        match address::endpoint(endpoint.address()) {
            Ok(parsed) => {
                if has_port && matches!(parsed, Address::Unix(_)) {
                    findings.hinted(
                        &at_address,
                        "a Unix socket has no port, and the pool's `health.port` names one",
                        "remove health.port: the check goes to the socket",
                    );
                }
                if let Some(first) = seen.insert(parsed, index) {
                    let message = format!("`{}` stands here twice, first as [{first}]", endpoint.address());
                    findings.add(at_address, message);
                }
            }
            Err(message) if address::is_name_and_port(endpoint.address()) => {
                findings.hinted(
                    at_address,
                    message,
                    format!("names go in `dns = \"{}\"`", endpoint.address()),
                );
            }
            Err(message) => findings.add(at_address, message),
        }
    }
}

fn may_speak_h2(pool: &Pool) -> bool {
    match pool.protocol {
        Protocol::Http1 => false,
        Protocol::H2 => true,
        Protocol::Auto => pool.tls.is_some(),
    }
}

fn check_hash(pool: &Pool, at: &str, findings: &mut Findings) {
    let Some(sources) = &pool.hash_key else { return };
    let at = path::key(at, "hash_key");
    condition::key_sources(sources, &at, findings);
    if sources.is_empty() {
        findings.hinted(&at, "is empty", "leave it out to hash the split's key");
    }
    if pool.balance != Balance::Hash {
        findings.hinted(&at, "is used only with `balance = \"hash\"`", "set balance, or remove hash_key");
    }
}

fn check_tls(tls: &crate::config::PoolTls, at: &str, findings: &mut Findings) {
    if !text::is_host(&tls.sni) {
        findings.add(path::key(at, "sni"), format!("`{}` is not a host", tls.sni));
    }
    if tls.cert.is_some() != tls.key.is_some() {
        findings.add(at, "`cert` and `key` are used together only");
    }
}

fn check_health(health: &Health, at: &str, findings: &mut Findings) {
    let written = [("path", health.path.is_some()), ("tcp", health.tcp), ("grpc", health.grpc.is_some())];
    condition::one_of(&written, at, findings);
    if let Some(value) = &health.path
        && !(value.starts_with('/') && value.bytes().all(|b| b.is_ascii_graphic() && b != b'#'))
    {
        // Unlike the path of a request that is matched, this one may have a query.
        findings.add(path::key(at, "path"), format!("`{value}` is not a path such as \"/healthz\""));
    }
    for (key, span) in [("interval", health.interval), ("timeout", health.timeout)] {
        if span.limit().is_none() {
            findings.add(path::key(at, key), format!("`{key}` must be longer than 0"));
        }
    }
    if let Err(message) = health.status.parse::<StatusSet>() {
        findings.add(path::key(at, "status"), message);
    }
    if let Some(host) = &health.host
        && (host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()))
    {
        findings.add(path::key(at, "host"), format!("`{host}` is not a host"));
    }
    for (name, value) in &health.headers {
        let at = path::key(&path::key(at, "headers"), name);
        condition::header_name(name, &at, findings);
        condition::header_value(value, &at, findings);
    }
}

fn check_limits(pool: &Pool, at: &str, findings: &mut Findings) {
    let limits = &pool.limits;
    if limits.queue == 0 {
        return;
    }
    if limits.queue_timeout.limit().is_none() {
        findings.hinted(
            at,
            "a `queue` without a `queue_timeout` holds nothing",
            "set queue_timeout, such as \"1s\"",
        );
    }
    if Limits::compile(pool).bounds.most == 0 {
        findings.hinted(
            at,
            "a `queue` without a limit of requests in flight is never used",
            "set max_in_flight, or with HTTP/1 max_connections",
        );
    }
}

fn check_eject(eject: &Eject, at: &str, findings: &mut Findings) {
    if eject.base.limit().is_none() {
        findings.add(path::key(at, "base"), "`base` must be longer than 0");
    }
    if eject.base > eject.max {
        findings.add(at, format!("`base` ({}) is longer than `max` ({})", eject.base, eject.max));
    }
}
