//! What only an attacker does to an HTTP/2 connection: that connection ends, and nobody else notices.

use std::time::Duration;

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, get, goaway, request, setting,
};
use crate::harness::{Client, PATIENCE, Request, Tidegate, Upstream, config};

const ENHANCE_YOUR_CALM: u32 = 11;

struct Victim {
    upstream: Upstream,
    tidegate: Tidegate,
    before_kib: u64,
}

impl Victim {
    async fn start() -> Self {
        Self::start_with("header_timeout = \"1s\"\nidle_timeout = \"3s\"").await
    }

    async fn start_with(keys: &str) -> Self {
        let upstream = Upstream::start("app").await;
        let rest = config::one_pool_rest(&[&upstream], "", "");
        let tidegate = Tidegate::start(&config::with_listener(keys, "", &rest)).await;
        let mut client = Client::new(tidegate.web());
        assert_eq!(client.ask(&Request::get("/healthz")).await.status, 200);
        let before_kib = tidegate.memory_kib();
        Self { upstream, tidegate, before_kib }
    }

    /// Runs an attack beside an ordinary client, which must not notice. What that one asks for is counted apart
    /// by the upstream.
    async fn under<T>(&self, what: &str, attack: impl Future<Output = T>) -> T {
        let client = async {
            let mut client = Client::new(self.tidegate.web());
            loop {
                let answer = client.send_within(&Request::get("/healthz"), Duration::from_secs(5)).await;
                assert_eq!(answer.map(|answer| answer.status), Ok(200), "{what}: somebody else");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = attack => done,
            () = client => unreachable!("it goes on for ever"),
        }
    }

    fn assert_small(&self, what: &str) {
        let after_kib = self.tidegate.memory_kib();
        let grown = after_kib.saturating_sub(self.before_kib);
        println!("{what}: memory {} KiB, then {after_kib} KiB", self.before_kib);
        assert!(grown < 50 * 1024, "{what}: {grown} KiB more");
    }
}

/// A flood ends the connection, with a word, long before it is over.
async fn floods(what: &str, most: usize, next: impl FnMut(usize) -> Vec<u8>) -> usize {
    let victim = Victim::start().await;
    let (sent, code) = victim
        .under(what, async {
            let mut frames = Frames::connect(victim.tidegate.web(), &[]).await;
            let sent = frames.flood(most, next).await;
            let got = frames.ended(PATIENCE).await;
            (sent, got.map(|bytes| goaway(&bytes)))
        })
        .await;
    let code = code.unwrap_or_else(|| panic!("{what}: the connection goes on after {sent}"));
    println!(
        "{what}: over after {sent} of {most}, GOAWAY {code:?}, {} reached the upstream",
        victim.upstream.requests()
    );
    assert!(sent < most, "{what}: all {most} were taken");
    victim.assert_small(what);
    victim.upstream.requests()
}

fn odd(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_at_once() {
    let reached = floods("rapid reset", 100_000, |number| {
        let stream = odd(number);
        [request(stream, "/?do=delay:100"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    assert!(reached.await < 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_whose_reset_is_provoked() {
    let reached = floods("provoked reset", 100_000, |number| {
        let stream = odd(number);
        let open = frame(HEADERS, END_HEADERS, stream, &get("/?do=delay:100"));
        [open, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    });
    assert!(reached.await < 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end() {
    let piece = vec![b'x'; 16_000];
    let open = |number: usize| match number {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 0x7f, 0x81, 0x7c][..], &piece].concat()),
    };
    assert_eq!(floods("continuation", 6_500, open).await, 0);
    let empty = |number: usize| match number {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    assert_eq!(floods("empty continuation", 100_000, empty).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_only_make_work() {
    floods("settings", 100_000, |_| frame(SETTINGS, 0, 0, &setting(3, 100))).await;
    floods("ping", 100_000, |_| frame(PING, 0, 0, &[7; 8])).await;
    floods("priority", 100_000, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])).await;
    floods("unknown", 100_000, |_| frame(0xfa, 0, 0, b"what")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_data() {
    floods("empty data", 100_000, |number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, &get("/")),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
}

/// One large field in the table, referred to again and again (CVE-2026-105297).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_small_on_the_wire_only() {
    let victim = Victim::start().await;
    let large = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000]].concat();
    victim
        .under("header bomb", async {
            let mut frames = Frames::connect(victim.tidegate.web(), &setting(4, 0)).await;
            for number in 0..1_000 {
                let mut head = if number == 0 { [get("/"), large.clone()].concat() } else { get("/") };
                head.extend(std::iter::repeat_n(0xbe, 10_000));
                let bytes = frame(HEADERS, END_STREAM | END_HEADERS, odd(number), &head);
                if frames.send(&bytes).await.is_err() {
                    break;
                }
            }
            // Refused stream by stream, or all at once: what counts is that nothing is kept.
            let _ = frames.ended(Duration::from_secs(5)).await;
        })
        .await;
    assert_eq!(victim.upstream.requests(), 0, "none of them was passed on");
    victim.assert_small("header bomb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_end_at_the_deadline() {
    let victim = Victim::start().await;
    let got = victim
        .under("window of nothing", async {
            let mut frames = Frames::connect(victim.tidegate.web(), &setting(4, 0)).await;
            for number in 0..50 {
                frames.send(&request(odd(number), "/?do=bytes:1000000")).await.unwrap();
            }
            frames.ended(PATIENCE).await
        })
        .await;
    assert!(got.is_some(), "the connection ends once its streams have");
    let free = async || (victim.upstream.active() == 0).then_some(());
    crate::harness::eventually("the upstream is free", free).await;
    victim.assert_small("window of nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_wherever_it_begins() {
    let victim = Victim::start().await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("most of the preface", PREFACE[..23].to_vec()),
        ("the preface", PREFACE.to_vec()),
        ("settings", [PREFACE, &settings].concat()),
        ("part of a frame", [PREFACE, &settings, &request(1, "/")[..12]].concat()),
        ("part of a head", [PREFACE, &settings, &frame(HEADERS, END_STREAM, 1, &get("/"))].concat()),
    ] {
        let got = victim
            .under(what, async {
                let mut frames = Frames::silent(victim.tidegate.web()).await;
                frames.send(&bytes).await.unwrap();
                frames.ended(PATIENCE).await
            })
            .await;
        assert!(got.is_some(), "after {what} it goes on for ever");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_for_it_is_told() {
    let victim = Victim::start().await;
    let mut frames = Frames::connect(victim.tidegate.web(), &[]).await;
    frames.flood(2_000, |_| frame(PING, 0, 0, &[7; 8])).await;
    let got = frames.ended(PATIENCE).await.expect("it ends");
    assert_eq!(goaway(&got), Some(ENHANCE_YOUR_CALM));
    let metrics = victim.tidegate.api().metrics().await;
    let labels = [("listener", "web"), ("reason", "http2_flood")];
    assert_eq!(crate::harness::api::metric(&metrics, "tidegate_rejected_total", &labels), Some(1.0));
}
