//! What runs for every request allocates nothing: neither the decision nor what is recorded of it.
//!
//! `allocation_counter` puts its own counting allocator under this binary, and counts by thread.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use tidegate_core::change::Now;
use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::config::read::read;
use tidegate_core::decide::{Decided, Reason, decide};
use tidegate_core::ledger::{Ended, Excluded, Ledger, Side, Spec};
use tidegate_core::live::Live;
use tidegate_core::pick::Entropy;
use tidegate_core::record::{Charges, Failure, Tally};
use tidegate_core::request::RequestView;
use tidegate_core::snapshot::Snapshot;
use tidegate_core::state::State;

const ROUTES: usize = 10_000;

const KEYS: [&str; 7] = [
    "'header:x-user'",
    "'header:x-long'",
    "'cookie:uid'",
    "'query:u'",
    "'client_ip'",
    "'header:x-none', 'cookie:none', 'query:none', 'client_ip'",
    "",
];
const BALANCES: [&str; 4] = ["least_request", "round_robin", "random", "hash"];

/// Many routes, and two of each way to a pool: `h{way}.example.com` and `*.w{way}.example.org`.
fn table() -> Snapshot {
    let mut text = String::from("[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n");
    for balance in BALANCES {
        for pool in ["stable", "canary"] {
            writeln!(
                text,
                "[pools.{pool}-{balance}]\nbalance = '{balance}'\nendpoints = ['127.0.0.1:1', '127.0.0.1:2']"
            )
            .unwrap();
        }
    }
    let ways = KEYS.iter().flat_map(|key| BALANCES.map(|balance| (key, balance)));
    for (way, (key, balance)) in ways.enumerate() {
        writeln!(
            text,
            "[splits.s{way}]\nkey = [{key}]\nweights = {{ stable-{balance} = 95, canary-{balance} = 5 }}\n\
             overrides = [{{ headers = [{{ name = 'x-canary', exact = 'true' }}], pool = 'canary-{balance}' }}]"
        )
        .unwrap();
    }
    let ways = KEYS.len() * BALANCES.len();
    for n in 0..ROUTES {
        let way = n % ways;
        writeln!(
            text,
            "[[routes]]\nname = 'r{n}'\nhosts = ['h{way}.example.com', '*.w{way}.example.org']\n\
             matches = [{{ path = {{ prefix = '/p{}/x' }}, methods = ['GET'] }}]\nsplit = 's{way}'",
            n / ways
        )
        .unwrap();
    }
    let config = Arc::new(read(&text, &|_| None).unwrap());
    compile(Input { config: &config, state: &State::default(), generation: 1 }, Reuse::Cells(None))
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let long = "k".repeat(3_000);
    for (name, value) in
        [("x-user", "user-1"), ("cookie", "a=b; uid=\"user-2\""), ("x-long", &long), ("accept", "*/*")]
    {
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn deciding_allocates_nothing() {
    let table = table();
    let headers = headers();
    let client: IpAddr = "2001:db8::1".parse().unwrap();
    let mut entropy = Entropy::new(1);
    let mut ask = |host: &str, path: &str| {
        let view = RequestView {
            method: &Method::GET,
            host,
            path,
            query: Some("x=y&u=a%20b"),
            headers: (&headers).into(),
            client,
            trusted: false,
        };
        decide(&table, &view, 0, &mut entropy).and_then(Decided::forwarded)
    };
    for (way, key) in KEYS.iter().flat_map(|key| BALANCES.map(|_| key)).enumerate() {
        let (host, wildcard) = (format!("h{way}.example.com"), format!("a.w{way}.example.org"));
        let seen = ask(&host, "/p42/x/y").expect("a route");
        let reason = if key.is_empty() { Reason::Random } else { Reason::Bucket };
        assert_eq!((seen.reason, seen.endpoint.is_some()), (reason, true), "{key}");
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                assert!(ask(&host, "/p42/x/y").is_some());
                assert!(ask(&wildcard, "/p42/x").is_some());
                assert!(ask(&host, "/p42/xyz").is_none());
                assert!(ask("other", "/").is_none());
            }
        });
        assert_eq!(counted.count_total, 0, "{key}, way {way}");
    }
}

#[test]
fn recording_allocates_once_for_each_class_of_status() {
    let (tally, charges) = (Tally::default(), Charges::default());
    tally.add(200, 1);
    let counted = allocation_counter::measure(|| {
        for status in 200..300 {
            tally.add(status, 1_000);
            tally.add(999, 1);
            charges.add(None);
            charges.add(Some(Failure::Timeout));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn counting_for_a_rollout_allocates_nothing() {
    let ledger = Ledger::new(Spec { stuck_after_ms: 10, max_us: Some(500) });
    ledger.set_ratio_limit_us(Some(500));
    let counted = allocation_counter::measure(|| {
        for n in 0..1_000u64 {
            for (side, key) in [(Side::Candidate, Some(n << 48)), (Side::Baseline, None)] {
                let failure = (n % 2 == 0).then_some(Failure::Timeout);
                // From 8 places on the board, most find none free.
                assert!(ledger.end(ledger.begin(side, key, 0, n), Ended { failure, us: Some(n) }));
                assert!(ledger.exclude(ledger.begin(side, key, 0, n), Excluded::ClientGone));
                let _never = ledger.begin(side, key, 0, 0);
            }
            ledger.excluded_unbegun(Excluded::Override);
        }
        let tick = ledger.tick(100);
        assert_eq!((tick.candidate.requests, tick.candidate.failures), (1_008, 508));
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn taking_the_running_table_allocates_nothing() {
    let text = "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n";
    let config = Arc::new(read(text, &|_| None).unwrap());
    let (live, ..) = Live::start(config, &State::default(), VecDeque::default(), Now::default());
    drop(live.snapshot());
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            drop((live.snapshot(), live.peek()));
        }
    });
    assert_eq!(counted.count_total, 0);
}
