//! Requests that must not be believed: refused, the connection closed, nothing sent to an upstream.

use std::time::Duration;

use crate::harness::client::{ask, raw};
use crate::harness::{Request, Tidegate, Upstream, config};

const LIMIT: Duration = Duration::from_secs(10);

/// Send these bytes; the answer must have that status and a closed connection, and no upstream may see it.
async fn refused(requests: &[(&str, Vec<u8>)], statuses: &[u16]) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let mut wrong = Vec::new();
    for (what, bytes) in requests {
        let answer = raw(tidegate.web(), bytes, LIMIT).await;
        if !statuses.contains(&answer.status()) || !answer.closed || upstream.requests() > 0 {
            let (status, closed, reached) = (answer.status(), answer.closed, upstream.requests());
            wrong.push(format!("{what}: {status}, closed {closed}, {reached} requests reached an upstream"));
        }
        let control = ask(tidegate.web(), &Request::get("/")).await;
        assert_eq!(control.status, 200, "after {what}");
        upstream.forget();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn cases(requests: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<u8>)> {
    requests.iter().map(|(what, text)| (*what, text.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn ambiguous_framing() {
    let requests = cases(&[
        (
            "CL and TE",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE and CL",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ),
        ("two CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("CL with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
        ("negative CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        ("CL beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        (
            "TE not last chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE twice chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        ("TE of HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "TE with a space before the colon",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ),
    ]);
    refused(&requests, &[400, 501]).await;
}

#[tokio::test]
async fn invalid_headers_and_hosts() {
    let requests = cases(&[
        ("no Host", "GET / HTTP/1.1\r\nUser-Agent: x\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("a list of Hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("Host with a path", "GET / HTTP/1.1\r\nHost: a/x\r\n\r\n"),
        ("Host with a user", "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n"),
        ("Host with a bad port", "GET / HTTP/1.1\r\nHost: a:12ab\r\n\r\n"),
        ("header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
        ("space in a name", "GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n"),
        ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
        ("folded line", "GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n 2\r\n\r\n"),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nx: 1\x002\r\n\r\n"),
        ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nx: 1\r2\r\n\r\n"),
    ]);
    refused(&requests, &[400]).await;
}

#[tokio::test]
async fn invalid_request_lines() {
    let requests = cases(&[
        ("no version", "GET /\r\nHost: a\r\n\r\n"),
        ("unknown version", "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        ("target without a slash", "GET admin HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("control character in the target", "GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("method with a slash", "G/T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("not HTTP", "hello\r\n\r\n"),
    ]);
    refused(&requests, &[400, 405, 505]).await;
}

#[tokio::test]
async fn bad_first_chunks() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies = [
        ("size not hexadecimal", "xyz\r\nhello\r\n0\r\n\r\n"),
        ("negative size", "-1\r\nhello\r\n0\r\n\r\n"),
        ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("size beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ];
    let requests: Vec<_> =
        bodies.iter().map(|(what, body)| (*what, format!("{head}{body}").into_bytes())).collect();
    refused(&requests, &[400]).await;
}

#[tokio::test]
async fn a_bad_later_chunk_is_never_a_whole_request() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n";
    let answer = raw(tidegate.web(), bytes, LIMIT).await;
    assert!(answer.closed && matches!(answer.status(), 0 | 400 | 502), "{}", answer.status());
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let large = "x".repeat(1024 * 1024);
    let many: String = (0..20_000)
        .flat_map(|n| ["x-".to_owned(), n.to_string(), ": a-value-of-some-length\r\n".to_owned()])
        .collect();
    let requests = cases(&[
        ("a header of 1 MiB", &format!("GET / HTTP/1.1\r\nHost: a\r\nx: {large}\r\n\r\n")),
        ("headers of 1 MiB", &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        ("a header of 70 KB", &format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", &large[..70_000])),
    ]);
    refused(&requests, &[400, 431]).await;
}

#[tokio::test]
async fn after_a_refused_request_nothing_more_of_the_connection_is_read() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "")).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let answer = raw(tidegate.web(), text.as_bytes(), LIMIT).await;
    assert!(answer.closed);
    assert_eq!(String::from_utf8_lossy(&answer.bytes).matches("HTTP/1.1 ").count(), 1);
    assert_eq!(upstream.requests(), 0);
}
