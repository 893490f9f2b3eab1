//! A route's `timeout` ends an exchange wherever it is stuck: in an upload, in connecting, between tries.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::upstream::black_hole;
use crate::harness::{Request, Scripted, Tidegate, config, eventually, within};

const LIMIT: Duration = Duration::from_millis(4500);

async fn attempts(tidegate: &Tidegate) -> Option<f64> {
    metric(&tidegate.api().metrics().await, "tidegate_attempts_total", &[("pool", "app")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_upload_that_the_upstream_does_not_read() {
    let upstream = Scripted::start(|wire| async move {
        let _held = wire;
        std::future::pending::<()>().await;
    })
    .await;
    let keys = "read_timeout = \"20s\"\nwrite_timeout = \"20s\"";
    let rest = config::one_pool_at(&[upstream.address()], keys, "timeout = \"1s\"");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    for length in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
        let (mut read, mut write) = TcpStream::connect(tidegate.web()).await.unwrap().into_split();
        let begun = Instant::now();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n");
        let sending = tokio::spawn(async move {
            let piece = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
            let mut sent = write.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = write.write_all(&piece).await;
            }
        });
        let mut answer = Vec::new();
        let whole = async { while matches!(read.read_buf(&mut answer).await, Ok(1..)) {} };
        within(LIMIT, "the answer and the end of the connection", whole).await;
        sending.abort();
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with("HTTP/1.1 504"), "{length}: {text}");
        assert!(took >= Duration::from_millis(900) && took < Duration::from_millis(2500), "after {took:?}");
    }
    let charged = eventually("the upstream is charged", async || {
        let text = tidegate.api().metrics().await;
        let count = metric(&text, "tidegate_failures_total", &[("pool", "app"), ("reason", "timeout")]);
        (count == Some(2.0)).then_some(())
    });
    within(LIMIT, "the upstream is charged", charged).await;
}

#[tokio::test]
async fn of_connecting() {
    let (one, _held_by_one, _listener_of_one) = black_hole().await;
    let (two, _held_by_two, _listener_of_two) = black_hole().await;
    let retry = "retry = { attempts = 3, on = [\"connect\", \"timeout\"], budget_percent = 100 }";
    let route = format!("timeout = \"600ms\"\n{retry}");
    let rest = config::one_pool_at(&[one, two], "connect_timeout = \"5s\"", &route);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let begun = Instant::now();
    let answer = ask(tidegate.web(), &Request::get("/")).await;
    let took = begun.elapsed();
    assert_eq!((answer.status, answer.header("x-tidegate-error")), (504, Some("upstream_timeout")));
    assert!(took >= Duration::from_millis(550) && took < Duration::from_millis(1800), "after {took:?}");
    assert_eq!(attempts(&tidegate).await, Some(1.0), "the first took all the time there was");
}

#[tokio::test]
async fn of_connecting_again_and_again() {
    let (address, _held, _listener) = black_hole().await;
    let retry = "retry = { attempts = 10, on = [\"connect\", \"timeout\"], budget_percent = 100 }";
    let route = format!("timeout = \"700ms\"\n{retry}");
    let rest = config::one_pool_at(&[address], "connect_timeout = \"300ms\"", &route);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let begun = Instant::now();
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 504);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(550) && took < Duration::from_secs(2), "after {took:?}");
    let tried = attempts(&tidegate).await.unwrap();
    assert!((2.0..=3.0).contains(&tried), "{tried} tries of 300 ms in 700 ms");
}
