//! Pools' rollouts as changes of a running table.

use super::*;
use crate::change::{Change, Rejected};
use crate::config::EndpointTable;
use crate::decide::{Decided, decide};
use crate::live::Applied;
use crate::pick::Entropy;
use crate::pool::State as Shown;
use crate::testing::{Running, ask};

const FILE: &str = "
    [pools.app]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    drain_timeout = '5s'
    [pools.app.rollout]
    strategy = 'rolling'
    hooks = [{ on = 'replace', url = 'http://127.0.0.1:9/' }]
    [pools.single]
    endpoints = ['127.0.0.1:3']
    health = { tcp = true, initial = 'up' }
    [pools.other]
    endpoints = ['127.0.0.1:4']
    [[routes]]
    name = 'all'
    split = 's'
    [splits.s]
    weights = { single = 1 }
    fallback = ['other']
";

#[expect(clippy::unnecessary_wraps, reason = "as a start takes it")]
fn recreate() -> Option<Box<config::PoolRollout>> {
    let hook = r#"{"strategy":"recreate","queue":3,"hooks":[{"on":"replace","url":"http://127.0.0.1:9/"}]}"#;
    Some(Box::new(serde_json::from_str(hook).expect("a plan")))
}

fn start(
    running: &mut Running,
    pool: &str,
    plan: Option<Box<config::PoolRollout>>,
) -> Result<Applied, Rejected> {
    running.apply(Change::StartPoolRollout { pool: pool.into(), plan })
}

fn order(running: &mut Running, pool: &str, order: Order) -> Result<Applied, Rejected> {
    running.apply(Change::PoolRollout { pool: pool.into(), order, seen: None })
}

fn found(running: &mut Running, pool: &str, act: Act) -> Applied {
    order(running, pool, Order::Found(act)).expect("a finding is carried out")
}

fn rollout(running: &Running, pool: &str) -> PoolRollout {
    let table = running.live.snapshot();
    let pool = table.pool_named(pool).expect("a pool");
    PoolRollout::clone(pool.rollout.as_ref().expect("a rollout"))
}

fn shown(running: &Running, pool: &str) -> Vec<Shown> {
    let table = running.live.snapshot();
    let pool = table.pool_named(pool).expect("a pool");
    pool.endpoints.iter().map(|e| pool.state(e, running.now.mono_ms)).collect()
}

/// Whether a request of the route waits, and for which pool.
fn waits(running: &Running) -> (bool, String) {
    let table = running.live.snapshot();
    let decided = decide(&table, &ask("GET h/").view(), 0, &mut Entropy::new(1));
    let decision = decided.and_then(Decided::forwarded).expect("a route with a split");
    (decision.waits, decision.serving(&table).name.to_string())
}

fn conflict(result: Result<Applied, Rejected>, part: &str) {
    match result {
        Err(Rejected::Conflict(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("no conflict about {part}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_started() {
    let mut running = Running::start(FILE);
    assert!(matches!(start(&mut running, "nobody", None), Err(Rejected::NotFound { .. })));
    assert!(matches!(start(&mut running, "single", None), Err(Rejected::Invalid(_))), "the file has no plan");
    let bad = config::PoolRollout {
        max_unavailable: 0,
        healthy_timeout: Span::secs(0),
        ..plan(PoolStrategy::Rolling)
    };
    match start(&mut running, "app", Some(Box::new(bad))) {
        Err(Rejected::Invalid(problems)) => {
            let paths: Vec<&str> = problems.iter().map(|p| &*p.path).collect();
            assert_eq!(paths, ["", "healthy_timeout", "max_unavailable"], "all of them at once");
        }
        other => panic!("{other:?}"),
    }
    let of_file = running.live.view().config.pools["app"].rollout.clone().map(Box::new);
    conflict(start(&mut running, "single", of_file), "recreate");
    running.apply(Change::Drain { pool: "app".into(), endpoint: None, timeout: None }).expect("a drain");
    conflict(start(&mut running, "app", None), "undrain");
    running.apply(Change::Undrain { pool: "app".into(), endpoint: None }).expect("an undrain");
    let applied = start(&mut running, "app", None).expect("it starts");
    let id = applied.entry.generation;
    assert_eq!(rollout(&running, "app").id, id, "its start names it");
    conflict(start(&mut running, "app", None), &format!("rolling rollout {id}, running"));
    conflict(start(&mut running, "app", recreate()), &format!("rolling rollout {id}"));
    assert!(matches!(order(&mut running, "other", Order::Pause), Err(Rejected::NotFound { .. })));
    let value = &applied.entry.after.pools["app"].rollout;
    assert_eq!(value.as_ref().map(|v| (v.id, &*v.state)), Some((id, "running")), "the history shows it");
}

#[test]
fn a_finding_about_an_earlier_revision_is_refused() {
    let mut running = Running::start(FILE);
    start(&mut running, "app", None).expect("it starts");
    order(&mut running, "app", Order::Pause).expect("a pause");
    let act = Order::Found(Act::Take(vec![address(1)]));
    let late = Change::PoolRollout { pool: "app".into(), order: act, seen: Some(1) };
    assert!(matches!(running.apply(late), Err(Rejected::Stale { .. })));
}

#[test]
fn the_rollouts_drains_are_its_own() {
    let mut running = Running::start(FILE);
    start(&mut running, "app", None).expect("it starts");
    found(&mut running, "app", Act::Take(vec![address(1)]));
    assert_eq!(shown(&running, "app"), [Shown::Drained, Shown::Up]);
    let undrain = |endpoint| Change::Undrain { pool: "app".into(), endpoint };
    conflict(running.apply(undrain(Some(address(1)))), "is being replaced");
    running
        .apply(Change::Drain { pool: "app".into(), endpoint: Some(address(2)), timeout: None })
        .expect("a drain");
    running.apply(undrain(None)).expect("an undrain of all that is an operator's");
    assert_eq!(shown(&running, "app"), [Shown::Drained, Shown::Up]);
    order(&mut running, "app", Order::Abort { keep: vec![] }).expect("an abort");
    assert_eq!(shown(&running, "app"), [Shown::Up, Shown::Up]);
    assert!(running.live.view().state.drains.is_empty());
}

#[test]
fn requests_wait_while_a_recreate_has_the_pool() {
    let mut running = Running::start(FILE);
    start(&mut running, "single", recreate()).expect("it starts");
    assert_eq!(waits(&running), (false, "single".into()), "nothing has begun");
    let applied = found(&mut running, "single", Act::Take(vec![address(3)]));
    assert_eq!(waits(&running), (true, "single".into()));
    let pool = applied.snapshot.pool_named("single").expect("the pool");
    assert_eq!(pool.waiting.map(|w| (w.queue, w.timeout.as_secs())), Some((3, 30)));
    assert!(pool.endpoints[0].cell.is_retired(), "also for who read an earlier table");
    assert_eq!(pool.generation, applied.entry.generation);
    running.apply(Change::Drain { pool: "single".into(), endpoint: None, timeout: None }).expect("a drain");
    assert_eq!(waits(&running), (false, "other".into()), "an operator's drain sends users elsewhere");
    running.apply(Change::Undrain { pool: "single".into(), endpoint: None }).expect("an undrain");
    assert_eq!(waits(&running), (true, "single".into()));
    found(&mut running, "single", Act::Replace(vec![address(3)]));
    found(&mut running, "single", Act::Await(vec![address(3)]));
    assert_eq!(pool.endpoints[0].cell.status(), crate::health::Status::Unknown, "old checks say nothing now");
    order(&mut running, "single", Order::Abort { keep: vec![] }).expect("an abort");
    assert_eq!(waits(&running), (false, "single".into()));
    assert!(!pool.endpoints[0].cell.is_retired());
}

#[test]
fn after_a_restart() {
    let mut running = Running::start(FILE);
    start(&mut running, "app", None).expect("it starts");
    found(&mut running, "app", Act::Take(vec![address(1)]));
    start(&mut running, "single", recreate()).expect("it starts");
    found(&mut running, "single", Act::Take(vec![address(3)]));
    running.restart(FILE);
    let rolling = rollout(&running, "app");
    assert_eq!((rolling.status().as_str(), rolling.stands_still), ("paused", true));
    assert_eq!(shown(&running, "app"), [Shown::Drained, Shown::Up], "what it drained stays drained");
    let recreated = rollout(&running, "single");
    assert_eq!((recreated.status().as_str(), waits(&running)), ("aborted", (false, "single".into())));
    let (_, said) = recreated.ended.expect("it has ended");
    assert!(said.by == "restart" && said.why.is_some_and(|why| why.contains("restarted")));
    order(&mut running, "app", Order::Resume { waive: false }).expect("it goes on");
    assert!(!rollout(&running, "app").stands_still);
    order(&mut running, "app", Order::Abort { keep: vec![] }).expect("an abort");
    running.restart(FILE);
    assert_eq!(rollout(&running, "app").status().as_str(), "aborted", "what was aborted stays so");
}

#[test]
fn endpoints_and_pools_that_go() {
    let mut running = Running::start(FILE);
    start(&mut running, "app", None).expect("it starts");
    found(&mut running, "app", Act::Take(vec![address(1)]));
    let put = |ports: &[u16]| {
        let table = |port: &u16| {
            crate::config::Endpoint::Table(EndpointTable { address: format!("127.0.0.1:{port}"), weight: 1 })
        };
        Change::SetEndpoints { pool: "app".into(), endpoints: ports.iter().map(table).collect(), ttl: None }
    };
    running.apply(put(&[1, 7])).expect("endpoints");
    let one = rollout(&running, "app");
    assert!(one.is_active() && one.endpoints.len() == 1, "one that waited is forgotten");
    let applied = running.apply(put(&[7, 8])).expect("endpoints");
    assert_eq!(rollout(&running, "app").status().as_str(), "aborted");
    let told = |applied: &Applied| {
        let is_rollout = |event: &&crate::event::Event| event.kind == crate::event::Kind::Rollout;
        applied.events.iter().filter(is_rollout).any(|event| event.message.contains("of pool app is aborted"))
    };
    assert!(told(&applied), "an event says so");
    start(&mut running, "app", None).expect("another one");
    let config = crate::testing::config("[pools.single]\nendpoints = ['127.0.0.1:3']");
    let applied = running.apply(Change::Reload(config)).expect("a reload");
    assert!(told(&applied));
    assert!(running.live.view().state.pool_rollouts.is_empty());
}
