//! Bodies pass as they come, byte for byte, and a body that was cut never looks whole.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::client::{ask, status, sum};
use crate::harness::wire::{Sum, Wire, chunk, pattern};
use crate::harness::{Client, Fail, Request, Scripted, Tidegate, Upstream, config, scripted, within};

const SIZE: usize = 20_000_000;
const LIMIT: Duration = Duration::from_secs(15);

async fn start() -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", "retry = { attempts = 0 }")).await;
    (upstream, tidegate)
}

#[tokio::test]
async fn the_first_bytes_of_an_answer_pass_before_its_end() {
    let (upstream, tidegate) = start().await;
    let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    wire.write(b"GET /?do=stream:3:1000 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = within(LIMIT, "the head", wire.head()).await.unwrap().unwrap();
    assert_eq!(status(&head), 200);
    let first = within(LIMIT, "the first piece", wire.chunk()).await.unwrap().unwrap();
    assert_eq!((&first[..], upstream.active()), (&b"piece 0\n"[..], 1), "the upstream is not done yet");
    let mut rest = Vec::new();
    while let Some(piece) = within(LIMIT, "the next piece", wire.chunk()).await.unwrap() {
        rest.extend_from_slice(&piece);
    }
    assert_eq!(rest, b"piece 1\npiece 2\n");
}

#[tokio::test]
async fn the_first_bytes_of_a_request_pass_before_its_end() {
    let (_upstream, tidegate) = start().await;
    let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    let head = b"POST /?do=reflect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    wire.write(head).await.unwrap();
    for number in 0..5 {
        let piece = format!("ping {number}");
        wire.write(&chunk(piece.as_bytes())).await.unwrap();
        if number == 0 {
            let head = within(LIMIT, "the head", wire.head()).await.unwrap().unwrap();
            assert_eq!(status(&head), 200);
        }
        let back = within(LIMIT, "the piece comes back", wire.chunk()).await.unwrap().unwrap();
        assert_eq!(&back[..], piece.as_bytes());
    }
    wire.write(b"0\r\n\r\n").await.unwrap();
    assert!(within(LIMIT, "the end", wire.chunk()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_are_the_same_on_the_other_side() {
    let (_upstream, tidegate) = start().await;
    let body = pattern(0, SIZE);
    let sum_of_all = sum(&body);
    let mut client = Client::new(tidegate.web());
    for act in ["bytes", "chunked"] {
        let answer = client.ask(&Request::get(&format!("/?do={act}:{SIZE}"))).await;
        assert_eq!((answer.body.len(), sum(&answer.body)), (SIZE, sum_of_all.clone()), "{act}");
    }
    let answer = client.ask(&Request::post("/?do=echo", &body)).await.json();
    assert_eq!(
        (answer["body_bytes"].as_u64(), answer["body_sum"].as_str()),
        (Some(SIZE as u64), Some(&*sum_of_all))
    );
    let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    let head = b"PUT /?do=echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    wire.write(head).await.unwrap();
    // Of many sizes, so that no boundary is a lucky one.
    let mut sent = 0;
    while sent < SIZE {
        let end = (sent + 1 + (sent * 7919) % 150_000).min(SIZE);
        wire.write(&chunk(&body[sent..end])).await.unwrap();
        sent = end;
    }
    wire.write(b"0\r\n\r\n").await.unwrap();
    let head = within(LIMIT, "the head", wire.head()).await.unwrap().unwrap();
    let mut text = Vec::new();
    wire.body(head.framing().unwrap(), |piece| text.extend_from_slice(piece)).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (answer["body_bytes"].as_u64(), answer["body_sum"].as_str()),
        (Some(SIZE as u64), Some(&*sum_of_all))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let (_upstream, tidegate) = start().await;
    let mut slow = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    slow.write(format!("GET /?do=bytes:{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    slow.head().await.unwrap().unwrap();
    let (mut got, mut sum_of_all) = (0, Sum::default());
    while got < SIZE {
        if got < 2_000_000 {
            assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let piece = slow.some(64 * 1024).await.unwrap();
        assert!(!piece.is_empty(), "cut at {got}");
        got += piece.len();
        sum_of_all.add(&piece);
    }
    assert_eq!(sum_of_all.0.to_string(), sum(&pattern(0, SIZE)));
}

#[tokio::test]
async fn a_body_that_the_upstream_cut_does_not_end_well() {
    let (_upstream, tidegate) = start().await;
    let mut client = Client::new(tidegate.web());
    for act in ["truncate", "truncate-chunked", "reset-mid"] {
        let answer = client.send(&Request::get(&format!("/?do={act}"))).await;
        let is_error = match &answer {
            Ok(answer) => answer.status == 502,
            // A head that was not flushed yet may be lost with the rest: an error all the same.
            Err(fail) => matches!(fail, Fail::Cut(_) | Fail::Lost(_)),
        };
        assert!(is_error, "{act}: {answer:?}");
    }
    assert_eq!(client.ask(&Request::get("/")).await.status, 200);
}

/// An upload that an upstream has refused and does not read fills all buffers on the way; the answer passes.
#[tokio::test]
async fn an_answer_to_an_upload_that_nobody_reads_is_passed_on() {
    const SIZE: usize = 32 << 20;
    let upstream = Scripted::start(|mut wire| async move {
        scripted::head(&mut wire).await;
        wire.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let rest = config::one_pool_at(&[upstream.address()], "", "");
    // pingora waits until the upload is taken: the lane's own.
    let tidegate = Tidegate::start(&config::with(&format!("[server]\nexpress = true\n\n{rest}"))).await;
    let mut stream = TcpStream::connect(tidegate.web()).await.unwrap();
    let (reading, mut writing) = stream.split();
    let uploading = async {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
        // The connection ends before all of it is taken.
        let _ = writing.write_all(&[head.as_bytes(), &vec![b'x'; SIZE]].concat()).await;
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let mut reading = reading.take(200);
    tokio::select! {
        () = uploading => {}
        read = within(LIMIT, "an answer", reading.read_to_end(&mut answer)) => drop(read.unwrap()),
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("\r\n\r\nno"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn an_early_answer_is_passed_on() {
    let (_upstream, tidegate) = start().await;
    let mut wire = Wire::new(TcpStream::connect(tidegate.web()).await.unwrap());
    wire.write(b"POST /?do=early:413 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst")
        .await
        .unwrap();
    let head =
        within(LIMIT, "the answer, though the body is not complete", wire.head()).await.unwrap().unwrap();
    assert_eq!(status(&head), 413);
}
