//! Answers of a resolver, as they come: what each makes of the table, and what it leaves alone.

use super::*;
use crate::cell::EndpointCell;
use crate::change::{Change, Rejected};
use crate::config::Endpoint as Written;
use crate::pool::Pool;
use crate::testing::{self, Running};

const FILE: &str = "[pools.app]\ndns = 'app:80'\n[pools.other]\nendpoints = ['127.0.0.1:9']\n";

fn addresses(hosts: &[u8]) -> Vec<Address> {
    hosts.iter().map(|host| format!("10.0.0.{host}:80").parse().unwrap()).collect()
}

fn pool(running: &Running) -> Arc<Pool> {
    Arc::clone(running.live.snapshot().pool_named("app").unwrap())
}

fn shown(running: &Running) -> String {
    let pool = pool(running);
    let one = |endpoint: &Endpoint| {
        let drains = if endpoint.draining.is_some() { "!" } else { "" };
        format!(
            "{drains}{}",
            endpoint.address().to_string().trim_start_matches("10.0.0.").trim_end_matches(":80")
        )
    };
    pool.endpoints.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn cell(running: &Running, host: u8) -> Arc<EndpointCell> {
    let snapshot = running.live.snapshot();
    let (pool, place) = snapshot.endpoint("app", &addresses(&[host])[0]).expect("it is there");
    Arc::clone(&pool.endpoints[place].cell)
}

fn answer(running: &Running, hosts: &[u8]) -> Option<Found> {
    running.live.found("app", "app:80", &addresses(hosts), running.now)
}

fn drain(host: u8) -> Change {
    let endpoint = addresses(&[host]).pop();
    Change::Drain { pool: "app".into(), endpoint, timeout: None }
}

fn reload(running: &mut Running, text: &str) {
    running.apply(Change::Reload(testing::config(text))).unwrap();
}

#[test]
fn each_answer_makes_the_table_that_it_asks_for() {
    let running = Running::start(FILE);
    assert_eq!(shown(&running), "", "there is nothing before the first answer");
    for (hosts, added, removed) in [
        (&[1, 2][..], &[1, 2][..], &[][..]),
        (&[1, 2, 3], &[3], &[]),
        (&[2, 3], &[], &[1]),
        (&[4, 5], &[4, 5], &[2, 3]),
        (&[1, 4], &[1], &[5]),
    ] {
        let found = answer(&running, hosts).expect("another table");
        assert_eq!((found.added, found.removed), (addresses(added), addresses(removed)), "{hosts:?}");
        let endpoints: Vec<Address> = pool(&running).endpoints.iter().map(|e| e.address().clone()).collect();
        assert_eq!(endpoints, addresses(hosts));
        assert!(pool(&running).endpoints.iter().all(|e| e.weight == 1 && !e.cell.is_retired()));
        assert!(answer(&running, hosts).is_none(), "the same answer makes no other table");
    }
}

#[test]
fn what_stays_is_the_same_and_what_goes_drains() {
    let running = Running::start(FILE);
    answer(&running, &[1, 2]).unwrap();
    let (one, two) = (cell(&running, 1), cell(&running, 2));
    answer(&running, &[2, 3]).unwrap();
    assert!(Arc::ptr_eq(&cell(&running, 2), &two));
    assert!(one.is_retired() && !two.is_retired());
    let leaving: Vec<_> = pool(&running).leaving.iter().map(|cell| cell.address.clone()).collect();
    assert_eq!(leaving, addresses(&[1]));
}

#[test]
fn it_is_seen_and_no_change() {
    let running = Running::start(FILE);
    let before = running.live.view();
    let generation = pool(&running).generation;
    answer(&running, &[1, 2]).unwrap();
    let after = running.live.view();
    assert_eq!(before.snapshot.generation, after.snapshot.generation);
    assert_eq!(generation, pool(&running).generation);
    assert_eq!((before.state, before.history), (after.state, after.history));
    assert!(Arc::ptr_eq(&before.snapshot.table, &after.snapshot.table), "the rest is shared");
    let other = |snapshot: &Snapshot| Arc::clone(snapshot.pool_named("other").unwrap());
    assert!(Arc::ptr_eq(&other(&before.snapshot), &other(&after.snapshot)));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let running = Running::start(FILE);
    for (pool, dns) in [("app", "other:80"), ("other", "app:80"), ("gone", "app:80")] {
        assert!(running.live.found(pool, dns, &addresses(&[1]), running.now).is_none(), "{pool} {dns}");
    }
}

#[test]
fn changes_carry_it_over() {
    let mut running = Running::start(FILE);
    answer(&running, &[1, 2]).unwrap();
    let one = cell(&running, 1);
    running.apply(drain(2)).unwrap();
    assert_eq!(shown(&running), "1 !2");
    reload(&mut running, &format!("{FILE}[pools.more]\n"));
    assert_eq!(shown(&running), "1 !2");
    assert!(Arc::ptr_eq(&cell(&running, 1), &one));
    answer(&running, &[1]).unwrap();
    reload(&mut running, FILE);
    answer(&running, &[1, 2]).unwrap();
    assert_eq!(shown(&running), "1 !2", "an order to drain outlives an answer without the address");
    running.restart(FILE);
    assert_eq!(shown(&running), "", "what was seen is not kept");
    answer(&running, &[1, 2]).unwrap();
    assert_eq!(shown(&running), "1 !2", "what was ordered is");
}

#[test]
fn a_pool_keeps_what_it_has_until_its_name_answers() {
    let mut running = Running::start("[pools.app]\nendpoints = [{ address = '10.0.0.7:80', weight = 5 }]\n");
    let seven = cell(&running, 7);
    reload(&mut running, FILE);
    assert_eq!(shown(&running), "7");
    assert!(Arc::ptr_eq(&cell(&running, 7), &seven));
    answer(&running, &[1]).unwrap();
    reload(&mut running, &FILE.replace("app:80", "next:80"));
    assert_eq!(shown(&running), "1");
    assert!(answer(&running, &[2]).is_none(), "the old name's answer is too late");
    running.live.found("app", "next:80", &addresses(&[3]), running.now).unwrap();
    assert_eq!(shown(&running), "3");
    reload(&mut running, "[pools.app]\nendpoints = ['10.0.0.8:80']\n");
    assert_eq!(shown(&running), "8");
}

#[test]
fn its_endpoints_are_not_put() {
    let mut running = Running::start("[pools.app]\nendpoints = ['10.0.0.7:80']\n");
    let first = running.live.snapshot().generation;
    let put = || Change::SetEndpoints {
        pool: "app".into(),
        endpoints: vec![Written::Address("10.0.0.8:80".into())],
        ttl: None,
    };
    running.apply(put()).unwrap();
    reload(&mut running, FILE);
    answer(&running, &[1]).unwrap();
    let Err(Rejected::Invalid(problems)) = running.apply(put()) else { panic!("it must be refused") };
    assert_eq!(problems[0].path, "endpoints");
    running.apply(Change::Restore { generation: first }).unwrap();
    assert_eq!(shown(&running), "1", "nor does a restore bring others");
    let plan = "strategy = 'recreate'\nhooks = [{ on = 'replace', url = 'http://127.0.0.1:1/' }]";
    let plan = toml::from_str(plan).unwrap();
    let start = Change::StartPoolRollout { pool: "app".into(), plan: Some(Box::new(plan)) };
    assert!(matches!(running.apply(start), Err(Rejected::Conflict(why)) if why.contains("`dns`")));
}
