//! The small grammars of HTTP that written values must obey.

/// A token of RFC 9110: methods, header names, cookie names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A header's value: visible characters, spaces and tabs between them, nothing that ends a line.
pub fn is_header_value(text: &str) -> bool {
    !text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) && text.trim_matches([' ', '\t']) == text
}

/// A host without a port: a name, an IPv4 address, or an IPv6 address in brackets.
pub fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    // Underscores are no part of a host name by RFC 1123, but names with them are in use.
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A host of a route: exact, or with `*.` in front, which stands for one label or more.
pub fn is_host_pattern(text: &str) -> bool {
    match text.strip_prefix("*.") {
        Some(rest) => !rest.starts_with('[') && is_host(rest),
        None => is_host(text),
    }
}

/// A cookie's Path attribute.
pub fn is_cookie_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b';')
}

/// Why no request's path can be `text`, if so.
pub fn path_mistake(text: &str) -> Option<&'static str> {
    if !text.starts_with('/') {
        return Some("must start with `/`");
    }
    if text.contains(['?', '#']) {
        return Some("must not hold `?` or `#`: a path ends before the query");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("must be written as it is sent, with percent-encoding");
    }
    // Requests lose these before they are compared.
    text.split('/').any(|s| matches!(s, "." | "..")).then_some("must not hold `.` or `..` segments")
}

/// Whether `text` sets the log's level: one level, or `target=level` pairs with commas between.
pub fn is_log_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_target = |target: &str| {
        !target.is_empty() && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-.".contains(&b))
    };
    text.split(',').map(str::trim).all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && LEVELS.contains(&level),
        None => LEVELS.contains(&part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, good) in [
            ("shop.example.com", true),
            ("*.example.org", true),
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("example.com.", true),
            ("", false),
            (".", false),
            ("*", false),
            ("*.", false),
            ("a.*.com", false),
            ("*a.com", false),
            ("example.com:80", false),
            ("exa mple.com", false),
            ("http://example.com", false),
            ("a..b", false),
            ("*.[::1]", false),
        ] {
            assert_eq!(is_host_pattern(text), good, "{text}");
        }
    }

    #[test]
    fn paths() {
        for (text, good) in [
            ("/", true),
            ("/a/b.c", true),
            ("/%C3%A9", true),
            ("", false),
            ("a", false),
            ("/a?b", false),
            ("/a b", false),
            ("/é", false),
            ("/a/../b", false),
            ("/a/.", false),
            ("/...", true),
        ] {
            assert_eq!(path_mistake(text).is_none(), good, "{text}");
        }
    }

    #[test]
    fn log_levels() {
        for (text, good) in [
            ("info", true),
            ("info,tidegate=debug", true),
            ("warn, tidegate::drain=trace", true),
            ("verbose", false),
            ("", false),
            ("info,", false),
            ("=debug", false),
        ] {
            assert_eq!(is_log_level(text), good, "{text}");
        }
    }

    #[test]
    fn header_values() {
        for (text, good) in
            [("", true), ("a b", true), ("é", true), ("a\r\nb", false), (" a", false), ("\0", false)]
        {
            assert_eq!(is_header_value(text), good, "{text:?}");
        }
    }
}
