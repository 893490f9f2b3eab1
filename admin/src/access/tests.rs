//! Who may call: hosts, origins and tokens, as tables.

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    headers
}

fn is_let_through(lines: &[(&str, &str)]) -> bool {
    let hosts = Hosts::new(&["Admin.Example.com".to_owned()], false);
    hosts.objection(&Uri::from_static("/v1/splits"), &headers(lines)).is_none()
}

#[test]
fn hosts() {
    for (host, known) in [
        ("localhost", true),
        ("LocalHost:9900", true),
        ("localhost.", true),
        ("127.0.0.1:9900", true),
        ("127.8.7.6", true),
        ("[::1]:9900", true),
        ("[::ffff:127.0.0.1]", true),
        ("admin.example.com", true),
        ("admin.example.com:9900", true),
        ("", false),
        ("attacker.test", false),
        ("127.0.0.1.nip.io", false),
        ("localhost.attacker.test", false),
        ("localhost@attacker.test", false),
        ("attacker.test@localhost", false),
        ("10.0.0.1", false),
        ("[::2]", false),
        ("0.0.0.0", false),
        ("a b", false),
    ] {
        assert_eq!(is_let_through(&[("host", host)]), known, "{host}");
    }
    assert!(!is_let_through(&[]));
    assert!(!is_let_through(&[("host", "localhost"), ("host", "localhost")]));
    let hosts = Hosts::new(&[], false);
    let absolute = Uri::from_static("http://attacker.test/v1/splits");
    assert!(hosts.objection(&absolute, &headers(&[("host", "localhost")])).is_some());
}

#[test]
fn origins() {
    for (origin, own) in [
        ("http://localhost:9900", true),
        ("http://127.0.0.1:9900", true),
        ("http://[::1]:9900", true),
        ("http://localhost:3000", false),
        ("http://localhost", false),
        ("http://evil.test", false),
        ("http://evil.test:9900", false),
        ("null", false),
        ("", false),
        ("file://", false),
    ] {
        assert_eq!(is_let_through(&[("host", "localhost:9900"), ("origin", origin)]), own, "{origin}");
    }
    assert!(is_let_through(&[("host", "admin.example.com"), ("origin", "https://admin.example.com")]));
}

#[test]
fn what_browsers_say() {
    for (name, value, fine) in [
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-origin", true),
        ("sec-fetch-site", "none", true),
        ("sec-fetch-mode", "no-cors", false),
        ("sec-fetch-mode", "cors", true),
    ] {
        assert_eq!(is_let_through(&[("host", "localhost"), (name, value)]), fine, "{name}: {value}");
    }
}

#[test]
fn tokens() {
    let token = Token::new("secret").expect("a token");
    for (line, good) in [
        ("Bearer secret", true),
        ("bearer secret", true),
        ("Bearer  secret ", true),
        ("Bearer secre", false),
        ("Bearer secretx", false),
        ("Bearer", false),
        ("secret", false),
        ("Basic secret", false),
    ] {
        assert_eq!(token.is_in(&headers(&[("authorization", line)])), good, "{line}");
    }
    assert!(!token.is_in(&HeaderMap::new()));
    assert!(
        !token.is_in(&headers(&[("authorization", "Bearer secret"), ("authorization", "Bearer secret")]))
    );
    assert!(Token::new("").is_err() && Token::new("two words").is_err() && Token::new("two\nlines").is_err());
}
