//! Upstreams that are neither dead nor well: they flap, hang up early, answer too soon or too late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::harness::client::{ask, raw};
use crate::harness::logs::field;
use crate::harness::scripted::until_closed;
use crate::harness::wire::Wire;
use crate::harness::{Client, Request, Scripted, Tidegate, Upstream, config, eventually};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn before(upstream: &Scripted, pool: &str, route: &str) -> Tidegate {
    Tidegate::start(&config::with(&config::one_pool_at(&[upstream.address()], pool, route))).await
}

/// Answers requests one by one, whatever they are.
async fn serve(mut wire: Wire, answer: &[u8]) {
    while wire.head().await.is_ok_and(|head| head.is_some()) {
        if wire.write(answer).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn health_that_changes_with_each_check_changes_nothing() {
    let checks = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&checks);
    let upstream = Scripted::start(move |mut wire| {
        let checks = Arc::clone(&counted);
        async move {
            while let Ok(Some(_)) = wire.head().await {
                let number = {
                    let mut checks = checks.lock();
                    *checks += 1;
                    *checks
                };
                let status = if number % 2 == 1 { 200 } else { 503 };
                let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
                if wire.write(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let tidegate = before(&upstream, config::QUICK_HEALTH, "").await;
    eventually("thirty checks", async || (*checks.lock() >= 30).then_some(())).await;
    assert_eq!(tidegate.api().endpoint("app", upstream.address()).await["state"], "up");
    let changes = tidegate.out.json().into_iter().filter(|line| {
        field(line, "message").as_str().is_some_and(|message| message.starts_with("endpoint "))
    });
    assert_eq!(changes.count(), 1, "the first check, and nothing after it");
}

#[tokio::test]
async fn a_pool_that_is_down_says_so_at_once() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    canary.set_healthy(false);
    let rest = config::canary_rest(&[&stable], &[&canary], [0, 1], config::QUICK_HEALTH, "fallback = []");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let api = tidegate.api();
    eventually("it is down", async || {
        (api.endpoint("canary", canary.address()).await["state"] == "down").then_some(())
    })
    .await;
    let mut client = Client::new(tidegate.web());
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let answer = client.ask(&Request::get("/")).await;
        quickest = quickest.min(begun.elapsed());
        assert_eq!((answer.status, answer.header("x-tidegate-error")), (503, Some("no_endpoint")));
    }
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
    assert_eq!((stable.requests(), canary.requests()), (0, 0));
}

/// The upstream hangs up on idle connections; ours are given up before that.
#[tokio::test]
async fn connections_that_are_given_up_first_lose_no_post() {
    const HANGS_UP_AFTER: Duration = Duration::from_millis(600);
    let upstream = Scripted::start(|mut wire| async move {
        while let Ok(Ok(Some(_))) = tokio::time::timeout(HANGS_UP_AFTER, wire.head()).await {
            if wire.write(OK).await.is_err() {
                return;
            }
        }
    })
    .await;
    let tidegate = before(&upstream, "idle_timeout = \"300ms\"", "retry = { attempts = 0 }").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..6 {
        assert_eq!(client.ask(&Request::post("/", b"")).await.status, 200);
        // The pause is what is tested.
        tokio::time::sleep(HANGS_UP_AFTER).await;
    }
    assert_eq!(upstream.connections(), 6);
}

#[tokio::test]
async fn an_answer_before_the_whole_request_is_passed_on_and_its_connection_not_used_again() {
    let upstream = Scripted::start(|mut wire| async move {
        // It answers at once, and keeps the connection open for the rest of the body.
        if wire.head().await.is_ok_and(|head| head.is_some()) && wire.write(OK).await.is_ok() {
            until_closed(&mut wire).await;
        }
    })
    .await;
    let tidegate = before(&upstream, "", "retry = { attempts = 0 }").await;
    for number in 1..=3 {
        let unfinished = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na";
        let answer = raw(tidegate.web(), unfinished, Duration::from_secs(3)).await;
        assert_eq!(answer.status(), 200, "{:?}", String::from_utf8_lossy(&answer.bytes));
        assert_eq!(upstream.connections(), number);
    }
    eventually("the uploads are over", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_failure_with_retry_after_passes_as_it_is() {
    let upstream = Scripted::start(|wire| {
        serve(wire, b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy")
    })
    .await;
    let tidegate = before(&upstream, "", "").await;
    let answer = ask(tidegate.web(), &Request::get("/")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after"), answer.text().as_str()),
        (503, Some("7"), "busy")
    );
    assert_eq!(answer.header("x-tidegate-error"), None);
    assert_eq!(upstream.connections(), 1, "it was not repeated");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_reaches_nobody() {
    let upstream = Scripted::start(|mut wire| async move {
        while let Ok(Some(head)) = wire.head().await {
            let is_slow = head.first.contains("/slow");
            let body = if is_slow { "late" } else { "soon" };
            if is_slow {
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{body}");
            if wire.write(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let tidegate = before(&upstream, "read_timeout = \"300ms\"", "retry = { attempts = 0 }").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..3 {
        assert_eq!(client.ask(&Request::get("/soon")).await.text(), "soon");
        assert_eq!(client.ask(&Request::get("/slow")).await.status, 504);
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            assert_eq!(client.ask(&Request::get("/soon")).await.text(), "soon");
        }
    }
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_sent_once() {
    let upstream = Upstream::start("app").await;
    upstream.behave("reset");
    let route = "retry = { attempts = 3, on = [\"reset\"], budget_percent = 100 }";
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", route)).await;
    for (size, tries) in [(60_000, 4), (70_000, 1)] {
        upstream.forget();
        let put = Request { body: vec![b'x'; size], ..Request::new("PUT", "/") };
        let answer = ask(tidegate.web(), &put).await;
        assert_eq!((answer.status, upstream.requests()), (502, tries), "{size} bytes");
    }
}
