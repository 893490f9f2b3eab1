//! Checks of `[server]`, `[[listeners]]`, `[log]` and `[admin]`.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::{address, path, text};
use crate::address::Address;
use crate::config::{Admin, Config, Listener, LogOutput};

/// Request heads smaller than this would refuse ordinary requests, larger ones are an attack.
const HEADER_SIZES: std::ops::RangeInclusive<u64> = 1_024..=1_048_576;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    if config.listeners.is_empty() {
        findings.hinted(
            "listeners",
            "at least one listener is required",
            "add [[listeners]] with a name and an address",
        );
    }
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let at = path::index("listeners", index);
        check_listener(listener, &at, findings);
        if let Some(first) = names.insert(&listener.name, index) {
            let message = format!("listeners[{first}] has the name `{}` already", listener.name);
            findings.add(path::key(&at, "name"), message);
        }
        let Ok(address) = address::listen(&listener.address) else { continue };
        if address.is_ephemeral() {
            continue;
        }
        if let Some(first) = addresses.insert(address, at.clone()) {
            findings
                .add(path::key(&at, "address"), format!("{first} listens on `{}` already", listener.address));
        }
    }
    check_log(config, findings);
    check_admin(&config.admin, &addresses, findings);
}

fn check_listener(listener: &Listener, at: &str, findings: &mut Findings) {
    findings.name(&path::key(at, "name"), &listener.name);
    if let Err(message) = address::listen(&listener.address) {
        findings.add(path::key(at, "address"), message);
    }
    for (key, span) in [("header_timeout", listener.header_timeout), ("idle_timeout", listener.idle_timeout)]
    {
        if span.limit().is_none() {
            findings.add(path::key(at, key), format!("`{key}` must be longer than 0"));
        }
    }
    if !HEADER_SIZES.contains(&listener.max_header_size.0) {
        findings.add(path::key(at, "max_header_size"), "must be from 1KiB to 1MiB");
    }
    if let Some(tls) = &listener.tls
        && tls.certificates.is_empty()
    {
        findings.add(format!("{at}.tls.certificates"), "at least one certificate is required");
    }
    if let Some(tls) = &listener.tls
        && tls.client_cert.is_some() != tls.client_ca.is_some()
    {
        findings.add(path::key(at, "tls"), "`client_ca` and `client_cert` are used together only");
    }
}

fn check_log(config: &Config, findings: &mut Findings) {
    if !text::is_log_level(&config.log.level) {
        findings.hinted(
            "log.level",
            format!("`{}` is not a log level", config.log.level),
            "error, warn, info, debug, trace, or levels by target as in \"info,tidegate=debug\"",
        );
    }
    if !(0.0..=1.0).contains(&config.log.access_sample) {
        findings.add("log.access_sample", "must be from 0 to 1");
    }
    if config.log.output == LogOutput::File(String::new()) {
        findings.hinted("log.output", "is empty", "write \"stdout\", or the path of a file");
    }
}

fn check_admin(admin: &Admin, taken: &BTreeMap<Address, String>, findings: &mut Findings) {
    match address::listen(&admin.address) {
        Err(message) => findings.add("admin.address", message),
        Ok(address) => {
            if let Some(listener) = taken.get(&address) {
                findings.add("admin.address", format!("{listener} listens on `{}` already", admin.address));
            }
            if !address.is_local() && admin.token_file.is_none() {
                findings.hinted(
                    "admin.address",
                    format!("`{}` can be reached from other hosts, and there is no token", admin.address),
                    "set admin.token_file, or use a loopback address",
                );
            }
        }
    }
    for (key, file) in [("token_file", &admin.token_file), ("state_dir", &admin.state_dir)] {
        if file.as_deref() == Some("") {
            findings.add(path::key("admin", key), "is empty");
        }
    }
    for (index, host) in admin.allowed_hosts.iter().enumerate() {
        if !text::is_host(host) {
            findings.hinted(
                path::index("admin.allowed_hosts", index),
                format!("`{host}` is not a host"),
                "write a name or an address, without a port",
            );
        }
    }
}
