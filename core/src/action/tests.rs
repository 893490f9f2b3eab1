//! Redirects and answers, as tables.

use super::*;

/// The redirect of this text, in the form of a route's `redirect`.
fn redirect(text: &str) -> Redirect {
    Redirect::compile(&toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// A request to the host `shop.test` on the listener of this port.
fn came(scheme: Scheme, port: u16) -> Came<'static> {
    Came { scheme, host: "shop.test", port, path: "/v1/a", prefix_bytes: 3, query: Some("x=1&y=%2F") }
}

#[test]
fn what_is_absent_stays_as_it_was() {
    for (written, scheme, port, location) in [
        ("host = 'x.test'", Scheme::Http, 80, "http://x.test/v1/a?x=1&y=%2F"),
        ("host = 'x.test'", Scheme::Http, 8080, "http://x.test:8080/v1/a?x=1&y=%2F"),
        ("host = 'x.test'", Scheme::Https, 443, "https://x.test/v1/a?x=1&y=%2F"),
        ("host = 'x.test'", Scheme::Https, 8443, "https://x.test:8443/v1/a?x=1&y=%2F"),
        ("host = '[::1]'", Scheme::Http, 80, "http://[::1]/v1/a?x=1&y=%2F"),
        ("scheme = 'https'", Scheme::Http, 8080, "https://shop.test/v1/a?x=1&y=%2F"),
        ("scheme = 'http'", Scheme::Http, 8080, "http://shop.test/v1/a?x=1&y=%2F"),
        ("scheme = 'https'\nport = 8443", Scheme::Http, 80, "https://shop.test:8443/v1/a?x=1&y=%2F"),
        ("scheme = 'https'\nport = 443", Scheme::Http, 80, "https://shop.test/v1/a?x=1&y=%2F"),
        ("scheme = 'https'\nport = 80", Scheme::Http, 80, "https://shop.test:80/v1/a?x=1&y=%2F"),
        ("port = 80", Scheme::Http, 8080, "http://shop.test/v1/a?x=1&y=%2F"),
        ("port = 443", Scheme::Http, 8080, "http://shop.test:443/v1/a?x=1&y=%2F"),
        ("path = { full = '/new' }", Scheme::Http, 80, "http://shop.test/new?x=1&y=%2F"),
        ("path = { prefix = '/v2/' }", Scheme::Http, 80, "http://shop.test/v2/a?x=1&y=%2F"),
    ] {
        assert_eq!(redirect(written).location(&came(scheme, port)).as_deref(), Some(location), "{written}");
    }
}

#[test]
fn hosts_paths_and_queries_become_part_of_a_url() {
    let elsewhere = redirect("scheme = 'https'");
    for (host, path, query, location) in [
        ("::1", "/", None, Some("https://[::1]/")),
        ("shop.test", "/", Some(""), Some("https://shop.test/?")),
        ("shop.test", "*", None, Some("https://shop.test/")),
        ("shop.test", "//evil.test/x", None, Some("https://shop.test//evil.test/x")),
        ("shop.test", "/é\"<>", Some("é"), Some("https://shop.test/%C3%A9%22%3C%3E?%C3%A9")),
        ("", "/", None, None),
    ] {
        let came = Came { host, path, query, ..came(Scheme::Http, 80) };
        assert_eq!(elsewhere.location(&came).as_deref(), location, "{host} {path}");
    }
    let named = redirect("host = 'x.test'");
    let location = named.location(&Came { host: "", ..came(Scheme::Http, 80) });
    assert_eq!(location.as_deref(), Some("http://x.test/v1/a?x=1&y=%2F"));
}

#[test]
fn an_answer_says_what_its_body_is() {
    let respond = |text: &str| Respond::compile(&toml::from_str(text).expect("good"));
    for (written, kind) in [
        ("status = 200\nbody = 'hello'", Some("text/plain; charset=utf-8")),
        (
            "status = 200\nbody = '{}'\nheaders = { Content-Type = 'application/json' }",
            Some("application/json"),
        ),
        ("status = 204", None),
        ("status = 503\nheaders = { retry-after = '3600' }", None),
    ] {
        let respond = respond(written);
        let found = respond.headers.iter().find(|(name, _)| *name == CONTENT_TYPE);
        assert_eq!(found.map(|(_, value)| value.to_str().expect("text")), kind, "{written}");
        assert_eq!(respond.has_length(), respond.status != 204);
    }
}
