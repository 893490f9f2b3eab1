//! A request's head as HTTP/2 has it, checked and put into the form that HTTP/1.1 has.
//!
//! The `h2` crate has refused what RFC 9113 calls malformed: wrong, doubled or late pseudo-headers, fields
//! of a connection, names in upper case. Here is what is left, held to the rules of
//! HTTP/1.1's, so that a request means the same whatever it came by: `:authority` becomes
//! `Host`, the target is a path, cookies are one line. Next: [`super::stream`].

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method};
use pingora_http::RequestHeader;
use tidegate_core::http1::head::{self, MAX_FIELDS, Refused, bad};

use crate::listen::exchange::Exchange;

/// Checks a head. What comes behind a `#` in its path is gone by now, so whether there was one is told.
pub(super) fn check(
    mut parts: Parts,
    has_fragment: bool,
    exchange: &Exchange,
) -> Result<RequestHeader, Refused> {
    if has_fragment {
        return Err(bad("the request target has a fragment"));
    }
    if parts.headers.len() > MAX_FIELDS {
        return Err(Refused { status: 431, why: "the request has too many header fields" });
    }
    head::check_method(parts.method.as_str())?;
    check_scheme(parts.uri.scheme_str(), exchange)?;
    let target = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if !(target.as_str().starts_with('/') || (target.as_str() == "*" && parts.method == Method::OPTIONS)) {
        return Err(bad("the request target is not a path"));
    }
    head::check_target(parts.method.as_str(), target.as_str())?;
    let host = host(&parts)?;
    check_length(&parts.headers)?;
    join_cookies(&mut parts.headers);
    parts.headers.insert(HOST, host);
    parts.uri = Uri::from(target);
    Ok(RequestHeader::from(parts))
}

/// Whoever asks for `http` over TLS was answered for another server. The other way round is what a proxy
/// does that ends TLS in front.
fn check_scheme(scheme: Option<&str>, exchange: &Exchange) -> Result<(), Refused> {
    match (scheme, exchange.scheme()) {
        // `h2` has seen to it that there is one, but tells it only beside an authority.
        (None | Some("https"), _) | (Some("http"), "http") => Ok(()),
        _ => Err(bad("the request's scheme is not that of the connection")),
    }
}

/// The one host that the request is for.
fn host(parts: &Parts) -> Result<HeaderValue, Refused> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (field, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(bad("the request has more than one Host"));
    }
    let field = field.map(|value| value.to_str().map_err(|_| bad("the Host is malformed"))).transpose()?;
    let host = match (parts.uri.authority().map(http::uri::Authority::as_str), field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(bad("the Host differs from the request's authority"));
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(bad("the request has no authority")),
    };
    if host.is_empty() || !head::is_host(host) {
        return Err(bad("the request's authority is malformed"));
    }
    HeaderValue::from_str(host).map_err(|_| bad("the request's authority is malformed"))
}

fn check_length(headers: &HeaderMap) -> Result<(), Refused> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (length, another) = (lengths.next(), lengths.next());
    let is_number = length.is_none_or(|value| head::parse_length(value.as_bytes()).is_some());
    if is_number && another.is_none() { Ok(()) } else { Err(bad("the Content-Length is not a number")) }
}

/// A client may send each cookie by itself; one line is what everybody else reads (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<RequestHeader, u16> {
        let request = build(http::Request::builder()).body(()).expect("a request");
        check(request.into_parts().0, false, &Exchange::of_nobody()).map_err(|refused| refused.status)
    }

    #[test]
    fn a_good_head_looks_like_one_of_http_1() {
        let head =
            checked(|r| r.uri("http://shop.test:8080/a?b=c").header("cookie", "a=1").header("cookie", "b=2"));
        let head = head.expect("a good head");
        assert_eq!(head.headers["host"], "shop.test:8080");
        assert_eq!(head.headers["cookie"], "a=1; b=2");
        assert_eq!(head.raw_path(), b"/a?b=c");
        assert!(head.uri.authority().is_none());
        assert_eq!(
            checked(|r| r.uri("http://shop.test").method("OPTIONS")).map(|h| h.raw_path().to_vec()),
            Ok(b"/".to_vec())
        );
    }

    #[test]
    fn what_two_could_read_in_two_ways_is_refused() {
        let uri = "http://shop.test/";
        for (name, refused) in [
            ("another host", checked(|r| r.uri(uri).header("host", "other.test"))),
            ("two hosts", checked(|r| r.uri(uri).header("host", "shop.test").header("host", "shop.test"))),
            ("no host", checked(|r| r.uri("/"))),
            ("a user", checked(|r| r.uri("http://me@shop.test/"))),
            (
                "two lengths",
                checked(|r| r.uri(uri).header("content-length", "1").header("content-length", "1")),
            ),
            ("no length", checked(|r| r.uri(uri).header("content-length", "+1"))),
            ("another scheme", checked(|r| r.uri("ftp://shop.test/"))),
            ("a bad target", checked(|r| r.uri("http://shop.test/{a}"))),
        ] {
            assert_eq!(refused.map(|_| ()), Err(400), "{name}");
        }
        assert_eq!(checked(|r| r.uri(uri).method("CONNECT")).map(|_| ()), Err(405));
    }
}
