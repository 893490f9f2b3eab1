//! Checks of `[splits.*]`, and of weights wherever they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{Findings, Names};
use super::{condition, path, rollout, text};
use crate::config::{Assign, Override, SameSite, Split};
use crate::units::MAX_WEIGHT;

/// Headers that frame a message or are Tidegate's own to set.
const RESERVED: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];

pub(super) fn check(name: &str, split: &Split, names: &Names<'_>, findings: &mut Findings) {
    let at = path::key("splits", name);
    findings.name(&at, name);
    weights(&split.weights, &names.pools, &path::key(&at, "weights"), findings);
    condition::key_sources(&split.key, &path::key(&at, "key"), findings);
    if let Some(assign) = &split.assign {
        check_assign(assign, &path::key(&at, "assign"), findings);
    }
    let keyed = !split.key.is_empty() || split.assign.is_some();
    not_too_many(split.overrides.len(), &path::key(&at, "overrides"), findings);
    for (index, rule) in split.overrides.iter().enumerate() {
        let at = path::index(&path::key(&at, "overrides"), index);
        check_override(rule, keyed, names, &at, findings);
    }
    let fallback = split.fallback.as_deref().unwrap_or_default();
    not_too_many(fallback.len(), &path::key(&at, "fallback"), findings);
    for (index, pool) in fallback.iter().enumerate() {
        let at = path::index(&path::key(&at, "fallback"), index);
        findings.known(&at, "pool", pool, &names.pools);
        if fallback[..index].contains(pool) {
            findings.add(at, format!("`{pool}` stands here twice"));
        }
    }
    if split.rescue && split.fallback.as_ref().is_some_and(Vec::is_empty) {
        findings.hinted(
            path::key(&at, "rescue"),
            "there is no fallback to send a failed request to",
            "name a pool in `fallback`, or leave it out for its default",
        );
    }
    if let Some(header) = &split.pool_header {
        let at = path::key(&at, "pool_header");
        condition::header_name(header, &at, findings);
        if RESERVED.contains(&header.to_ascii_lowercase().as_str()) {
            findings.add(at, format!("`{header}` cannot be used for this"));
        }
    }
    if let Some(plan) = &split.rollout {
        rollout::check(plan, &split.weights, keyed, &path::key(&at, "rollout"), findings);
    }
}

/// A split may name so many pools in each of its lists: its members are numbered in 16 bits, and each
/// request with a key looks at all that have a weight.
const MOST_POOLS: usize = 1_000;

fn not_too_many(count: usize, at: &str, findings: &mut Findings) {
    if count > MOST_POOLS {
        findings.add(at, format!("at most {MOST_POOLS} can be listed here, not {count}"));
    }
}

/// Checks that the pools exist and that some pool gets traffic.
pub(super) fn weights(
    weights: &BTreeMap<String, u32>,
    pools: &BTreeSet<&str>,
    at: &str,
    findings: &mut Findings,
) {
    not_too_many(weights.len(), at, findings);
    for (pool, weight) in weights {
        let at = path::key(at, pool);
        findings.known(&at, "pool", pool, pools);
        if *weight > MAX_WEIGHT {
            findings.add(at, format!("must be at most {MAX_WEIGHT}, not {weight}"));
        }
    }
    if weights.is_empty() {
        findings.hinted(at, "at least one pool is required", "write weights = { stable = 1 }");
    } else if weights.values().all(|weight| *weight == 0) {
        findings.hinted(at, "the weights add up to 0", "give a pool a weight above 0");
    }
}

fn check_assign(assign: &Assign, at: &str, findings: &mut Findings) {
    condition::cookie_name(&assign.cookie, &path::key(at, "cookie"), findings);
    if assign.max_age.limit().is_none() {
        findings.add(path::key(at, "max_age"), "`max_age` must be longer than 0");
    }
    if !text::is_cookie_path(&assign.path) {
        findings
            .add(path::key(at, "path"), format!("`{}` is not a cookie's path such as \"/\"", assign.path));
    }
    if assign.same_site == SameSite::None && !assign.secure {
        findings.hinted(
            path::key(at, "same_site"),
            "browsers refuse `same_site = \"none\"` without `secure`",
            "set secure = true",
        );
    }
}

fn check_override(rule: &Override, keyed: bool, names: &Names<'_>, at: &str, findings: &mut Findings) {
    let conditions = condition::Conditions {
        path: rule.path.as_ref(),
        methods: &rule.methods,
        headers: &rule.headers,
        query: &rule.query,
        cookies: &rule.cookies,
    };
    condition::check(&conditions, at, findings);
    findings.known(&path::key(at, "pool"), "pool", &rule.pool, &names.pools);
    let unconditional = rule.path.is_none()
        && rule.methods.is_empty()
        && rule.headers.is_empty()
        && rule.query.is_empty()
        && rule.cookies.is_empty()
        && rule.client.is_empty()
        && rule.keys.is_empty();
    if unconditional {
        findings.hinted(
            at,
            "an override needs a condition",
            "to send every request to one pool, set the weights",
        );
    }
    if !rule.keys.is_empty() && !keyed {
        findings.hinted(
            path::key(at, "keys"),
            "the split has no key to compare with",
            "set the split's `key` or `assign`",
        );
    }
}
