//! Decisions, sentence by sentence of the contract.

use std::collections::BTreeMap;

use proptest::prelude::*;

mod rescue;
mod waiting;

use super::*;
use crate::cell::LastCheck;
use crate::health::Thresholds;
use crate::split::golden::{GOLDEN_HASHES, GOLDEN_POOLS};
use crate::split::salt_seed;
use crate::testing::{Asked, ask, snapshot};

const POOLS: &str = "
    [pools.stable]
    endpoints = ['127.0.0.1:1', '127.0.0.1:2']
    health = { tcp = true, initial = 'up' }
    [pools.canary]
    endpoints = ['127.0.0.1:3', '127.0.0.1:4']
    health = { tcp = true, initial = 'up' }
    [pools.beta]
    endpoints = ['127.0.0.1:5']
    health = { tcp = true, initial = 'up' }
    [pools.empty]
    [[routes]]
    name = 'shop'
    hosts = ['shop']
    split = 'checkout'
";

/// A table whose route `shop` has a split of this text.
fn table(split: &str) -> Snapshot {
    snapshot(&format!("{POOLS}\n[splits.checkout]\n{split}"))
}

/// Marks all endpoints of a pool.
fn set(snapshot: &Snapshot, pool: &str, ok: bool) {
    for endpoint in &snapshot.pool_named(pool).unwrap().endpoints {
        let check = LastCheck { at_ms: 0, ok, detail: String::new() };
        endpoint.cell.checked(check, Thresholds { healthy_after: 1, unhealthy_after: 1 });
    }
}

fn decided(snapshot: &Snapshot, asked: &Asked, seed: u64) -> Decision {
    let decided = decide(snapshot, &asked.view(), 0, &mut Entropy::new(seed));
    decided.and_then(Decided::forwarded).expect("a route with a split")
}

fn names<'a>(snapshot: &'a Snapshot, decision: &Decision) -> (&'a str, &'a str) {
    let split = snapshot.split(decision.split);
    (&split.member(decision.chosen).name, &split.member(decision.member).name)
}

/// The pool that serves and the reason.
fn went<'a>(snapshot: &'a Snapshot, asked: &Asked) -> (&'a str, &'static str) {
    let decision = decided(snapshot, asked, 1);
    (names(snapshot, &decision).1, decision.reason.as_str())
}

fn shop() -> Asked {
    ask("GET shop/")
}

#[test]
fn the_bucket_is_that_of_the_golden_vectors() {
    let table = table("weights = { stable = 95, canary = 5 }\nkey = ['header:x-user-id']");
    for (key, pool) in GOLDEN_POOLS {
        assert_eq!(went(&table, &shop().with("x-user-id", key)), (pool, "bucket"), "{key}");
    }
    let split = table.split_named("checkout").unwrap();
    for (salt, key, hash) in GOLDEN_HASHES {
        if salt == "checkout" && !key.is_empty() && key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let decision = decided(&table, &shop().with("x-user-id", key), 1);
            assert_eq!(decision.key_hash, Some(hash), "{key} {}", split.salt_seed);
        }
    }
}

#[test]
fn no_route_no_decision() {
    let table = table("weights = { stable = 1 }");
    assert!(decide(&table, &ask("GET other/").view(), 0, &mut Entropy::new(1)).is_none());
}

#[test]
fn a_route_may_answer_by_itself() {
    let table = snapshot(
        "[pools.app]
         endpoints = ['127.0.0.1:1']
         [[routes]]
         name = 'moved'
         hosts = ['moved']
         matches = [{ path = { prefix = '/old/' } }, { path = { prefix = '/older' } }]
         redirect = { path = { prefix = '/new' } }
         [[routes]]
         name = 'gone'
         hosts = ['gone']
         matches = [{ path = { exact = '/x' } }, {}]
         respond = { status = 410 }
         [[routes]]
         name = 'app'
         matches = [{ path = { prefix = '/app' } }]
         pool = 'app'",
    );
    for (line, route, prefix_bytes, is_forwarded) in [
        ("GET moved/old/x", "moved", 4, false),
        ("GET moved/older", "moved", 6, false),
        ("GET gone/x", "gone", 0, false),
        ("GET gone/y", "gone", 0, false),
        ("GET any/app/x", "app", 4, true),
    ] {
        let decided = decide(&table, &ask(line).view(), 0, &mut Entropy::new(1)).expect(line);
        let taken = decided.taken();
        assert_eq!((&*table.route(taken.route).name, taken.prefix_bytes), (route, prefix_bytes), "{line}");
        assert_eq!(decided.forwarded().is_some(), is_forwarded, "{line}");
    }
}

#[test]
fn the_first_override_that_holds_goes_before_the_bucket() {
    let table = table(
        "weights = { stable = 1, canary = 0 }
         key = ['header:user']
         overrides = [
           { headers = [{ name = 'x-canary', exact = 'true' }], pool = 'canary' },
           { keys = ['user-123', 'user-456'], pool = 'beta' },
           { path = { prefix = '/beta' }, methods = ['POST'], pool = 'beta' },
           { query = [{ name = 'c', exact = '1' }], cookies = [{ name = 'c', present = true }], pool = 'canary' },
           { client = ['10.0.0.0/8'], pool = 'canary' },
           { headers = [{ name = 'user-type', exact = 'tester' }], trusted = true, pool = 'canary' },
         ]",
    );
    let canary = ("canary", "override");
    let beta = ("beta", "override");
    let stable = ("stable", "only");
    for (asked, wanted) in [
        (shop(), stable),
        (shop().with("x-canary", "true"), canary),
        (shop().with("x-canary", "TRUE"), stable),
        (shop().with("x-canary", "true").with("user", "user-123"), canary),
        (shop().with("user", "user-456"), beta),
        (shop().with("user", "user-45"), stable),
        (ask("POST shop/beta/x"), beta),
        (ask("GET shop/beta/x"), stable),
        (ask("POST shop/betax"), stable),
        (ask("GET shop/?c=1").with("cookie", "c="), canary),
        (ask("GET shop/?c=1"), stable),
        (shop().from("10.1.1.1"), canary),
        (shop().with("user-type", "tester"), stable),
        (shop().with("user-type", "tester").trusted(), canary),
        (shop().trusted(), stable),
    ] {
        assert_eq!(went(&table, &asked), wanted, "{asked:?}");
        let decision = decided(&table, &asked, 1);
        assert_eq!(decision.forced, decision.reason == Reason::Override);
    }
}

#[test]
fn a_request_by_override_stays_forced_when_it_falls_back() {
    let table = table(
        "weights = { stable = 1 }
         overrides = [{ headers = [{ name = 'x', present = true }], pool = 'canary' }]",
    );
    set(&table, "canary", false);
    let decision = decided(&table, &shop().with("x", ""), 1);
    assert_eq!(names(&table, &decision), ("canary", "stable"));
    assert_eq!((decision.reason, decision.forced), (Reason::Fallback, true));
}

/// The key that a source finds.
fn key(source: &str, asked: &Asked) -> Option<String> {
    let source = Key::compile(&source.parse().unwrap());
    key_from(&source, &asked.view()).map(|key| String::from_utf8(key.to_vec()).unwrap())
}

#[test]
fn keys_are_what_the_contract_says() {
    let lines = shop().with("u", "one").with("U", "two").with("e", "").with("e", "late");
    for (source, asked, wanted) in [
        ("header:U", lines.clone(), Some("one")),
        ("header:e", lines.clone(), None),
        ("header:v", lines.clone(), None),
        ("cookie:c", shop().with("cookie", "a=1; c=\"quoted\"; c=2"), Some("quoted")),
        ("cookie:c", shop().with("cookie", "a=1").with("cookie", "c=second line"), Some("second line")),
        ("cookie:c", shop().with("cookie", "c=\"\""), None),
        ("cookie:c", shop().with("cookie", "c="), None),
        ("cookie:C", shop().with("cookie", "c=1"), None),
        ("cookie:c", shop(), None),
        ("query:q", ask("GET shop/?q=a%20b+c&q=2"), Some("a b c")),
        ("query:q", ask("GET shop/?%71=%C3%A9"), Some("é")),
        ("query:q", ask("GET shop/?q=100%"), Some("100%")),
        ("query:q", ask("GET shop/?q"), None),
        ("query:q", ask("GET shop/?q=&q=2"), None),
        ("query:q", shop(), None),
        ("client_ip", shop().from("192.0.2.7"), Some("192.0.2.7")),
        ("client_ip", shop().from("::ffff:192.0.2.7"), Some("192.0.2.7")),
        ("client_ip", shop().from("2001:0DB8:0:0:1:0:0:1"), Some("2001:db8::1:0:0:1")),
        ("client_ip", shop().from("2001:db8:0:1:1:1:1:1"), Some("2001:db8:0:1:1:1:1:1")),
        ("client_ip", shop().from("::1"), Some("::1")),
    ] {
        assert_eq!(key(source, &asked).as_deref(), wanted, "{source} {asked:?}");
    }
}

#[test]
fn the_first_source_that_has_a_key_wins() {
    let table = table(
        "weights = { stable = 1, canary = 1 }
         key = ['header:user', 'cookie:uid', 'query:u', 'client_ip']",
    );
    let cookie = |asked: Asked| asked.with("cookie", "uid=2");
    for (asked, place, key) in [
        (cookie(ask("GET shop/?u=3")).with("user", "1"), 0, "1"),
        (cookie(ask("GET shop/?u=3")).with("user", ""), 1, "2"),
        (ask("GET shop/?u=3"), 2, "3"),
        (ask("GET shop/?u=").with("cookie", "uid=\"\""), 3, "192.0.2.1"),
    ] {
        let decision = decided(&table, &asked, 1);
        assert_eq!(decision.key, Some(KeyOrigin::Source(place)), "{asked:?}");
        assert_eq!(decision.key_hash, Some(key_hash(key.as_bytes(), salt_seed("checkout"))), "{asked:?}");
        assert_eq!(decision.reason, Reason::Bucket);
    }
}

#[test]
fn salts_keep_splits_apart() {
    let of = |salt: &str| {
        let table = table(&format!("weights = {{ stable = 1, canary = 1 }}\nkey = ['header:user']\n{salt}"));
        (0..200).map(|n| decided(&table, &shop().with("user", &n.to_string()), 1).chosen).collect::<Vec<_>>()
    };
    assert_eq!(of(""), of("salt = 'checkout'"));
    let same = of("").iter().zip(of("salt = 'other'")).filter(|(a, b)| **a == *b).count();
    assert!((60..140).contains(&same), "{same} of 200 users are in the same pool under another salt");
}

#[test]
fn a_visitor_without_a_key_is_bucketed_by_the_id_of_the_same_answer() {
    let table = table(
        "weights = { stable = 1, canary = 1 }
         key = ['header:user']
         assign = { cookie = 'tid' }",
    );
    let mut ids = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let first = decided(&table, &shop(), seed);
        let Some(KeyOrigin::Assigned(id)) = first.key else { panic!("{first:?}") };
        assert!(id.as_str().len() == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(first.reason, Reason::Bucket);
        ids.insert(id.as_str().to_owned());
        let again = shop().with("cookie", &format!("tid={}", id.as_str()));
        let second = decided(&table, &again, seed + 1_000);
        assert_eq!((second.key, second.chosen), (Some(KeyOrigin::AssignedBefore), first.chosen));
        assert_eq!(second.key_hash, first.key_hash);
        // A key goes before the id.
        let known = decided(&table, &again.with("user", "u"), seed);
        assert_eq!(known.key, Some(KeyOrigin::Source(0)));
    }
    assert_eq!(ids.len(), 200);
    let empty = decided(&table, &shop().with("cookie", "tid="), 1);
    assert!(matches!(empty.key, Some(KeyOrigin::Assigned(_))), "an empty id is none");
}

#[test]
fn reasons() {
    for (split, asked, wanted) in [
        ("weights = { stable = 1 }", shop(), ("stable", "only")),
        (
            "weights = { stable = 0, canary = 3 }\nkey = ['header:u']",
            shop().with("u", "1"),
            ("canary", "only"),
        ),
        ("weights = { stable = 1, empty = 0 }", shop(), ("stable", "only")),
        ("weights = { empty = 1, canary = 0 }", shop(), ("empty", "only")),
        ("weights = { empty = 5, canary = 1 }\nfallback = ['canary']", shop(), ("canary", "fallback")),
    ] {
        let table = table(split);
        let (pool, reason) = went(&table, &asked);
        // One of the six draws of the last case may go to canary itself.
        assert!((pool, reason) == wanted || (split.contains("fallback") && reason == "random"), "{split}");
    }
    let table = table("weights = { stable = 1, canary = 1 }\nkey = ['header:u']");
    assert_eq!(went(&table, &shop()).1, "random");
    assert_eq!(went(&table, &shop().with("u", "1")).1, "bucket");
}

#[test]
fn without_a_key_pools_are_drawn_by_share() {
    let table = table("weights = { stable = 90, canary = 10, beta = 0 }");
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..50_000 {
        *seen.entry(names(&table, &decided(&table, &shop(), mix(seed))).0).or_default() += 1;
    }
    let share = f64::from(seen["canary"]) / 50_000.0;
    let sigma = (0.1f64 * 0.9 / 50_000.0).sqrt();
    assert!((share - 0.1).abs() < 4.5 * sigma, "{share}");
    assert!(!seen.contains_key("beta"), "a weight of 0 takes nothing");
}

fn users() -> Vec<Asked> {
    (0..300).map(|n| shop().with("user", &format!("user-{n}"))).collect()
}

#[test]
fn users_go_to_the_fallback_and_come_back() {
    let table = table("weights = { stable = 60, canary = 40 }\nkey = ['header:user']");
    let split = table.split_named("checkout").unwrap();
    let before: Vec<Decision> = users().iter().map(|u| decided(&table, u, 1)).collect();
    assert!(before.iter().all(|d| d.member == d.chosen));
    set(&table, "canary", false);
    let mut moved = 0;
    for (user, before) in users().iter().zip(&before) {
        let decision = decided(&table, user, 1);
        assert_eq!(decision.chosen, before.chosen, "the bucket stays");
        let (chosen, member) = names(&table, &decision);
        assert_eq!(member, "stable", "the pool with the largest weight");
        assert_eq!(decision.reason, if chosen == "canary" { Reason::Fallback } else { Reason::Bucket });
        assert!(decision.endpoint.is_some());
        decision.count_fallback(split);
        moved += u64::from(chosen == "canary");
    }
    let counted: u64 = split.moves.iter().map(|n| n.fallbacks.load(Relaxed)).sum();
    assert_eq!(counted, moved);
    assert!(moved > 50);
    set(&table, "canary", true);
    for (user, before) in users().iter().zip(&before) {
        let after = decided(&table, user, 1);
        assert_eq!((after.chosen, after.member, after.reason), (before.chosen, before.member, before.reason));
    }
}

#[test]
fn fallbacks_in_order_and_none() {
    let split = |fallback: &str| {
        table(&format!("weights = {{ stable = 3, canary = 0, beta = 0 }}\nfallback = [{fallback}]"))
    };
    let table = split("'empty', 'canary', 'beta'");
    assert_eq!(went(&table, &shop()), ("stable", "only"));
    set(&table, "stable", false);
    assert_eq!(went(&table, &shop()), ("canary", "fallback"));
    set(&table, "canary", false);
    assert_eq!(went(&table, &shop()), ("beta", "fallback"));
    set(&table, "beta", false);
    let nowhere = decided(&table, &shop(), 1);
    assert_eq!((nowhere.endpoint, nowhere.reason, nowhere.member), (None, Reason::Only, nowhere.chosen));
    set(&table, "stable", true);
    assert_eq!(went(&table, &shop()), ("stable", "only"));

    let none = split("");
    set(&none, "stable", false);
    assert_eq!(decided(&none, &shop(), 1).endpoint, None, "an empty list is none");

    let own = split("'stable'");
    set(&own, "stable", false);
    assert_eq!(decided(&own, &shop(), 1).endpoint, None, "a pool is no fallback for itself");
}

#[test]
fn the_default_fallback_is_the_largest_weight_and_each_of_equals() {
    for (weights, wanted) in [
        ("stable = 5, canary = 3", &["stable"][..]),
        ("stable = 3, canary = 5", &["canary"]),
        ("stable = 3, canary = 3, beta = 3", &["beta", "canary", "stable"]),
        ("stable = 3, canary = 3, beta = 2", &["canary", "stable"]),
        ("stable = 0, canary = 0, beta = 1", &["beta"]),
    ] {
        let table = table(&format!("weights = {{ {weights} }}"));
        let split = table.split_named("checkout").unwrap();
        let fallback: Vec<&str> = split.fallback.iter().map(|m| &*split.member(*m).name).collect();
        assert_eq!(fallback, wanted, "{weights}");
    }
}

#[test]
fn unknown_endpoints_serve_before_a_fallback() {
    let text = POOLS.replace("initial = 'up'", "initial = 'unknown'");
    let table = snapshot(&format!(
        "{text}\n[splits.checkout]\nweights = {{ canary = 1, stable = 0 }}\nfallback = ['stable']"
    ));
    set(&table, "stable", true);
    assert_eq!(went(&table, &shop()), ("canary", "only"));
    set(&table, "canary", false);
    assert_eq!(went(&table, &shop()), ("stable", "fallback"));
}

/// The same hash for both choices would send all users of a small pool to one of its endpoints.
#[test]
fn the_endpoint_is_apart_from_the_bucket() {
    let text = POOLS.replace("[pools.canary]", "[pools.canary]\nbalance = 'hash'");
    let table = snapshot(&format!(
        "{text}\n[splits.checkout]\nweights = {{ stable = 95, canary = 5 }}\nkey = ['header:user']"
    ));
    let mut seen = BTreeMap::new();
    for n in 0..20_000 {
        let user = shop().with("user", &n.to_string());
        let decision = decided(&table, &user, n);
        if names(&table, &decision).0 == "canary" {
            let endpoint = decision.endpoint.unwrap();
            assert_eq!(Some(endpoint), decided(&table, &user, n + 1).endpoint, "the same each time");
            *seen.entry(endpoint).or_insert(0u32) += 1;
        }
    }
    assert!(seen.len() == 2 && seen.values().all(|n| (400..600).contains(n)), "{seen:?}");
}

#[test]
fn a_pool_may_have_its_own_key_for_endpoints() {
    let text =
        POOLS.replace("[pools.canary]", "[pools.canary]\nbalance = 'hash'\nhash_key = ['cookie:session']");
    let table =
        snapshot(&format!("{text}\n[splits.checkout]\nweights = {{ canary = 1 }}\nkey = ['header:user']"));
    let of = |user: &str, session: &str| {
        let asked = shop().with("user", user).with("cookie", &format!("session={session}"));
        decided(&table, &asked, 1)
    };
    assert_eq!(of("1", "s").endpoint_hash, of("2", "s").endpoint_hash);
    assert_ne!(of("1", "s").endpoint_hash, of("1", "t").endpoint_hash);
    assert_eq!(decided(&table, &shop().with("user", "1"), 1).endpoint_hash, None, "no session: at random");
}

#[test]
fn routes_to_a_pool_and_to_weights() {
    let table = snapshot(&format!(
        "{POOLS}
         [[routes]]
         name = 'direct'
         hosts = ['direct']
         pool = 'canary'
         [[routes]]
         name = 'own'
         hosts = ['own']
         weights = {{ stable = 1, canary = 0 }}
         [splits.checkout]
         weights = {{ stable = 1 }}"
    ));
    assert_eq!(went(&table, &ask("GET direct/")), ("canary", "only"));
    assert_eq!(went(&table, &ask("GET own/")), ("stable", "only"));
    assert!(table.split_named("own").is_some() && table.split_named("").is_none());
    set(&table, "canary", false);
    assert_eq!(decided(&table, &ask("GET direct/"), 1).endpoint, None, "no other pool to fall back to");
}

proptest! {
    /// Nothing from the network panics, and a decision is always about things that exist.
    #[test]
    fn any_request_is_decided(
        host in "[a-z.\\[\\]:%é]{0,20}",
        path in "/[ -~]{0,20}",
        query in prop::option::of("[ -~]{0,30}"),
        cookie in prop::collection::vec(prop::num::u8::ANY.prop_filter("a header's byte", |b| *b >= 0x20 && *b != 0x7f), 0..40),
        client: u128,
        seed: u64,
    ) {
        let table = table("weights = { stable = 2, canary = 1 }\nkey = ['cookie:a', 'query:q']\noverrides = [{ keys = ['x'], pool = 'beta' }]\nassign = { cookie = 'a' }");
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", http::HeaderValue::from_bytes(&cookie).unwrap());
        let host = crate::request::normalise_host(&host);
        if let Ok(path) = crate::request::normalise_path(&path) {
            for host in [&*host, "shop"] {
                let view = RequestView {
                    method: &http::Method::GET, host, path: &path, query: query.as_deref(),
                    headers: (&headers).into(), client: std::net::Ipv6Addr::from_bits(client).into(), trusted: false,
                };
                let decision = decide(&table, &view, 0, &mut Entropy::new(seed)).and_then(Decided::forwarded);
                prop_assert_eq!(decision.is_some(), host == "shop");
                if let Some(decision) = decision {
                    let pool = table.pool(decision.serving(&table).pool);
                    prop_assert!(decision.endpoint.is_some_and(|at| at < pool.endpoints.len()));
                }
            }
        }
    }
}
