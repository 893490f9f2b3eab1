//! Heads that are let through and heads that are refused.

use super::*;

fn status(head: &str) -> u16 {
    check(head.as_bytes()).map_or_else(|refused| refused.status, |_| 200)
}

#[test]
fn request_lines() {
    for (line, expected) in [
        ("GET / HTTP/1.1", 200),
        ("GET /a?b=c HTTP/1.1", 200),
        ("OPTIONS * HTTP/1.1", 200),
        ("GET http://a.test/x HTTP/1.1", 200),
        ("GET HTTP://a.test HTTP/1.1", 200),
        ("GET http://A.test/ HTTP/1.1", 400),
        ("GET http://b.test/x HTTP/1.1", 400),
        ("GET http://u@a.test/x HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET ?x HTTP/1.1", 400),
        ("GET @a/ HTTP/1.1", 400),
        ("GET /#x HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /\u{1} HTTP/1.1", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET /", 400),
        ("CONNECT a.test:443 HTTP/1.1", 405),
        ("G T / HTTP/1.1", 400),
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: a.test\r\n\r\n")), expected, "{line}");
    }
    assert_eq!(status(&format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(33))), 501);
}

#[test]
fn hosts() {
    for (fields, expected) in [
        ("Host: a", 200),
        ("Host: a:80", 200),
        ("Host: [::1]:80", 200),
        ("Host:", 200),
        ("X: y", 400),
        ("Host: a\r\nHost: a", 400),
        ("Host: a, b", 400),
        ("Host: a b", 400),
        ("Host: a/x", 400),
        ("Host: a\\x", 400),
        ("Host: u@a", 400),
        ("Host: a:12ab", 400),
        ("Host: a:123456", 400),
        ("Host: a:65536", 400),
        ("Host: a:65535", 200),
        ("Host: [::1", 400),
        ("Host: [::1]x", 400),
    ] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n")), expected, "{fields}");
    }
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn fields() {
    for (fields, expected) in [
        ("X: y", 200),
        ("X:", 200),
        ("X: \u{e9}", 200),
        ("X : y", 400),
        (" X: y", 400),
        ("X: y\r\n z", 400),
        ("X: a\rb", 400),
        ("X: a\u{0}b", 400),
        ("X\u{0}: a", 400),
        (": a", 400),
        ("X", 400),
        ("X(y): z", 400),
    ] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")), expected, "{fields:?}");
    }
    let many = "X: y\r\n".repeat(200);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
}

#[test]
fn bodies() {
    for (fields, expected) in [
        ("Content-Length: 5", 200),
        ("Content-Length: 0", 200),
        ("Transfer-Encoding: chunked", 200),
        ("Transfer-Encoding: Chunked", 200),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5x", 400),
        ("Content-Length:", 400),
        ("Content-Length: 9999999999999999999", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, identity", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding:", 501),
    ] {
        assert_eq!(status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")), expected, "{fields}");
    }
    assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    assert_eq!(status("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), 200);
    assert_eq!(status("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"), 400);
}

#[test]
fn ends_are_found_over_reads() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    for from in 0..head.len() {
        let found = find_end(head, from);
        assert_eq!(found, (from <= 26).then_some(27), "from {from}");
    }
    assert!(!has_bare_lf(head, 0));
    assert!(has_bare_lf(b"GET / HTTP/1.1\nHost: a\r\n", 0));
    assert!(!has_bare_lf(b"a\r\n", 2), "the CR was read before");
    assert!(has_bare_lf(b"\n", 0));
}
