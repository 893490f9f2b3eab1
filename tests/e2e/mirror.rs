//! Copies of requests for other pools: the very request, never at the cost of the original.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::harness::api::metric;
use crate::harness::client::sum;
use crate::harness::upstream::{black_hole, refusing};
use crate::harness::wire::{Framing, Head, Wire, pattern};
use crate::harness::{Client, Request, Scripted, Tidegate, Upstream, config, eventually};

/// A longer body is left out of a copy.
const LIMIT: usize = 1 << 20;

/// A request as it came: its head and its body.
type Seen = Arc<Mutex<Vec<(Head, Vec<u8>)>>>;

/// An upstream that answers everything with an empty 200, and keeps what it was asked.
async fn keeper() -> (Scripted, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let keep = move |mut wire: Wire| {
        let kept = Arc::clone(&kept);
        async move {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Vec::new();
                let framing = head.framing().unwrap_or(Framing::Length(0));
                if wire.body(framing, |piece| body.extend_from_slice(piece)).await.is_err() {
                    return;
                }
                kept.lock().push((head, body));
                let _ = wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    };
    (Scripted::start(keep).await, seen)
}

/// What it has seen, once it has seen so many.
async fn has_seen(seen: &Seen, count: usize) -> Vec<(Head, Vec<u8>)> {
    let all = async || {
        let seen = seen.lock();
        (seen.len() >= count).then(|| seen.clone())
    };
    eventually(&format!("{count} requests"), all).await
}

/// Headers without regard to case and order, but for those of a copy.
fn headers(head: &Head) -> Vec<String> {
    let all = head.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()));
    let mut own: Vec<String> = all.filter(|line| !line.starts_with("x-tidegate-mirror")).collect();
    own.sort();
    own
}

async fn count(tidegate: &Tidegate, outcome: &str) -> usize {
    let text = tidegate.api().metrics().await;
    let count = metric(&text, "tidegate_mirrored_total", &[("pool", "shadow"), ("outcome", outcome)]);
    format!("{}", count.unwrap_or(0.0)).parse().unwrap()
}

#[tokio::test]
async fn a_copy_is_what_the_first_try_sends() {
    let ((app, originals), (shadow, copies)) = (keeper().await, keeper().await);
    let route = "matches = [{ path = { prefix = \"/a\" } }]\n\
                 rewrite = { host = \"inner.test\", path = { prefix = \"/b\" } }\n\
                 request_headers = { set = { x-mark = \"1\" }, add = { x-many = [\"c\", \"d\"] } }\n\
                 mirror = [{ pool = \"shadow\" }]";
    let pools = config::pool_at("shadow", &[shadow.address()], "");
    let rest = pools + &config::one_pool_at(&[app.address()], "", route);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    let requests = [
        Request::get("/a/x%2Fy?q=%20"),
        Request::get("/a").header("x-many", "b").header("cookie", "uid=1; a=\"b\""),
        Request::new("DELETE", "/a/../a/z"),
        Request::post("/a", b""),
        Request::post("/a/one", b"x"),
        Request::post("/a/large", &pattern(0, 700_000)),
        Request::new("PUT", "/a/whole"),
    ];
    for (number, request) in (1..).zip(&requests) {
        assert_eq!(client.ask(request).await.status, 200);
        let (originals, copies) = (has_seen(&originals, number).await, has_seen(&copies, number).await);
        let ((original, body), (copy, repeated)) = (&originals[number - 1], &copies[number - 1]);
        assert_eq!(copy.first, original.first);
        assert_eq!(headers(copy), headers(original), "{}", copy.first);
        assert_eq!((repeated.len(), sum(repeated)), (body.len(), sum(body)), "{}", copy.first);
        assert_eq!(
            (copy.header("x-tidegate-mirror"), original.header("x-tidegate-mirror")),
            (Some("1"), None)
        );
        assert_eq!(copy.header("x-tidegate-mirror-body"), None);
    }
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    crate::harness::client::raw(tidegate.web(), chunked.as_bytes(), crate::harness::PATIENCE).await;
    let (_, body) = has_seen(&copies, requests.len() + 1).await.pop().unwrap();
    assert_eq!(body, b"abcdefg");
    client.ask(&Request::get("/a").header("x-tidegate-mirror", "1")).await;
    client.ask(&Request::get("/a/last")).await;
    let last = has_seen(&copies, requests.len() + 2).await.pop().unwrap().0;
    assert!(last.first.contains("/b/last"), "a copy is not copied again: {}", last.first);
    eventually("they are counted", async || {
        (count(&tidegate, "ok").await == requests.len() + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_left_out() {
    let ((app, originals), (shadow, copies)) = (keeper().await, keeper().await);
    let pools = config::pool_at("shadow", &[shadow.address()], "");
    let rest = pools + &config::one_pool_at(&[app.address()], "", "mirror = [{ pool = \"shadow\" }]");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    let told = |size: usize| Request::post("/", &pattern(0, size));
    let mut untold = Vec::new();
    for size in [LIMIT, LIMIT + 1] {
        let mut request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n")
                .into_bytes();
        request.extend_from_slice(&pattern(0, size));
        request.extend_from_slice(b"\r\n0\r\n\r\n");
        untold.push(request);
    }
    for (size, copied) in [(LIMIT, LIMIT), (LIMIT + 1, 0), (3 * LIMIT, 0)] {
        let number = copies.lock().len() + 1;
        assert_eq!(client.ask(&told(size)).await.status, 200);
        let (_, original) = has_seen(&originals, number).await.pop().unwrap();
        let (copy, body) = has_seen(&copies, number).await.pop().unwrap();
        assert_eq!((original.len(), body.len(), sum(&body)), (size, copied, sum(&pattern(0, copied))));
        assert_eq!(copy.header("x-tidegate-mirror-body"), (copied == 0).then_some("none"));
    }
    for (request, copied) in untold.iter().zip([LIMIT, 0]) {
        let number = copies.lock().len() + 1;
        let web = tidegate.web();
        let (sent, copy) = tokio::join!(
            crate::harness::client::raw(web, request, Duration::from_secs(2)),
            has_seen(&copies, number)
        );
        assert_eq!(sent.status(), 200);
        assert_eq!(copy.last().unwrap().1.len(), copied, "a body of unknown length");
    }
}

#[tokio::test]
async fn percents_are_met_each_mirror_for_itself() {
    const REQUESTS: usize = 3_000;
    let app = Upstream::start("app").await;
    let (all, some, none) =
        (Upstream::start("all").await, Upstream::start("some").await, Upstream::start("none").await);
    let pools = config::pool("all", &[&all], "") + &config::pool("shadow", &[&some], "");
    let pools = pools + &config::pool("none", &[&none], "");
    let mirrors = "mirror = [{ pool = \"all\", percent = 100 }, { pool = \"shadow\", percent = 12.5 }, \
                   { pool = \"none\", percent = 0 }]";
    let rest = pools + &config::one_pool_rest(&[&app], "", mirrors);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..REQUESTS {
        assert_eq!(client.ask(&Request::get("/")).await.upstream(), "app");
    }
    eventually("every copy is there", async || (all.requests() == REQUESTS).then_some(())).await;
    let expected = REQUESTS as f64 * 0.125;
    let (got, bound) = (some.requests() as f64, 5.0 * (expected * 0.875).sqrt());
    println!("12.5 % of {REQUESTS}: {got}");
    assert!((got - expected).abs() <= bound, "{got} instead of {expected}");
    assert_eq!((none.requests(), app.requests()), (0, REQUESTS));
}

#[tokio::test]
async fn retries_are_not_copied_and_copies_are_not_counted() {
    let down = refusing().await;
    let (app, shadow) = (Upstream::start("app").await, Upstream::start("shadow").await);
    shadow.behave("status:500");
    let eject = "eject = { consecutive_failures = 2, base = \"60s\", max_percent = 100 }";
    let pools = config::pool_at("shadow", &[shadow.address(), down], eject);
    let route = "mirror = [{ pool = \"shadow\" }]\nretry = { attempts = 2, on = [\"connect\", \"5xx\"], budget_percent = 100 }";
    let rest = pools + &config::one_pool_at(&[down, app.address()], "", route);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..60 {
        client.ask(&Request::get("/")).await;
    }
    // Tried three times each, at both endpoints in turn, and none does well.
    for _ in 0..20 {
        assert!(client.ask(&Request::get("/?do=status:503")).await.status >= 502);
    }
    let told = async || {
        let (answered, failed) = (count(&tidegate, "5xx").await, count(&tidegate, "failed").await);
        (answered + failed == 80).then_some((answered, failed))
    };
    let (answered, failed) = eventually("each request is copied once", told).await;
    assert!(answered > 0 && failed > 0, "{answered} answered, {failed} failed: an endpoint is not ejected");
    assert_eq!(shadow.requests(), answered);
    let text = tidegate.api().metrics().await;
    let of_shadow = |name: &str| metric(&text, name, &[("pool", "shadow")]).unwrap_or(0.0);
    for name in ["tidegate_attempts_total", "tidegate_requests_total", "tidegate_requests_in_flight"] {
        assert!(of_shadow(name).abs() < 0.5, "{name}\n{text}");
    }
    for endpoint in [shadow.address(), down] {
        assert_eq!(tidegate.api().endpoint("shadow", endpoint).await["state"], "up");
    }
}

#[tokio::test]
async fn a_pool_that_hangs_holds_no_more_than_its_lane() {
    let (app, shadow) = (Upstream::start("app").await, Upstream::start("shadow").await);
    shadow.behave("hang");
    let pools = config::pool("shadow", &[&shadow], "");
    let rest = pools + &config::one_pool_rest(&[&app], "", "mirror = [{ pool = \"shadow\" }]");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..500 {
        assert_eq!(client.ask(&Request::post("/", &[b'x'; 1000])).await.upstream(), "app");
    }
    // 64 on their way and 256 that wait; what comes after them is dropped at once.
    assert!(count(&tidegate, "dropped").await >= 500 - 64 - 256);
    eventually("the lane is full", async || (shadow.requests() == 64).then_some(())).await;
    let settled = async || {
        let (late, dropped) = (count(&tidegate, "timeout").await, count(&tidegate, "dropped").await);
        (late + dropped == 500).then_some(late)
    };
    let late = eventually("every copy has an end", settled).await;
    assert!(late >= 64, "{late}");
    shadow.behave("name");
    client.ask(&Request::get("/")).await;
    eventually("and the next goes through", async || (count(&tidegate, "ok").await == 1).then_some(())).await;
}

/// The 99th percentile.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// Requests to a route with a mirror and to one without, in turn over the same connections, so that whatever
/// else the machine does is met by both alike.
async fn compare(tidegate: &Tidegate) -> (Vec<Duration>, Vec<Duration>) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = Client::new(tidegate.web());
        tasks.spawn(async move {
            let (mut plain, mut mirrored) = (Vec::new(), Vec::new());
            for _ in 0..1_000 {
                for (path, times) in [("/plain", &mut plain), ("/mirrored", &mut mirrored)] {
                    let begun = Instant::now();
                    let answer = client.ask(&Request::post(path, &[b'x'; 500])).await;
                    times.push(begun.elapsed());
                    assert_eq!((answer.status, answer.upstream()), (200, "app"));
                }
            }
            assert_eq!(client.connects, 1);
            (plain, mirrored)
        });
    }
    let (mut plain, mut mirrored) = (Vec::new(), Vec::new());
    while let Some(times) = tasks.join_next().await {
        let (of_plain, of_mirrored) = times.unwrap();
        plain.extend(of_plain);
        mirrored.extend(of_mirrored);
    }
    (plain, mirrored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_hangs_resets_or_is_down_changes_nothing_for_the_original() {
    let (hole, _held, _listener) = black_hole().await;
    for bad in ["hang", "reset", "down", "black hole"] {
        let (app, shadow) = (Upstream::start("app").await, Upstream::start("shadow").await);
        let mut address = shadow.address();
        match bad {
            "down" => shadow.kill().await,
            "black hole" => address = hole,
            act => shadow.behave(act),
        }
        let pools = config::pool("app", &[&app], "") + &config::pool_at("shadow", &[address], "");
        let route = |name: &str, more: &str| {
            let matches = format!("matches = [{{ path = {{ prefix = \"/{name}\" }} }}]");
            format!("[[routes]]\nname = \"{name}\"\npool = \"app\"\n{matches}\n{more}\n")
        };
        let routes = route("plain", "") + &route("mirrored", "mirror = [{ pool = \"shadow\" }]");
        let tidegate = Tidegate::start(&config::with(&format!("{pools}{routes}"))).await;
        let (mut plain, mut mirrored) = compare(&tidegate).await;
        let (plain, mirrored) = (p99(&mut plain), p99(&mut mirrored));
        let ratio = mirrored.as_secs_f64() / plain.as_secs_f64();
        println!("{bad}: p99 {plain:?} without, {mirrored:?} with a mirror: ratio {ratio:.2}");
        assert!(ratio < 1.5, "{bad}: p99 {mirrored:?} with a mirror, {plain:?} without");
        let lost = count(&tidegate, "ok").await + count(&tidegate, "5xx").await;
        assert_eq!(lost, 0, "{bad}: no copy was answered");
    }
}
