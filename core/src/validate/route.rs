//! Checks of `[[routes]]`.

use std::collections::BTreeMap;

use super::findings::{Findings, Names};
use super::{condition, path, split, text};
use crate::config::{
    Config, HeaderEdits, HeaderValues, PathRewrite, Redirect, Respond, Retry, Rewrite, Route,
};

/// Headers that frame a message, or are about the connection: an edit would make it unreadable.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn check_all(config: &Config, names: &Names<'_>, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        let at = path::index("routes", index);
        let at_name = path::key(&at, "name");
        findings.name(&at_name, &route.name);
        if let Some(first) = seen.insert(&route.name, index) {
            findings.add(&at_name, format!("routes[{first}] has the name `{}` already", route.name));
        }
        if route.weights.is_some() && names.splits.contains(route.name.as_str()) {
            // Its unnamed split takes the route's name, and splits are told apart by name.
            findings.add(
                &at_name,
                format!("a route with weights cannot share the name of split `{}`", route.name),
            );
        }
        check(route, names, &at, findings);
    }
}

fn check(route: &Route, names: &Names<'_>, at: &str, findings: &mut Findings) {
    for (index, host) in route.hosts.iter().enumerate() {
        check_host(host, &path::index(&path::key(at, "hosts"), index), findings);
    }
    for (index, written) in route.matches.iter().enumerate() {
        let conditions = condition::Conditions {
            path: written.path.as_ref(),
            methods: &written.methods,
            headers: &written.headers,
            query: &written.query,
            cookies: &written.cookies,
        };
        condition::check(&conditions, &path::index(&path::key(at, "matches"), index), findings);
    }
    check_target(route, names, at, findings);
    if let Some(rewrite) = &route.rewrite {
        check_rewrite(rewrite, route, &path::key(at, "rewrite"), findings);
    }
    if route.redirect.is_some() || route.respond.is_some() {
        check_effects(route, at, findings);
    }
    check_edits(&route.request_headers, true, &path::key(at, "request_headers"), findings);
    check_edits(&route.response_headers, false, &path::key(at, "response_headers"), findings);
    for (index, mirror) in route.mirror.iter().enumerate() {
        let at = path::index(&path::key(at, "mirror"), index);
        findings.known(&path::key(&at, "pool"), "pool", &mirror.pool, &names.pools);
        if !(0.0..=100.0).contains(&mirror.percent) {
            findings.add(path::key(&at, "percent"), "must be from 0 to 100");
        }
    }
}

fn check_host(host: &str, at: &str, findings: &mut Findings) {
    if text::is_host_pattern(host) {
        return;
    }
    let message = format!("`{host}` is not a host");
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| port.parse::<u16>().is_ok() && text::is_host_pattern(name));
    let hint =
        if has_port { "leave out the port: it is not compared" } else { "write a name, or `*.` and a name" };
    findings.hinted(at, message, hint);
}

fn check_target(route: &Route, names: &Names<'_>, at: &str, findings: &mut Findings) {
    let written = [
        ("split", route.split.is_some()),
        ("pool", route.pool.is_some()),
        ("weights", route.weights.is_some()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
    ];
    condition::one_of(&written, at, findings);
    if let Some(name) = &route.split {
        findings.known(&path::key(at, "split"), "split", name, &names.splits);
    }
    if let Some(name) = &route.pool {
        findings.known(&path::key(at, "pool"), "pool", name, &names.pools);
    }
    if let Some(weights) = &route.weights {
        split::weights(weights, &names.pools, &path::key(at, "weights"), findings);
    }
    if let Some(redirect) = &route.redirect {
        check_redirect(redirect, route, &path::key(at, "redirect"), findings);
    }
    if let Some(respond) = &route.respond {
        check_respond(respond, &path::key(at, "respond"), findings);
    }
}

/// A route that answers by itself sends nothing upstream: what is about that would be ignored.
fn check_effects(route: &Route, at: &str, findings: &mut Findings) {
    let written = [
        ("rewrite", route.rewrite.is_some()),
        ("request_headers", route.request_headers != HeaderEdits::default()),
        ("timeout", route.timeout.limit().is_some()),
        ("retry", route.retry != Retry::default()),
        ("mirror", !route.mirror.is_empty()),
    ];
    for (key, _) in written.iter().filter(|(_, is_written)| *is_written) {
        findings.add(path::key(at, key), "has no effect: the route answers by itself");
    }
}

fn check_redirect(redirect: &Redirect, route: &Route, at: &str, findings: &mut Findings) {
    let Redirect { scheme, host, port, path: new_path, status } = redirect;
    if scheme.is_none() && host.is_none() && port.is_none() && new_path.is_none() {
        findings
            .add(at, "leads back to where it started: one of `scheme`, `host`, `port`, `path` is required");
    }
    if let Some(scheme) = scheme
        && !matches!(scheme.as_str(), "http" | "https")
    {
        findings.add(path::key(at, "scheme"), format!("`{scheme}` is not one of http, https"));
    }
    check_plain_host(host.as_deref(), at, findings);
    if *port == Some(0) {
        findings.add(path::key(at, "port"), "must be from 1 to 65535");
    }
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        findings.add(path::key(at, "status"), format!("{status} is not one of 301, 302, 303, 307, 308"));
    }
    if let Some(new_path) = new_path {
        check_new_path(new_path, route, &path::key(at, "path"), findings);
    }
}

fn check_rewrite(rewrite: &Rewrite, route: &Route, at: &str, findings: &mut Findings) {
    if rewrite.host.is_none() && rewrite.path.is_none() {
        findings.add(at, "one of `host`, `path` is required");
    }
    check_plain_host(rewrite.host.as_deref(), at, findings);
    if let Some(new_path) = &rewrite.path {
        check_new_path(new_path, route, &path::key(at, "path"), findings);
    }
}

fn check_plain_host(host: Option<&str>, at: &str, findings: &mut Findings) {
    // The port is a key of its own in a redirect, and no part of what a rewrite is for.
    if let Some(host) = host
        && !text::is_host(host)
    {
        findings.add(path::key(at, "host"), format!("`{host}` is not a host"));
    }
}

fn check_new_path(new_path: &PathRewrite, route: &Route, at: &str, findings: &mut Findings) {
    let PathRewrite { full, prefix } = new_path;
    condition::one_of(&[("full", full.is_some()), ("prefix", prefix.is_some())], at, findings);
    for (key, value) in [("full", full), ("prefix", prefix)] {
        if let Some(value) = value {
            condition::plain_path(value, &path::key(at, key), findings);
            if text::path_mistake(value).is_none() && value.parse::<http::uri::PathAndQuery>().is_err() {
                findings.add(path::key(at, key), "must be written as it is sent, with percent-encoding");
            }
        }
    }
    let has_prefix = |m: &crate::config::Match| m.path.as_ref().is_some_and(|p| p.prefix.is_some());
    if prefix.is_some() && (route.matches.is_empty() || !route.matches.iter().all(has_prefix)) {
        findings.hinted(
            path::key(at, "prefix"),
            "the route has a match without a prefix to replace",
            "give every match of the route a path.prefix",
        );
    }
}

fn check_respond(respond: &Respond, at: &str, findings: &mut Findings) {
    if !(200..=599).contains(&respond.status) {
        findings.add(path::key(at, "status"), "must be from 200 to 599");
    }
    if matches!(respond.status, 204 | 205 | 304) && !respond.body.is_empty() {
        findings.add(path::key(at, "body"), format!("an answer of status {} has none", respond.status));
    }
    for (name, value) in &respond.headers {
        let at = path::key(&path::key(at, "headers"), name);
        edited_name(name, false, &at, findings);
        condition::header_value(value, &at, findings);
    }
}

fn check_edits(edits: &HeaderEdits, of_request: bool, at: &str, findings: &mut Findings) {
    for (key, table) in [("set", &edits.set), ("add", &edits.add)] {
        for (name, values) in table {
            let at = path::key(&path::key(at, key), name);
            edited_name(name, of_request, &at, findings);
            match values {
                HeaderValues::One(value) => condition::header_value(value, &at, findings),
                HeaderValues::Many(values) => {
                    for (index, value) in values.iter().enumerate() {
                        condition::header_value(value, &path::index(&at, index), findings);
                    }
                }
            }
        }
    }
    for (index, name) in edits.remove.iter().enumerate() {
        edited_name(name, of_request, &path::index(&path::key(at, "remove"), index), findings);
    }
}

fn edited_name(name: &str, of_request: bool, at: &str, findings: &mut Findings) {
    let lower = name.to_ascii_lowercase();
    if !text::is_token(name) {
        findings.add(at, format!("`{name}` is not a header name"));
    } else if FRAMING.contains(&lower.as_str()) {
        findings.add(at, format!("`{name}` is about the framing or the connection, and cannot be edited"));
    } else if of_request && lower == "host" {
        findings.hinted(at, "the Host is not edited as a header", "use rewrite.host");
    }
}
