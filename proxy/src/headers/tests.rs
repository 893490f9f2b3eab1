//! Heads on their way up and down.

use super::*;

fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
    request.insert_header("host", "shop.test").expect("a host");
    for (name, value) in fields {
        request.append_header(*name, *value).expect("a header");
    }
    request
}

fn forwarded(fields: &[(&'static str, &'static str)], trusted: bool) -> RequestHeader {
    sent_on(request(fields), trusted)
}

fn sent_on(mut request: RequestHeader, trusted: bool) -> RequestHeader {
    let ids = Ids::of((&request.headers).into(), &mut Entropy::new(1));
    let origin = Origin {
        peer: "192.0.2.1".parse().expect("an address"),
        trusted,
        version: http::Version::HTTP_11,
        scheme: "http",
        certificate: None,
    };
    forward(&mut request, origin, &ids).expect("good headers");
    request
}

fn value<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|v| v.to_str().expect("text"))
}

#[test]
fn an_untrusted_peers_words_are_replaced() {
    let got = forwarded(
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-client-cert", "Subject=\"CN=admin\""),
            ("forwarded", "for=6.6.6.6"),
        ],
        false,
    );
    for (name, expected) in [
        ("x-forwarded-for", Some("192.0.2.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("shop.test")),
        ("x-forwarded-port", None),
        ("x-real-ip", None),
        ("forwarded", Some("for=192.0.2.1;host=\"shop.test\";proto=http")),
        ("via", Some("1.1 tidegate")),
        ("host", Some("shop.test")),
    ] {
        assert_eq!(value(&got, name), expected, "{name}");
    }
}

#[test]
fn a_trusted_peers_words_are_kept() {
    let got = forwarded(
        &[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "www.test"),
            ("forwarded", "for=1.2.3.4"),
        ],
        true,
    );
    for (name, expected) in [
        ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "www.test"),
        ("forwarded", "for=1.2.3.4, for=192.0.2.1;host=\"shop.test\";proto=http"),
    ] {
        assert_eq!(value(&got, name), Some(expected), "{name}");
    }
    assert_eq!(value(&forwarded(&[], true), "forwarded"), None, "none is made where there was none");
}

#[test]
fn sound_ids_are_kept_and_others_made() {
    let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let got = forwarded(&[("traceparent", sound), ("tracestate", "a=b"), ("x-request-id", "abc-1")], false);
    assert_eq!(value(&got, "traceparent"), Some(sound));
    assert_eq!(value(&got, "tracestate"), Some("a=b"));
    assert_eq!(value(&got, "x-request-id"), Some("abc-1"));
    for bad in [
        "",
        "x",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        let got =
            forwarded(&[("traceparent", bad), ("tracestate", "a=b"), ("x-request-id", "with space")], false);
        let made = value(&got, "traceparent").expect("made");
        assert!(made != bad && is_traceparent(made.as_bytes()), "{made}");
        assert_eq!(value(&got, "tracestate"), None);
        assert_eq!(value(&got, "x-request-id").expect("made").len(), 32);
    }
}

#[test]
fn answers_lose_what_concerns_the_connection() {
    let mut answer = ResponseHeader::build(200, None).expect("an answer");
    for (name, value) in [
        ("connection", "close, X-Hop, content-length"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("trailer", "x"),
        ("content-length", "5"),
        ("x-end", "1"),
    ] {
        answer.append_header(name, value).expect("a header");
    }
    back(&mut answer).expect("good headers");
    for (name, there) in [
        ("x-hop", false),
        ("keep-alive", false),
        ("upgrade", false),
        ("trailer", false),
        ("content-length", true),
        ("x-end", true),
    ] {
        assert_eq!(answer.headers.contains_key(name), there, "{name}");
    }
}

#[test]
fn answers_without_a_body_have_nothing_to_frame_one() {
    for (status, length, coding) in
        [(103, false, false), (204, false, false), (304, true, false), (200, true, true), (205, true, true)]
    {
        let mut answer = ResponseHeader::build(status, None).expect("an answer");
        answer.append_header("content-length", "0").expect("a header");
        answer.append_header("transfer-encoding", "chunked").expect("a header");
        back(&mut answer).expect("good headers");
        let has = |name| answer.headers.contains_key(name);
        assert_eq!((has("content-length"), has("transfer-encoding")), (length, coding), "{status}");
    }
}

#[test]
fn max_forwards_counts_down_where_it_is_heeded() {
    for (method, value, left) in [
        ("OPTIONS", "5", Some("4")),
        ("TRACE", "1", Some("0")),
        ("TRACE", "0", Some("0")),
        ("GET", "5", Some("5")),
        ("OPTIONS", "x", Some("x")),
        ("OPTIONS", "+5", Some("+5")),
        ("OPTIONS", "99999999999999999999", Some("99999999999999999999")),
    ] {
        let mut request = RequestHeader::build(method, b"/", None).expect("a request");
        request.insert_header("max-forwards", value).expect("a header");
        let request = sent_on(request, false);
        assert_eq!(self::value(&request, "max-forwards"), left, "{method} {value}");
    }
}

#[test]
fn a_wish_to_close_is_seen_on_any_line() {
    for (lines, expected) in [
        (&["keep-alive"][..], false),
        (&["close"], true),
        (&["x, Close"], true),
        (&["x", "close"], true),
        (&["closed"], false),
        (&[], false),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| ("connection", *line)).collect();
        assert_eq!(asks_to_close(&request(&fields).headers), expected, "{lines:?}");
    }
}

#[test]
fn nothing_but_our_own_fields_is_changed() {
    let mut fields: Vec<(&'static str, &'static str)> = OWN.iter().map(|own| (own.as_str(), "1")).collect();
    fields.extend([
        ("accept", "*/*"),
        ("cookie", "a=b"),
        ("x-other", "1"),
        ("x-other", "2"),
        ("te", "trailers"),
    ]);
    for trusted in [false, true] {
        let (before, after) = (request(&fields), forwarded(&fields, trusted));
        for name in before.headers.keys().chain(after.headers.keys()).filter(|name| !OWN.contains(name)) {
            let values =
                |head: &RequestHeader| head.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!(values(&before), values(&after), "{name}");
        }
    }
}
