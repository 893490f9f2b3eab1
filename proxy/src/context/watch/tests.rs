//! Each way in which a request can end, and what the ledger is told of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method};
use pingora_http::RequestHeader;
use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::config::read::read;
use tidegate_core::decide::{Decided, decide};
use tidegate_core::guard::Counts;
use tidegate_core::ledger::{Ledger, Spec};
use tidegate_core::pick::Entropy;
use tidegate_core::record::{Failure, Outcome};
use tidegate_core::request::RequestView;
use tidegate_core::snapshot::{Snapshot, Watch};
use tidegate_core::state::State;

use super::*;
use crate::context::Facts;
use crate::headers::Ids;
use crate::listen::Exchange;

const STUCK_AFTER_MS: u64 = 1_000;

/// All of the split goes to the candidate, with the baseline to fall back on.
const TABLE: &str = "
[[listeners]]
name = 'web'
address = '127.0.0.1:8080'
[pools.canary]
endpoints = ['127.0.0.1:9001', '127.0.0.1:9002']
[pools.stable]
endpoints = ['127.0.0.1:9003']
[splits.shop]
weights = { canary = 1, stable = 0 }
fallback = ['stable']
overrides = [{ headers = [{ name = 'x-canary', exact = 'true' }], pool = 'canary' }]
[[routes]]
name = 'all'
split = 'shop'
";

/// A table, and the ledger that its split is watched by; `drain` is how many of the candidate's
/// endpoints are drained.
fn watched(text: &str, drain: usize) -> (Arc<Snapshot>, Arc<Ledger>) {
    let config = Arc::new(read(text, &|_| None).expect("a good file"));
    let input = Input { config: &config, state: &State::default(), generation: 1 };
    let mut table = compile(input, Reuse::Cells(None));
    let ledger = Arc::new(Ledger::new(Spec { stuck_after_ms: STUCK_AFTER_MS, max_us: None }));
    let split = Arc::make_mut(&mut table.splits[0]);
    split.watch = Some(Watch { ledger: Arc::clone(&ledger), candidate: 0, baseline: 1 });
    for endpoint in Arc::make_mut(&mut table.pools[0]).endpoints.iter_mut().take(drain) {
        endpoint.draining = Some(std::time::Duration::ZERO);
    }
    (Arc::new(table), ledger)
}

/// A request that has been decided.
fn admitted(table: &Arc<Snapshot>, headers: &HeaderMap) -> Context {
    let mut context = Context::new(Arc::clone(table), 1, Exchange::of_nobody());
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let view = RequestView {
        method: &Method::GET,
        host: "shop.test",
        path: "/",
        query: None,
        headers: headers.into(),
        client,
        trusted: false,
    };
    let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
    head.insert_header("x-request-id", "id-1").expect("a header");
    let ids = Ids::of((&head.headers).into(), &mut Entropy::new(1));
    context.facts = Some(Facts { client, peer: client, trusted: false, clean_path: None, max_body: 0, ids });
    let decided = decide(table, &view, 0, &mut context.entropy);
    let decision = decided.and_then(Decided::forwarded).expect("a route with a split");
    assert!(context.take(decision) && context.enter(0));
    context
}

fn told(ledger: &Ledger) -> (Counts, Vec<(&'static str, u64)>) {
    let counts = ledger.tick(0).candidate;
    let excluded = ledger.excluded().into_iter().filter(|(_, count)| *count > 0);
    (counts, excluded.map(|(why, count)| (why.as_str(), count)).collect())
}

/// What the ledger is told of a request that ends so: requests, failures, timed, and why excluded.
fn end(how: impl FnOnce(&mut Context)) -> (u64, u64, u64, Option<&'static str>) {
    let (table, ledger) = watched(TABLE, 0);
    let mut context = admitted(&table, &HeaderMap::new());
    how(&mut context);
    drop(context);
    let (counts, excluded) = told(&ledger);
    assert_eq!(counts.failures > 0, !ledger.failures().is_empty());
    assert!(excluded.len() <= 1);
    (counts.requests, counts.failures, counts.timed, excluded.first().map(|(why, _)| *why))
}

fn answered(context: &mut Context, status: u16, outcome: Outcome) {
    context.status = status;
    context.end_try(outcome);
}

#[test]
fn each_end_is_told_as_what_it_is() {
    let failed = Outcome::Failed(Failure::Status5xx);
    assert_eq!(end(|c| answered(c, 200, Outcome::Ok)), (1, 0, 1, None));
    assert_eq!(end(|c| answered(c, 404, Outcome::Ok)), (1, 0, 1, None));
    assert_eq!(end(|c| answered(c, 503, failed)), (1, 1, 1, None));
    assert_eq!(end(|c| answered(c, 0, failed)), (1, 1, 1, None), "the client did not wait for it");
    assert_eq!(end(|c| answered(c, 0, Outcome::Client)), (0, 0, 0, Some("client_gone")));
    assert_eq!(end(|c| answered(c, CLIENT_GONE, Outcome::Client)), (0, 0, 0, Some("client_gone")));
    let in_the_body = |c: &mut Context| {
        answered(c, 200, Outcome::Client);
        c.error_code = Some(CLIENT_GONE_CODE);
    };
    assert_eq!(end(in_the_body), (0, 0, 0, Some("client_gone")));
    for (status, code) in [(413, "body_too_large"), (408, "request_timeout"), (503, "overloaded")] {
        let ours = |c: &mut Context| {
            answered(c, status, Outcome::Client);
            c.error_code = Some(code);
        };
        assert_eq!(end(ours), (0, 0, 0, Some("own_limit")), "{code}");
    }
    assert_eq!(end(|c| c.status = 200), (0, 0, 0, Some("client_gone")), "dropped in the middle");
    let with_5xx = |c: &mut Context| c.tries.upstream_status = Some(500);
    assert_eq!(end(with_5xx), (1, 1, 1, None), "dropped in the middle of a failure");
}

#[test]
fn a_failed_request_is_shown() {
    let (table, ledger) = watched(TABLE, 0);
    let mut context = admitted(&table, &HeaderMap::new());
    let endpoint = context.last_endpoint().map(ToString::to_string);
    answered(&mut context, 0, Outcome::Failed(Failure::Timeout));
    drop(context);
    let shown = ledger.failures().pop().expect("one failed");
    assert!(shown.time_ms > 1_700_000_000_000);
    let wanted = FailedRequest {
        time_ms: shown.time_ms,
        route: "all".into(),
        status: 499,
        reason: "timeout".into(),
        endpoint,
        request_id: "id-1".into(),
    };
    assert_eq!(shown, wanted);
}

#[test]
fn one_that_was_stuck_is_told_of_by_its_place_and_counted_once() {
    let (table, ledger) = watched(TABLE, 0);
    for status in [200, 0, 502] {
        let mut context = admitted(&table, &HeaderMap::new());
        let mut places = Vec::new();
        let tick = ledger.tick_telling(1 + STUCK_AFTER_MS, |side, place| places.push((side, place)));
        assert_eq!((tick.candidate.requests, tick.candidate.failures), (1, 1), "{status}");
        let endpoint = context.tries.endpoint.and_then(|at| u32::try_from(at).ok());
        assert!(endpoint.is_some());
        assert_eq!(places, [(Side::Candidate, Place { route: 0, endpoint })], "{status}");
        let outcome = if status == 502 { Outcome::Failed(Failure::Reset) } else { Outcome::Client };
        answered(&mut context, status, outcome);
        drop(context);
        assert_eq!(ledger.tick(1).candidate, Counts::default(), "{status}");
        assert!(ledger.failures().is_empty(), "whoever looks after the rollout tells of it");
    }
}

#[test]
fn overrides_and_drains_charge_nobody() {
    let mut forced = HeaderMap::new();
    forced.insert("x-canary", http::HeaderValue::from_static("true"));
    for (drain, headers, why) in
        [(0, &forced, "override"), (2, &forced, "override"), (2, &HeaderMap::new(), "drained")]
    {
        let (table, ledger) = watched(TABLE, drain);
        let mut context = admitted(&table, headers);
        answered(&mut context, 500, Outcome::Failed(Failure::Status5xx));
        drop(context);
        assert_eq!(told(&ledger), (Counts::default(), vec![(why, 1)]));
        assert_eq!(ledger.failures(), []);
    }
    let (table, ledger) = watched(TABLE, 1);
    drop(admitted(&table, &HeaderMap::new()));
    assert_eq!(told(&ledger).1, [("client_gone", 1)], "one endpoint of two is no drain of the pool");
}

#[test]
fn what_another_pool_served_has_no_duration() {
    let down = TABLE.replacen("endpoints = ['127.0.0.1:9001', '127.0.0.1:9002']", "endpoints = []", 1);
    let (table, ledger) = watched(&down, 0);
    let mut context = admitted(&table, &HeaderMap::new());
    assert_eq!(context.decision.map(|d| (d.chosen, d.member)), Some((0, 1)));
    context.failure = Some(Failure::NoEndpoint);
    answered(&mut context, 200, Outcome::Ok);
    drop(context);
    let counts = told(&ledger).0;
    assert_eq!((counts.requests, counts.failures, counts.timed), (1, 1, 0));
}

#[test]
fn other_pools_and_unwatched_splits_are_left_alone() {
    let text = TABLE.replacen("canary = 1, stable = 0", "canary = 0, stable = 1", 1);
    let (mut table, ledger) = watched(&text, 0);
    let mut context = admitted(&table, &HeaderMap::new());
    answered(&mut context, 500, Outcome::Failed(Failure::Status5xx));
    drop(context);
    assert_eq!(ledger.failures(), [], "only the candidate's are shown");
    assert_eq!(ledger.tick(0).baseline.failures, 1);
    let split = &mut Arc::get_mut(&mut table).expect("nobody else's").splits[0];
    Arc::make_mut(split).watch = None;
    drop(admitted(&table, &HeaderMap::new()));
    assert_eq!(told(&ledger), (Counts::default(), vec![]));
}

/// The baseline helps: its try is no evidence for either, nor charged to it.
#[test]
fn a_rescue_changes_nothing_of_the_evidence() {
    let text = TABLE.replacen("fallback", "rescue = true\nfallback", 1);
    for outcome in [Outcome::Ok, Outcome::Failed(Failure::Reset)] {
        let (table, ledger) = watched(&text, 0);
        let mut context = admitted(&table, &HeaderMap::new());
        answered(&mut context, 500, Outcome::Failed(Failure::Status5xx));
        let failed = context.decision.expect("it was decided");
        let there = tidegate_core::decide::Decision { member: 1, endpoint: Some(0), ..failed };
        assert!(context.prepare_rescue(there) && context.is_rescued());
        let seats = |pool: usize| table.pools[pool].cell.gate.taken();
        assert_eq!((seats(0), seats(1)), (1, 1));
        context.begin_rescue();
        assert_eq!((seats(0), seats(1)), (0, 1), "the pool that failed has its place back");
        assert!(
            context.begin_try(0).is_some_and(|endpoint| endpoint.address.to_string() == "127.0.0.1:9003")
        );
        answered(&mut context, 200, outcome);
        drop(context);
        assert_eq!((seats(0), seats(1)), (0, 0));
        let tick = ledger.tick(0);
        assert_eq!((tick.candidate.requests, tick.candidate.failures, tick.candidate.timed), (1, 1, 0));
        assert_eq!(tick.baseline, Counts::default());
        let split = &table.splits[0];
        let charged =
            |member: u16| (split.member(member).charges.total(), split.member(member).charges.failed());
        assert_eq!((charged(0), charged(1)), ((1, 1), (0, 0)));
        let rescues: Vec<u64> =
            split.moved(0, 1).expect("a fallback").rescues.read().map(|(_, n)| n).collect();
        let wanted = if outcome == Outcome::Ok { [1, 0, 0] } else { [0, 1, 0] };
        assert_eq!(rescues, wanted);
    }
}
