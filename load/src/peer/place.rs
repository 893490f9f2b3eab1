//! What is filled into a configuration: ports, paths, upstreams.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use anyhow::{Context, Result, bail};

use super::write_certificate;
use crate::upstream::Upstreams;

/// Ports are looked for here: below those that the system gives to outgoing connections, one of which could
/// otherwise take a port between our look and the proxy's.
const FIRST_PORT: u16 = 21_000;
const LAST_PORT: u16 = 31_999;

/// Free ports for a proxy's listeners.
pub(crate) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
    pub(super) h2: u16,
    pub(super) grpc: u16,
    pub(super) admin: u16,
}

impl Ports {
    pub(super) fn pick() -> Result<Self> {
        let next = || free_port().context("no free port");
        Ok(Self { plain: next()?, tls: next()?, h2: next()?, grpc: next()?, admin: next()? })
    }
}

/// Another one at each call, so that no proxy meets the leftover connections of the one before.
fn free_port() -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = LAST_PORT - FIRST_PORT + 1;
    // Runs of two programs at once begin apart.
    let start = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
    (0..count).find_map(|_| {
        let step = NEXT.fetch_add(1, Relaxed) % count;
        let port = FIRST_PORT + (start + step) % count;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

/// Names that stand between `@` in a template, and what is put there.
pub(crate) struct Place(Vec<(&'static str, String)>);

impl Place {
    pub(super) fn new(folder: &Path, ports: &Ports, upstreams: &Upstreams) -> Result<Self> {
        let [cert, key, both] = write_certificate(folder)?;
        Ok(Self(vec![
            ("PLAIN", ports.plain.to_string()),
            ("TLS", ports.tls.to_string()),
            ("H2", ports.h2.to_string()),
            ("GRPC", ports.grpc.to_string()),
            ("ADMIN", ports.admin.to_string()),
            ("STABLE", upstreams.stable.address.port().to_string()),
            ("CANARY", upstreams.canary.address.port().to_string()),
            ("GRPC_UPSTREAM", upstreams.grpc.address.port().to_string()),
            ("CERT", cert.display().to_string()),
            ("KEY", key.display().to_string()),
            ("PEM", both.display().to_string()),
            ("FOLDER", folder.display().to_string()),
        ]))
    }
}

/// The template with all places filled in; a name that is not known is a mistake in it.
pub(crate) fn fill(template: &str, place: &Place) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in &place.0 {
        text = text.replace(&format!("@{name}@"), value);
    }
    match left_over(&text) {
        Some(name) => bail!("a template has a place @{name}@ that nothing fills"),
        None => Ok(text),
    }
}

/// The first name in capitals between two `@`.
fn left_over(text: &str) -> Option<&str> {
    let is_name =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    text.split('@').skip(1).find(is_name)
}

/// The first word of what a program tells that begins like a version, else its first line.
pub(super) fn version(told: &str) -> String {
    let words = told.split(|c: char| c.is_whitespace() || "/,()".contains(c));
    let is_version = |word: &&str| {
        let digits = word.trim_start_matches('v');
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.matches('.').count() >= 2
    };
    let found = words.map(str::trim).find(is_version);
    found.unwrap_or_else(|| told.lines().next().unwrap_or_default()).trim_start_matches('v').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::PEERS;
    use super::*;

    #[test]
    fn versions_as_programs_tell_them() {
        for (told, wanted) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12-1+deb12u4"),
            ("2.6.2\n", "2.6.2"),
            ("\n./envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nCodename:     langres\n", "3.7.15"),
            ("something else\n", "something else"),
        ] {
            assert_eq!(version(told), wanted);
        }
    }

    #[test]
    fn every_place_in_every_file_is_filled() {
        let names =
            ["PLAIN", "TLS", "H2", "GRPC", "ADMIN", "STABLE", "CANARY", "GRPC_UPSTREAM", "CERT", "KEY"];
        let all = names.into_iter().chain(["PEM", "FOLDER"]).map(|name| (name, "1".to_owned()));
        let place = Place(all.collect());
        for peer in &PEERS {
            for (name, text) in peer.files.iter().chain(peer.features) {
                fill(text, &place).unwrap_or_else(|why| panic!("{}, {name}: {why}", peer.id));
            }
        }
        assert!(fill("a @NOTHING@ b", &place).is_err());
        assert_eq!(fill("b@c.d @PLAIN@", &place).expect("good"), "b@c.d 1");
    }
}
