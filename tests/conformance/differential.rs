//! One answer, two speeds: exchanges made by chance go through the express lane and through pingora, and come
//! to the same for the client and for the upstream.
//!
//! `TIDEGATE_CASES=1000000 cargo test --release -p tidegate --test conformance both_speeds -- --nocapture` plays so
//! many; `TIDEGATE_FIRST=17` begins with another than the first, `TIDEGATE_AT_ONCE=48` plays more at once, each of
//! which mostly waits. A failure prints the numbers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::generate::{Made, exchange};
use crate::harness::Tidegate;
use crate::message::{Kind, Message, Parsed, parse};
use crate::notation::shown;
use crate::upstream::{PROBE, Seen, Upstream, What};

/// Exchanges played in an ordinary run.
const CASES: u64 = 2_000;
/// Exchanges at once, in an ordinary run.
const AT_ONCE: u64 = 8;
/// Said each time that so many more have been played.
const PROGRESS: u64 = 20_000;
/// Longer than any time that the proxy allows.
const LIMIT: Duration = Duration::from_secs(10);

const LISTENER: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:0"
header_timeout = "300ms"
idle_timeout = "300ms"

[admin]
address = "127.0.0.1:0"
"#;

/// What an exchange came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    client: Vec<String>,
    upstream: Vec<String>,
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_speeds_come_to_the_same() {
    let first = variable("TIDEGATE_FIRST").unwrap_or(1);
    let (next, end) = (AtomicU64::new(first), first + variable("TIDEGATE_CASES").unwrap_or(CASES));
    let mut upstreams = Vec::new();
    let mut rest = LISTENER.to_owned();
    for worker in 0..variable("TIDEGATE_AT_ONCE").unwrap_or(AT_ONCE) {
        let upstream = Upstream::start().await;
        let retry = if worker % 2 == 0 { "attempts = 0" } else { "attempts = 1, on = [\"5xx\", \"reset\"]" };
        let _ = write!(
            rest,
            "[pools.w{worker}]\nendpoints = [\"{}\"]\nread_timeout = \"300ms\"\n\n\
             [[routes]]\nname = \"w{worker}\"\npool = \"w{worker}\"\nhosts = [\"w{worker}.test\"]\n\
             retry = {{ {retry}, budget_percent = 100 }}\n\n",
            upstream.address
        );
        upstreams.push(upstream);
    }
    let express = Tidegate::start(&rest).await;
    let pingora = Tidegate::start(&format!("[server]\nexpress = false\n{rest}")).await;
    let (express, pingora, next) = (express.web(), pingora.web(), &next);
    let played = upstreams.iter().enumerate().map(|(worker, upstream)| async move {
        let host = format!("w{worker}.test");
        let mut differences = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return differences;
            }
            if number % PROGRESS == 0 {
                println!("exchange {number} of {end}, {} of this worker differ", differences.len());
            }
            differences.extend(difference(number, &host, upstream, express, pingora).await);
        }
    });
    let differences = join_all(played).await.concat();
    let shown = &differences[..differences.len().min(100)];
    assert!(differences.is_empty(), "{} exchanges differ:\n\n{}", differences.len(), shown.join("\n\n"));
}

/// Plays an exchange at both speeds; what differs, if anything does. On a machine that is busy a time may be
/// over too early, so what does not differ each time is none.
async fn difference(
    number: u64,
    host: &str,
    upstream: &Upstream,
    express: SocketAddr,
    pingora: SocketAddr,
) -> Option<String> {
    const TIMES: usize = 3;
    let made = exchange(number, host);
    let mut told = None;
    for _ in 0..TIMES {
        let by_express = outcome(&made, host, upstream, express).await;
        let by_pingora = outcome(&made, host, upstream, pingora).await;
        if by_express == by_pingora || is_listed(&made, &by_express, &by_pingora) {
            return None;
        }
        told = Some(format!(
            "exchange {number}\n  request {}\n  answer {} {:?}\n  express {by_express:#?}\n  pingora {by_pingora:#?}",
            shown(&made.request[..made.request.len().min(1_000)]),
            shown(&made.play.answer[..made.play.answer.len().min(1_000)]),
            made.play.then
        ));
    }
    told
}

/// Whether a difference is one that `docs/operations.md` lists: at an endpoint's chunk without a size, or with a
/// control character behind it, the express lane breaks the answer off, which pingora takes for whole. All else,
/// with what the upstream saw until then, is the same.
fn is_listed(made: &Made, by_express: &Outcome, by_pingora: &Outcome) -> bool {
    let ([cut], [whole, ..]) = (&*by_express.client, &*by_pingora.client) else { return false };
    let breaks_off = cut.starts_with("a part of") && whole.contains("transfer-encoding: chunked");
    breaks_off && by_pingora.upstream.starts_with(&by_express.upstream) && has_odd_chunk(&made.play.answer)
}

fn has_odd_chunk(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(answer);
    let Some((_, body)) = answer.split_once("\r\n\r\n") else { return false };
    let is_odd = |line: &str| {
        let behind_size = line.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        line.is_empty()
            || (behind_size.len() < line.len() && behind_size.contains(|c: char| c.is_ascii_control()))
    };
    // Behind the last chunk comes an empty line in any case.
    body.split("\r\n").take_while(|line| *line != "0").any(is_odd)
}

async fn outcome(made: &Made, host: &str, upstream: &Upstream, proxy: SocketAddr) -> Outcome {
    upstream.begin(made.play.clone());
    let (heard, is_closed) = heard(made, host, proxy).await;
    let is_head = made.request.starts_with(b"HEAD ");
    let mut client = Vec::new();
    let (mut rest, mut kind) = (&heard[..], if is_head { Kind::HeadAnswer } else { Kind::Answer(true) });
    while !rest.is_empty() {
        match parse(rest, kind) {
            Parsed::Whole(answer, length) => {
                // Whether an interim one is out before a final one is refused is a matter of time.
                if answer.status() >= 200 {
                    kind = Kind::Answer(true);
                    client.push(told(&answer));
                }
                rest = &rest[length..];
            }
            // How much of it came is a matter of time.
            Parsed::Part(status) => {
                client.push(format!("a part of {status:?}"));
                break;
            }
            Parsed::Broken(why) => {
                client.push(format!("{why}: {}", shown(rest)));
                break;
            }
        }
    }
    if !is_closed {
        client.push(format!("not closed within {LIMIT:?}"));
    }
    // How much reaches an upstream of what is refused in the end is a matter of time.
    let upstream = upstream.seen().iter().filter_map(sent).collect();
    Outcome { client, upstream }
}

/// All that a client gets to read, which asks for something else behind its request; and whether its
/// connection was closed in the end.
async fn heard(made: &Made, host: &str, proxy: SocketAddr) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let _ = stream.set_nodelay(true);
    let (mut reading, mut writing) = stream.split();
    let mut heard = Vec::new();
    // Behind an empty line, so that what a request has too much of does not become a method.
    let probe = format!("\r\nGET {PROBE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let request = [&made.request, probe.as_bytes()].concat();
    let talk = async {
        // The proxy may close while this is written; what it said before can be read nevertheless.
        let (_, _) = tokio::join!(writing.write_all(&request), reading.read_to_end(&mut heard));
    };
    let is_closed = tokio::time::timeout(LIMIT, talk).await.is_ok();
    (heard, is_closed)
}

fn told(message: &Message) -> String {
    // Of the answers that are Tidegate's own, the ids.
    const NEW: [&str; 3] = ["date", "x-request-id", "traceparent"];
    let mut fields: Vec<String> = message
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| !NEW.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    fields.sort();
    let body = shown(&message.body);
    let body = body.split(" (request ").next().unwrap_or_default();
    format!(
        "{} | {} | {} bytes {}",
        message.line,
        fields.join(" | "),
        message.body.len(),
        &body[..body.len().min(80)]
    )
}

fn sent(seen: &Seen) -> Option<String> {
    match &seen.what {
        // pingora leaves the coding of an empty body out when it sends a request once more.
        What::Request(request) if request.body.is_empty() => {
            Some(told(request).replace("transfer-encoding: chunked | ", ""))
        }
        What::Request(request) => Some(told(request)),
        What::Cut(_) => None,
        What::Broken(why, bytes) => Some(format!("{why}: {}", shown(bytes))),
    }
}
