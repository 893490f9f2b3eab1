//! What has come of a body with a length is passed on at once, whether or not the rest comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::client::{raw, status};
use crate::harness::scripted::{head, until_closed};
use crate::harness::wire::{Framing, Wire, pattern};
use crate::harness::{Scripted, Tidegate, Upstream, config, within};

const LIMIT: Duration = Duration::from_secs(4);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";

#[tokio::test]
async fn head_and_first_bytes_come_before_the_rest() {
    let (head_seen, hello_seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (after_head, after_hello) = (Arc::clone(&head_seen), Arc::clone(&hello_seen));
    let upstream = Scripted::start(move |mut wire| {
        let (after_head, after_hello) = (Arc::clone(&after_head), Arc::clone(&after_hello));
        async move {
            if head(&mut wire).await {
                let _ = wire.write(HEAD).await;
                after_head.notified().await;
                let _ = wire.write(b"hello").await;
                after_hello.notified().await;
                let _ = wire.write(b"world").await;
                until_closed(&mut wire).await;
            }
        }
    })
    .await;
    let rest = config::one_pool_at(&[upstream.address()], "", "");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = within(LIMIT, "the head", wire.head()).await.unwrap().unwrap();
    assert_eq!((status(&head), head.framing()), (200, Some(Framing::Length(10))));
    for (seen, piece) in [(head_seen, b"hello"), (hello_seen, b"world")] {
        seen.notify_one();
        let mut got = Vec::new();
        while got.len() < 5 {
            let more = within(LIMIT, "the next piece", wire.some(5 - got.len())).await.unwrap();
            assert!(!more.is_empty(), "cut after {got:?}");
            got.extend_from_slice(&more);
        }
        assert_eq!(got, piece);
    }
}

/// A head and so many bytes of the body, and then the end.
async fn cut(tidegate: &Tidegate, target: &str, body: &[u8]) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = raw(tidegate.web(), request.as_bytes(), LIMIT).await;
    assert_eq!((answer.status(), answer.closed), (200, true), "{target}");
    let at = answer.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    assert!(answer.bytes[at + 4..] == *body, "{target}: {} bytes", answer.bytes.len() - at - 4);
}

#[tokio::test]
async fn what_came_before_the_upstream_closed_arrives() {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "retry = { attempts = 0 }")).await;
    for _ in 0..5 {
        cut(&tidegate, "/?do=truncate", &pattern(0, 1000)).await;
    }
    let slow = Scripted::start(|mut wire| async move {
        if head(&mut wire).await {
            let _ = wire.write(HEAD).await;
            let _ = wire.write(b"hello").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let rest = config::one_pool_at(&[slow.address()], "", "retry = { attempts = 0 }");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    cut(&tidegate, "/", b"hello").await;
}
