//! What the configuration can say and this version cannot do yet.
//!
//! It is refused, never silently ignored.

use super::{Problem, path};
use crate::config::{Config, Pool, Protocol};

/// A problem for each key that asks for what this version cannot do.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let at = path::key(&path::index("routes", index), "mirror");
        let is_beyond = |pool: &Pool| {
            let by_socket = pool.endpoints.iter().any(|one| one.address().starts_with("unix:"));
            pool.tls.is_some() || pool.protocol == Protocol::H2 || by_socket
        };
        for (number, mirror) in route.mirror.iter().enumerate() {
            if config.pools.get(&mirror.pool).is_some_and(is_beyond) {
                found.push(problem(
                    path::key(&path::index(&at, number), "pool"),
                    "mirroring to a pool that speaks TLS or HTTP/2, or is behind a Unix socket",
                    "mirror to a pool that speaks plain HTTP/1.1 over TCP",
                ));
            }
        }
    }
    found
}

fn problem(path: String, what: &str, hint: &str) -> Problem {
    Problem {
        path,
        line: None,
        message: format!("{what} is not supported by this version"),
        hint: Some(hint.into()),
    }
}
