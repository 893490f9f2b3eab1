//! Checks of conditions, which routes and overrides share.

use super::findings::Findings;
use super::{path, pattern, text};
use crate::config::{KeySource, PathMatch, StringMatch};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What the name of a string condition names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Header,
    Query,
    Cookie,
}

/// The conditions of a match or an override, borrowed.
pub(super) struct Conditions<'a> {
    pub(super) path: Option<&'a PathMatch>,
    pub(super) methods: &'a [String],
    pub(super) headers: &'a [StringMatch],
    pub(super) query: &'a [StringMatch],
    pub(super) cookies: &'a [StringMatch],
}

pub(super) fn check(conditions: &Conditions<'_>, at: &str, findings: &mut Findings) {
    if let Some(path_match) = conditions.path {
        check_path(path_match, &path::key(at, "path"), findings);
    }
    for (index, method) in conditions.methods.iter().enumerate() {
        check_method(method, &path::index(&path::key(at, "methods"), index), findings);
    }
    for (key, kind, list) in [
        ("headers", Kind::Header, conditions.headers),
        ("query", Kind::Query, conditions.query),
        ("cookies", Kind::Cookie, conditions.cookies),
    ] {
        for (index, condition) in list.iter().enumerate() {
            check_string(condition, kind, &path::index(&path::key(at, key), index), findings);
        }
    }
}

fn check_path(condition: &PathMatch, at: &str, findings: &mut Findings) {
    let PathMatch { prefix, exact, regex } = condition;
    let written = [("prefix", prefix), ("exact", exact), ("regex", regex)];
    one_of(&written.map(|(key, value)| (key, value.is_some())), at, findings);
    for (key, value) in [("prefix", prefix), ("exact", exact)] {
        if let Some(value) = value {
            plain_path(value, &path::key(at, key), findings);
        }
    }
    check_regex(regex.as_deref(), at, findings);
}

fn check_regex(regex: Option<&str>, at: &str, findings: &mut Findings) {
    // Compiling is the one costly check; past the last listed problem it serves nobody.
    if let Some(regex) = regex
        && !findings.is_full()
        && let Err(message) = pattern::whole(regex)
    {
        findings.add(path::key(at, "regex"), message);
    }
}

/// Adds a problem when `value` cannot be the path of a request.
pub(super) fn plain_path(value: &str, at: &str, findings: &mut Findings) {
    if let Some(mistake) = text::path_mistake(value) {
        findings.add(at, format!("`{value}` {mistake}"));
    }
}

fn check_method(method: &str, at: &str, findings: &mut Findings) {
    let upper = method.to_ascii_uppercase();
    if !text::is_token(method) {
        findings.add(at, format!("`{method}` is not a method"));
    } else if upper != method && METHODS.contains(&upper.as_str()) {
        let message = format!("`{method}` matches nothing: methods are compared with their case");
        findings.hinted(at, message, format!("did you mean `{upper}`?"));
    }
}

fn check_string(condition: &StringMatch, kind: Kind, at: &str, findings: &mut Findings) {
    let StringMatch { name, exact, prefix, regex, present } = condition;
    let at_name = path::key(at, "name");
    match kind {
        Kind::Header => header_name(name, &at_name, findings),
        Kind::Cookie => cookie_name(name, &at_name, findings),
        Kind::Query if name.is_empty() => findings.add(at_name, "is empty"),
        Kind::Query => {}
    }
    let written = [
        ("exact", exact.is_some()),
        ("prefix", prefix.is_some()),
        ("regex", regex.is_some()),
        ("present", present.is_some()),
    ];
    one_of(&written, at, findings);
    for (key, value) in [("exact", exact), ("prefix", prefix)] {
        if let Some(value) = value
            && kind == Kind::Header
        {
            // A prefix may end in the middle of the value, at a space.
            header_value(
                if key == "prefix" { value.trim_end() } else { value },
                &path::key(at, key),
                findings,
            );
        }
    }
    check_regex(regex.as_deref(), at, findings);
}

/// Adds a problem unless exactly one of the keys is written.
pub(super) fn one_of(written: &[(&str, bool)], at: &str, findings: &mut Findings) {
    let quoted = |keys: Vec<&str>| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let all = quoted(written.iter().map(|(key, _)| *key).collect());
    let found: Vec<&str> = written.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
    match found.len() {
        0 => findings.add(at, format!("exactly one of {all} is required")),
        1 => {}
        _ => {
            let message =
                format!("exactly one of {all} is allowed, not {}", quoted(found).replace(", ", " and "));
            findings.add(at, message);
        }
    }
}

pub(super) fn header_name(name: &str, at: &str, findings: &mut Findings) {
    if !text::is_token(name) {
        findings.add(at, format!("`{name}` is not a header name"));
    }
}

pub(super) fn cookie_name(name: &str, at: &str, findings: &mut Findings) {
    if !text::is_token(name) {
        findings.add(at, format!("`{name}` is not a cookie name"));
    }
}

pub(super) fn header_value(value: &str, at: &str, findings: &mut Findings) {
    if !text::is_header_value(value) {
        findings.hinted(
            at,
            format!("{value:?} is not a header value"),
            "control characters and spaces at the ends are not allowed",
        );
    }
}

/// Checks the names within `header:NAME` and `cookie:NAME`.
pub(super) fn key_sources(sources: &[KeySource], at: &str, findings: &mut Findings) {
    for (index, source) in sources.iter().enumerate() {
        let at = path::index(at, index);
        match source {
            KeySource::Header(name) => header_name(name, &at, findings),
            KeySource::Cookie(name) => cookie_name(name, &at, findings),
            KeySource::Query(_) | KeySource::ClientIp => {}
        }
        if sources[..index].contains(source) {
            findings.add(at, format!("`{source}` stands here twice"));
        }
    }
}
