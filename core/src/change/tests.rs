//! Every change on good and bad input, as tables.

mod rollout;

use std::collections::BTreeMap;

use super::*;
use crate::testing::{self, Running, wanted};

const FILE: &str = "
    [server]
    workers = 2
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    health = { tcp = true, initial = 'up' }
    [pools.canary]
    endpoints = ['127.0.0.1:3']
    health = { tcp = true }
    [pools.lone]
    [splits.checkout]
    weights = { stable = 95, canary = 5 }
    [[routes]]
    name = 'own'
    weights = { stable = 1, canary = 0 }
    [[routes]]
    name = 'direct'
    pool = 'stable'
";

fn weights(pairs: &[(&str, u32)]) -> Weights {
    pairs.iter().map(|(pool, weight)| ((*pool).to_owned(), *weight)).collect()
}

fn set(split: &str, pairs: &[(&str, u32)]) -> Change {
    Change::SetWeights { split: split.into(), weights: weights(pairs), ttl: None, force: false }
}

fn endpoints(pool: &str, addresses: &[&str]) -> Change {
    let endpoints = addresses.iter().map(|a| Endpoint::Address((*a).into())).collect();
    Change::SetEndpoints { pool: pool.into(), endpoints, ttl: None }
}

fn drain(pool: &str, endpoint: Option<&str>) -> Change {
    Change::Drain { pool: pool.into(), endpoint: endpoint.map(|e| e.parse().unwrap()), timeout: None }
}

fn undrain(pool: &str, endpoint: Option<&str>) -> Change {
    Change::Undrain { pool: pool.into(), endpoint: endpoint.map(|e| e.parse().unwrap()) }
}

fn cutover(to: &str, min_healthy: usize, force: bool) -> Change {
    Change::Cutover { split: "checkout".into(), to: to.into(), min_healthy, bake: None, force }
}

/// How a change is rejected: its kind, and what it names.
fn rejection(change: Change) -> String {
    let mut running = Running::start(FILE);
    let before = running.live.snapshot();
    let rejected = running.apply(change).expect_err("a bad change");
    assert!(Arc::ptr_eq(&before, &running.live.snapshot()), "{rejected:?} changes nothing");
    assert_eq!(running.live.view().history.len(), 1);
    match rejected {
        Rejected::NotFound { kind, name, hint } => {
            format!("no {kind} {name} {}", hint.unwrap_or_default()).trim_end().into()
        }
        Rejected::Invalid(problems) => {
            problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

#[test]
fn bad_changes_are_rejected_and_change_nothing() {
    for (change, why) in [
        (set("chekout", &[("stable", 1)]), "no split chekout did you mean `checkout`?"),
        (set("direct", &[("stable", 1)]), "no split direct"),
        (set("", &[("stable", 1)]), "no split"),
        (set("checkout", &[("stabel", 1)]), "weights.stabel: there is no pool `stabel`"),
        (set("checkout", &[]), "weights: at least one pool is required"),
        (set("checkout", &[("stable", 0)]), "weights: the weights add up to 0"),
        (set("checkout", &[("stable", 0), ("canary", 0)]), "weights: the weights add up to 0"),
        (set("checkout", &[("stable", 1_000_001)]), "weights.stable: must be at most 1000000, not 1000001"),
        (
            set("checkout", &[("stable", u32::MAX), ("canary", u32::MAX)]),
            "weights.canary: must be at most 1000000, not 4294967295; \
             weights.stable: must be at most 1000000, not 4294967295",
        ),
        (
            cutover("canary", 1, false),
            "pool `canary` has 0 healthy endpoint(s), 1 are needed; \
          bring it up, or send \"force\": true",
        ),
        (
            cutover("stable", 3, false),
            "pool `stable` has 2 healthy endpoint(s), 3 are needed; \
          bring it up, or send \"force\": true",
        ),
        (cutover("lone", 0, true), "to: pool `lone` is not in split `checkout`"),
        (cutover("nothing", 0, true), "to: pool `nothing` is not in split `checkout`"),
        (
            Change::Revert { split: "checkout".into() },
            "split `checkout` has no earlier weights to go back to",
        ),
        (Change::Revert { split: "check".into() }, "no split check"),
        (endpoints("canry", &[]), "no pool canry did you mean `canary`?"),
        (
            endpoints("canary", &["127.0.0.1:9", "example.com:80"]),
            "endpoints[1]: `example.com:80` is not an address such as \"127.0.0.1:9001\", \"[::1]:9001\" or \"unix:PATH\"",
        ),
        (
            endpoints("canary", &["[::1]:80", "[0::1]:80"]),
            "endpoints[1]: `[0::1]:80` stands here twice, first as [0]",
        ),
        (drain("xyzzy", None), "no pool xyzzy"),
        (drain("stable", Some("127.0.0.1:3")), "no endpoint 127.0.0.1:3 did you mean `127.0.0.1:1`?"),
        (undrain("xyzzy", None), "no pool xyzzy"),
        (undrain("stable", Some("127.0.0.9:9")), "no endpoint 127.0.0.9:9 did you mean `127.0.0.1:1`?"),
        (Change::Restore { generation: 0 }, "no generation 0"),
        (Change::Restore { generation: 2 }, "no generation 2"),
        (Change::Restore { generation: u64::MAX }, "no generation 18446744073709551615"),
    ] {
        let change_was = format!("{change:?}");
        assert_eq!(rejection(change), why, "{change_was}");
    }
}

/// A name from a URL may be long; looking for one that is near must not take a minute.
#[test]
fn long_names_are_not_found_quickly() {
    assert_eq!(rejection(set(&"x".repeat(1 << 20), &[])).len(), "no split ".len() + (1 << 20));
}

#[test]
fn good_changes_are_in_force() {
    let mut running = Running::start(FILE);
    let seen = |running: &Running, split: &str| -> BTreeMap<String, u32> {
        let snapshot = running.live.snapshot();
        let members = &snapshot.split_named(split).unwrap().members;
        members.iter().filter_map(|m| Some((m.name.to_string(), m.weight?))).collect()
    };
    running.apply(set("checkout", &[("stable", 1), ("lone", 1_000_000)])).unwrap();
    assert_eq!(seen(&running, "checkout"), weights(&[("stable", 1), ("lone", 1_000_000)]));
    running.apply(set("own", &[("canary", 3)])).unwrap();
    assert_eq!(seen(&running, "own"), weights(&[("canary", 3)]));
    running.apply(set("checkout", &[("stable", 3), ("canary", 0)])).unwrap();
    // To a pool of weight 0, whose endpoint has not been checked yet, by force.
    running.apply(cutover("canary", 1, true)).unwrap();
    assert_eq!(seen(&running, "checkout"), weights(&[("stable", 0), ("canary", 100)]));
    running.apply(cutover("stable", 2, false)).unwrap();
    assert_eq!(seen(&running, "checkout"), weights(&[("stable", 100), ("canary", 0)]));
    running.apply(cutover("canary", 0, false)).unwrap();
    running.apply(Change::Revert { split: "checkout".into() }).unwrap();
    assert_eq!(seen(&running, "checkout"), weights(&[("stable", 100), ("canary", 0)]));

    running.apply(endpoints("canary", &["127.0.0.1:8", "[::1]:9"])).unwrap();
    let addresses = |running: &Running| -> Vec<String> {
        let snapshot = running.live.snapshot();
        snapshot.pool_named("canary").unwrap().endpoints.iter().map(|e| e.address().to_string()).collect()
    };
    assert_eq!(addresses(&running), ["127.0.0.1:8", "[::1]:9"]);
    running.apply(endpoints("canary", &[])).unwrap();
    assert_eq!(addresses(&running), [""; 0], "a pool may be empty");
    running.apply(Change::Restore { generation: 1 }).unwrap();
    assert_eq!(addresses(&running), ["127.0.0.1:3"]);
    assert_eq!(seen(&running, "checkout"), weights(&[("stable", 95), ("canary", 5)]));
    assert_eq!(seen(&running, "own"), weights(&[("stable", 1), ("canary", 0)]));
}

#[test]
fn a_cutover_counts_only_what_can_take_requests() {
    let mut running = Running::start(FILE);
    running.apply(cutover("stable", 2, false)).unwrap();
    running.apply(drain("stable", Some("127.0.0.1:1"))).unwrap();
    assert!(matches!(running.apply(cutover("stable", 2, false)), Err(Rejected::Conflict(_))));
    running.apply(cutover("stable", 1, false)).unwrap();
    running.apply(drain("stable", None)).unwrap();
    assert!(matches!(running.apply(cutover("stable", 1, false)), Err(Rejected::Conflict(_))));
    running.apply(cutover("stable", 1, true)).unwrap();
}

#[test]
fn drains_are_called_off_one_by_one_or_all_at_once() {
    let mut running = Running::start(FILE);
    let draining = |running: &Running| {
        let snapshot = running.live.snapshot();
        let pool = snapshot.pool_named("stable").unwrap();
        let endpoints = pool.endpoints.iter().filter(|e| e.draining.is_some()).count();
        (pool.draining.map(|d| d.as_secs()), endpoints)
    };
    let one = Some("127.0.0.1:1");
    for (change, wanted) in [
        (drain("stable", one), (None, 1)),
        (drain("stable", None), (Some(30), 1)),
        (undrain("stable", one), (Some(30), 0)),
        (drain("stable", Some("127.0.0.1:2")), (Some(30), 1)),
        (undrain("stable", None), (None, 0)),
        (undrain("stable", None), (None, 0)),
        (undrain("stable", one), (None, 0)),
    ] {
        running.apply(change.clone()).unwrap();
        assert_eq!(draining(&running), wanted, "{change:?}");
    }
    assert!(running.live.view().state.drains.is_empty(), "nothing is left behind");
    let timeout = Some(Span::secs(7));
    running.apply(Change::Drain { pool: "stable".into(), endpoint: None, timeout }).unwrap();
    assert_eq!(draining(&running), (Some(7), 0));
}

#[test]
fn a_stale_change_is_refused_by_the_thing_it_is_about() {
    let mut running = Running::start(FILE);
    running.apply(set("own", &[("stable", 2)])).unwrap();
    running.apply(drain("canary", None)).unwrap();
    // (change, the generation in which its thing last changed)
    let cases = [
        (set("checkout", &[("stable", 1)]), 1),
        (cutover("stable", 1, false), 1),
        (set("own", &[("stable", 1)]), 2),
        (endpoints("stable", &[]), 1),
        (drain("stable", None), 1),
        (undrain("canary", None), 3),
        // What may change everything is about everything.
        (Change::Restore { generation: 1 }, 3),
        (Change::Reload(Arc::clone(&running.live.view().config)), 3),
    ];
    for (change, current) in cases {
        let mut request = wanted(change);
        for stale in [0, current + 1, 99] {
            request.if_match = Some(stale);
            let refused = running.live.dry_run(&request, running.now);
            assert_eq!(refused.unwrap_err(), Rejected::Stale { current }, "{request:?}");
        }
        request.if_match = Some(current);
        running.live.dry_run(&request, running.now).unwrap();
    }
    // A revert is always allowed.
    let mut request = wanted(Change::Revert { split: "own".into() });
    request.if_match = Some(1);
    running.live.dry_run(&request, running.now).unwrap();
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let listener = |text: &str| {
        let file: crate::config::Config = toml::from_str(text).unwrap();
        Arc::new(Valid::new(file).unwrap())
    };
    let web = "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n";
    let two = "[[listeners]]\nname = 'two'\naddress = '127.0.0.1:8081'\n";
    let tls = |rest: &str| format!("{two}tls = {{ certificates = [{{ cert = 'a', key = 'b' }}]{rest} }}\n");
    let secure = listener(&format!("{web}{}", tls("")));
    for (text, wanted) in [
        (format!("{web}{}", tls(", strict_sni = true").replace("'a'", "'c'")), &[][..]),
        (format!("{web}{}", tls(", min_version = '1.3'")), &["listener `two`: tls"]),
        (format!("{web}{}", tls(", client_ca = 'x', client_cert = 'optional'")), &["listener `two`: tls"]),
        (format!("{web}{two}"), &["listener `two`: tls"]),
    ] {
        assert_eq!(merge::needs_restart(&secure, &listener(&text)), wanted, "{text}");
    }
    let old = listener(&format!("[server]\nworkers = 2\n{web}{two}"));
    for (text, wanted) in [
        (format!("[server]\nworkers = 2\n{web}{two}"), &[][..]),
        (format!("[server]\nworkers = 2\n{two}{web}"), &[]),
        (
            format!(
                "[server]\nworkers = 2\nshutdown_delay = '9s'\ntrusted_proxies = ['10.0.0.0/8']\n{web}{two}"
            ),
            &[],
        ),
        (format!("[server]\nworkers = 2\n{web}idle_timeout = '1s'\nmax_connections = 7\n{two}"), &[]),
        (format!("[log]\naccess = 'on'\n[server]\nworkers = 2\n{web}{two}"), &[]),
        (format!("[server]\nworkers = 3\n{web}{two}"), &["server.workers"]),
        (format!("[server]\nworkers = 2\n[admin]\nstate_dir = 'x'\n{web}{two}"), &["admin"]),
        (format!("[server]\nworkers = 2\n{web}"), &["listener `two` (removed)"]),
        (
            format!("[server]\nworkers = 2\n{}{two}", web.replace("'web'", "'www'")),
            &["listener `web` (removed)", "listener `www` (added)"],
        ),
        (
            format!("{}{}http2 = false\n", web.replace("8080", "8090"), two),
            &["server.workers", "listener `web`: address", "listener `two`: http2"],
        ),
    ] {
        assert_eq!(merge::needs_restart(&old, &listener(&text)), wanted, "{text}");
    }
    let mut running = Running::start(FILE);
    let other =
        testing::config(&FILE.replace("workers = 2", "workers = 4").replace("stable = 95", "stable = 5"));
    let rejected = running.apply(Change::Reload(other)).unwrap_err();
    assert_eq!(rejected, Rejected::NeedsRestart(vec!["server.workers".into()]));
    assert_eq!(rejected.to_string(), "a restart is needed to change server.workers");
    assert_eq!(running.live.view().config.splits["checkout"].weights["stable"], 95, "nothing of it is taken");
}

#[test]
fn actions_have_the_names_of_the_history() {
    let names: Vec<&str> = [
        set("a", &[]),
        cutover("a", 0, false),
        Change::Revert { split: String::new() },
        endpoints("a", &[]),
        drain("a", None),
        undrain("a", None),
        Change::Restore { generation: 1 },
        Change::Expire,
        Change::Reload(testing::config("")),
    ]
    .iter()
    .map(Change::action)
    .collect();
    assert_eq!(
        names,
        [
            "set_weights",
            "cutover",
            "revert",
            "set_endpoints",
            "drain",
            "undrain",
            "restore",
            "expire",
            "reload"
        ]
    );
}
