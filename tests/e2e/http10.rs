//! An HTTP/1.0 client gets what HTTP/1.0 knows: no chunks, no interim answers, an end that it can see.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::client::{Raw, raw};
use crate::harness::scripted::{head, until_closed};
use crate::harness::wire::pattern;
use crate::harness::{Scripted, Tidegate, Upstream, config};

const LIMIT: Duration = Duration::from_secs(4);

async fn start(address: SocketAddr) -> Tidegate {
    Tidegate::start(&config::with(&config::one_pool_at(&[address], "", ""))).await
}

async fn ask(tidegate: &Tidegate, target: &str, headers: &str) -> Raw {
    raw(tidegate.web(), format!("GET {target} HTTP/1.0\r\nHost: a\r\n{headers}\r\n").as_bytes(), LIMIT).await
}

/// One answer with this body and nothing of HTTP/1.1, ended by the end of the connection.
#[track_caller]
fn assert_plain(answer: &Raw, body: &[u8], what: &str) {
    let at = answer.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer.bytes[..at]).to_ascii_lowercase();
    assert_eq!(answer.status(), 200, "{what}: {head}");
    assert!(!head.contains("transfer-encoding"), "{what}: {head}");
    assert!(!head.contains("keep-alive"), "{what}: {head}");
    assert!(
        answer.bytes[at + 4..] == *body,
        "{what}: {} bytes instead of {}",
        answer.bytes.len() - at - 4,
        body.len()
    );
    assert!(answer.closed, "{what}: still open");
}

#[tokio::test]
async fn of_a_body_in_chunks() {
    let upstream = Upstream::start("app").await;
    let tidegate = start(upstream.address()).await;
    for headers in ["", "Connection: keep-alive\r\n"] {
        for size in [0, 1, 1000, 300_000] {
            let answer = ask(&tidegate, &format!("/?do=chunked:{size}"), headers).await;
            assert_plain(&answer, &pattern(0, size), &format!("{size} {headers:?}"));
        }
    }
    let answer = ask(&tidegate, "/?do=stream:3:100", "").await;
    assert_plain(&answer, b"piece 0\npiece 1\npiece 2\n", "a stream");
    assert_eq!(upstream.connections(), 1, "the upstream's side was kept");
}

#[tokio::test]
async fn of_a_body_that_ends_with_its_connection() {
    for version in ["1.0", "1.1"] {
        let upstream = Scripted::start(move |mut wire| async move {
            if head(&mut wire).await {
                let _ = wire.write(format!("HTTP/{version} 200 OK\r\n\r\n").as_bytes()).await;
                let _ = wire.write(&pattern(0, 100_000)).await;
            }
        })
        .await;
        let tidegate = start(upstream.address()).await;
        for headers in ["", "Connection: keep-alive\r\n"] {
            assert_plain(&ask(&tidegate, "/", headers).await, &pattern(0, 100_000), headers);
        }
    }
}

#[tokio::test]
async fn of_an_answer_with_an_interim_one_before() {
    let upstream = Scripted::start(|mut wire| async move {
        if head(&mut wire).await {
            let _ = wire.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
            let _ = wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            let _ = wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
            until_closed(&mut wire).await;
        }
    })
    .await;
    let tidegate = start(upstream.address()).await;
    assert_plain(&ask(&tidegate, "/", "").await, b"ok", "without the interim ones");
    assert_plain(&ask(&tidegate, "/", "Expect: 100-continue\r\n").await, b"ok", "even where it asks");
}
