//! Problems of meaning, as tables: a snippet, and what is said about it.

mod routes;

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, meaning, not_yet};
use crate::config::{Config, Endpoint, Pool};

/// Pools and a split for the snippets to refer to.
const BASE: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:8080"
[pools.a]
[pools.b]
[splits.s]
weights = { a = 1, b = 1 }
"#;

/// A mention of `problem` as `path: message | hint`.
fn shown(problem: &Problem) -> String {
    let hint = problem.hint.as_ref().map_or(String::new(), |hint| format!(" | {hint}"));
    format!("{}: {}{hint}", problem.path, problem.message)
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn said(text: &str) -> Vec<String> {
    meaning(&config(text)).into_problems().iter().map(shown).collect()
}

/// Checks snippets that follow `BASE`; each must lead to just the expected problem, or to none.
fn table(cases: &[(&str, &str)]) {
    for (snippet, expected) in cases {
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(said(&format!("{BASE}{snippet}")), expected, "\n{snippet}");
    }
}

/// Like `table`, for the inside of a route that sends to pool `a`.
fn route_table(cases: &[(&str, &str)]) {
    for (snippet, expected) in cases {
        let text = format!("[[routes]]\nname = \"r\"\npool = \"a\"\n{snippet}\n");
        table(&[(&text, expected)]);
    }
}

#[test]
fn listeners() {
    let listener = |keys: &str| said(&format!("[[listeners]]\n{keys}"));
    for (keys, expected) in [
        ("name = \"web\"\naddress = \"localhost:80\"", ""),
        ("name = \"web\"\naddress = \"unix:/x\"", ""),
        (
            "name = \"a b\"\naddress = \"[::1]:80\"",
            "listeners[0].name: `a b` is not a name | a name is 1 to 63 of a-z A-Z 0-9 - _ .",
        ),
        (
            "name = \"web\"\naddress = \"example.com:80\"",
            "listeners[0].address: `example.com:80` is not an address such as \"127.0.0.1:8080\", \"[::]:8080\" or \"unix:PATH\"",
        ),
        (
            "name = \"web\"\naddress = \"[::]:80\"\nheader_timeout = \"0s\"",
            "listeners[0].header_timeout: `header_timeout` must be longer than 0",
        ),
        (
            "name = \"web\"\naddress = \"[::]:80\"\nidle_timeout = \"0s\"",
            "listeners[0].idle_timeout: `idle_timeout` must be longer than 0",
        ),
        (
            "name = \"web\"\naddress = \"[::]:80\"\nmax_header_size = 100",
            "listeners[0].max_header_size: must be from 1KiB to 1MiB",
        ),
        (
            "name = \"web\"\naddress = \"127.0.0.1:9900\"",
            "admin.address: listeners[0] listens on `127.0.0.1:9900` already",
        ),
    ] {
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(listener(keys), expected, "\n{keys}");
    }
    table(&[
        (
            "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"",
            "listeners[1].name: listeners[0] has the name `web` already",
        ),
        (
            "[[listeners]]\nname = \"x\"\naddress = \"localhost:8080\"",
            "listeners[1].address: listeners[0] listens on `localhost:8080` already",
        ),
        (
            "[[listeners]]\nname = \"x\"\naddress = \"[::1]:0\"\n[[listeners]]\nname = \"y\"\naddress = \"[::1]:0\"",
            "",
        ),
    ]);
    assert_eq!(
        said(""),
        ["listeners: at least one listener is required | add [[listeners]] with a name and an address"]
    );
}

#[test]
fn log_and_admin() {
    table(&[
        (
            "[log]\nlevel = \"loud\"",
            "log.level: `loud` is not a log level | error, warn, info, debug, trace, or levels by target as in \"info,tidegate=debug\"",
        ),
        ("[log]\noutput = \"\"", "log.output: is empty | write \"stdout\", or the path of a file"),
        ("[log]\naccess_sample = nan", "log.access_sample: must be from 0 to 1"),
        (
            "[admin]\naddress = \"0.0.0.0:9900\"",
            "admin.address: `0.0.0.0:9900` can be reached from other hosts, and there is no token | set admin.token_file, or use a loopback address",
        ),
        ("[admin]\naddress = \"0.0.0.0:9900\"\ntoken_file = \"t\"", ""),
        ("[admin]\naddress = \"unix:/run/t.sock\"", ""),
        ("[admin]\ntoken_file = \"\"", "admin.token_file: is empty"),
        (
            "[admin]\nallowed_hosts = [\"a:80\"]",
            "admin.allowed_hosts[0]: `a:80` is not a host | write a name or an address, without a port",
        ),
    ]);
}

#[test]
fn endpoints() {
    table(&[
        (
            "[pools.c]\nendpoints = [\"app:80\"]",
            "pools.c.endpoints[0]: `app:80` is not an address such as \"127.0.0.1:9001\", \"[::1]:9001\" or \"unix:PATH\" | names go in `dns = \"app:80\"`",
        ),
        (
            "[pools.c]\nendpoints = [{ address = \"1.2.3.4:0\" }]",
            "pools.c.endpoints[0].address: `1.2.3.4:0` has port 0",
        ),
        (
            "[pools.c]\nendpoints = [{ address = \"1.2.3.4:5\", weight = 0 }]",
            "pools.c.endpoints[0].weight: must be from 1 to 1000000",
        ),
        ("[pools.c]\nendpoints = [\"unix:/run/a\", \"unix:b\"]\nhealth = { tcp = true }", ""),
        ("[pools.c]\nendpoints = [\"unix:\"]", "pools.c.endpoints[0]: `unix:` needs the path of the socket"),
        (
            "[pools.c]\nendpoints = [\"unix:/a\", { address = \"unix:///a\" }]",
            "pools.c.endpoints[1].address: `unix:///a` stands here twice, first as [0]",
        ),
        (
            "[pools.c]\nendpoints = [\"1.2.3.4:5\", { address = \"unix:/a\" }]\nhealth = { tcp = true, port = 6 }",
            "pools.c.endpoints[1].address: a Unix socket has no port, and the pool's `health.port` names one | remove health.port: the check goes to the socket",
        ),
        (
            "[pools.c]\nendpoints = [\"1.2.3.4:5\", { address = \"1.2.3.4:5\", weight = 2 }]",
            "pools.c.endpoints[1].address: `1.2.3.4:5` stands here twice, first as [0]",
        ),
    ]);
}

#[test]
fn pools() {
    table(&[
        ("[pools.\"a b\"]", "pools.\"a b\": `a b` is not a name | a name is 1 to 63 of a-z A-Z 0-9 - _ ."),
        (
            "[pools.c]\nendpoints = [\"1.2.3.4:5\"]\ndns = \"x:1\"",
            "pools.c: `endpoints` and `dns` cannot both be written",
        ),
        ("[pools.c]\ndns = \"app.internal:8080\"\ndns_refresh = \"1s\"", ""),
        (
            "[pools.c]\ndns = \"x:1\"\ndns_refresh = \"0s\"",
            "pools.c.dns_refresh: `dns_refresh` must be longer than 0",
        ),
        (
            "[pools.c]\ndns = \"x:1\"\n[pools.c.rollout]\nstrategy = \"recreate\"\nhooks = [{ on = \"replace\", url = \"http://h/\" }]",
            "pools.c.rollout: a pool whose endpoints are found by `dns` has no rollout of its own",
        ),
        ("[pools.c]\ndns = \"x\"", "pools.c.dns: `x` is not a name and a port such as \"app.internal:8080\""),
        (
            "[pools.c]\nconnect_timeout = \"0s\"",
            "pools.c.connect_timeout: `connect_timeout` must be longer than 0",
        ),
        (
            "[pools.c]\nhash_key = [\"client_ip\"]",
            "pools.c.hash_key: is used only with `balance = \"hash\"` | set balance, or remove hash_key",
        ),
        ("[pools.c]\nbalance = \"hash\"", ""),
        ("[pools.c]\nhealth = {}", "pools.c.health: exactly one of `path`, `tcp`, `grpc` is required"),
        (
            "[pools.c]\nhealth = { path = \"/\", tcp = true }",
            "pools.c.health: exactly one of `path`, `tcp`, `grpc` is allowed, not `path` and `tcp`",
        ),
        ("[pools.c]\nhealth = { path = \"/h?x=1\" }", ""),
        (
            "[pools.c]\nhealth = { path = \"h\" }",
            "pools.c.health.path: `h` is not a path such as \"/healthz\"",
        ),
        (
            "[pools.c]\nhealth = { tcp = true, interval = \"0s\" }",
            "pools.c.health.interval: `interval` must be longer than 0",
        ),
        (
            "[pools.c]\nhealth = { tcp = true, status = \"2xx\" }",
            "pools.c.health.status: `2xx` is not a list of statuses such as \"200-299,301\"",
        ),
        (
            "[pools.c]\nhealth = { tcp = true, headers = { \"a b\" = \"c\" } }",
            "pools.c.health.headers.\"a b\": `a b` is not a header name",
        ),
        (
            "[pools.c]\neject = { base = \"10s\", max = \"5s\" }",
            "pools.c.eject: `base` (10s) is longer than `max` (5s)",
        ),
    ]);
}

#[test]
fn keys_that_do_nothing_alone() {
    table(&[
        ("[pools.c]\nlimits = { max_in_flight = 1, queue = 1, queue_timeout = \"1s\" }", ""),
        ("[pools.c]\nlimits = { max_connections = 1, queue = 1, queue_timeout = \"1s\" }", ""),
        (
            "[pools.c]\nlimits = { queue = 1, queue_timeout = \"1s\" }",
            "pools.c.limits: a `queue` without a limit of requests in flight is never used | set max_in_flight, or with HTTP/1 max_connections",
        ),
        ("[pools.c]\npanic_threshold = 50\neject = {}", ""),
        (
            "[pools.c]\npanic_threshold = 50",
            "pools.c.panic_threshold: is used only with `health` or `eject`: nothing else makes an endpoint unusable | set one of them, or remove panic_threshold",
        ),
        (
            "[splits.x]\nweights = { a = 1 }\nfallback = []\nrescue = true",
            "splits.x.rescue: there is no fallback to send a failed request to | name a pool in `fallback`, or leave it out for its default",
        ),
    ]);
}

#[test]
fn splits() {
    table(&[
        (
            "[splits.t]\nweights = {}",
            "splits.t.weights: at least one pool is required | write weights = { stable = 1 }",
        ),
        (
            "[splits.t]\nweights = { a = 0 }",
            "splits.t.weights: the weights add up to 0 | give a pool a weight above 0",
        ),
        ("[splits.t]\nweights = { c = 1 }", "splits.t.weights.c: there is no pool `c`"),
        ("[splits.t]\nweights = { a = 1000001 }", "splits.t.weights.a: must be at most 1000000, not 1000001"),
        (
            "[splits.t]\nweights = { a = 1 }\nkey = [\"header:a b\"]",
            "splits.t.key[0]: `a b` is not a header name",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\nkey = [\"client_ip\", \"client_ip\"]",
            "splits.t.key[1]: `client_ip` stands here twice",
        ),
        ("[splits.t]\nweights = { a = 1 }\nfallback = [\"c\"]", "splits.t.fallback[0]: there is no pool `c`"),
        ("[splits.t]\nweights = { a = 1 }\nfallback = []", ""),
        (
            "[splits.t]\nweights = { a = 1 }\npool_header = \"Host\"",
            "splits.t.pool_header: `Host` cannot be used for this",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\nassign = { cookie = \"a b\" }",
            "splits.t.assign.cookie: `a b` is not a cookie name",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\nassign = { cookie = \"c\", path = \"x\" }",
            "splits.t.assign.path: `x` is not a cookie's path such as \"/\"",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\nassign = { cookie = \"c\", same_site = \"none\" }",
            "splits.t.assign.same_site: browsers refuse `same_site = \"none\"` without `secure` | set secure = true",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\noverrides = [{ pool = \"a\", trusted = true }]",
            "splits.t.overrides[0]: an override needs a condition | to send every request to one pool, set the weights",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\noverrides = [{ pool = \"a\", keys = [\"u\"] }]",
            "splits.t.overrides[0].keys: the split has no key to compare with | set the split's `key` or `assign`",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\nkey = [\"client_ip\"]\noverrides = [{ pool = \"a\", keys = [\"u\"] }]",
            "",
        ),
        (
            "[splits.t]\nweights = { a = 1 }\noverrides = [{ pool = \"c\", methods = [\"GET\"] }]",
            "splits.t.overrides[0].pool: there is no pool `c`",
        ),
    ]);
}

#[test]
fn names_are_suggested() {
    table(&[
        (
            "[pools.stable]\n[[routes]]\nname = \"r\"\npool = \"stabel\"",
            "routes[0].pool: there is no pool `stabel` | did you mean `stable`?",
        ),
        (
            "[splits.shop]\nweights = { a = 1 }\n[[routes]]\nname = \"r\"\nsplit = \"shp\"",
            "routes[0].split: there is no split `shp` | did you mean `shop`?",
        ),
    ]);
}

#[test]
fn conditions_and_edits() {
    route_table(&[
        (
            "hosts = [\"a.com:80\"]",
            "routes[0].hosts[0]: `a.com:80` is not a host | leave out the port: it is not compared",
        ),
        ("hosts = [\"*\"]", "routes[0].hosts[0]: `*` is not a host | write a name, or `*.` and a name"),
        (
            "matches = [{ path = {} }]",
            "routes[0].matches[0].path: exactly one of `prefix`, `exact`, `regex` is required",
        ),
        (
            "matches = [{ path = { prefix = \"x\" } }]",
            "routes[0].matches[0].path.prefix: `x` must start with `/`",
        ),
        (
            "matches = [{ path = { exact = \"/x?y\" } }]",
            "routes[0].matches[0].path.exact: `/x?y` must not hold `?` or `#`: a path ends before the query",
        ),
        (
            "matches = [{ methods = [\"get\"] }]",
            "routes[0].matches[0].methods[0]: `get` matches nothing: methods are compared with their case | did you mean `GET`?",
        ),
        ("matches = [{ methods = [\"G T\"] }]", "routes[0].matches[0].methods[0]: `G T` is not a method"),
        (
            "matches = [{ headers = [{ name = \"x\" }] }]",
            "routes[0].matches[0].headers[0]: exactly one of `exact`, `prefix`, `regex`, `present` is required",
        ),
        (
            "matches = [{ headers = [{ name = \"x y\", present = true }] }]",
            "routes[0].matches[0].headers[0].name: `x y` is not a header name",
        ),
        (
            "matches = [{ headers = [{ name = \"x\", exact = \"a\\n\" }] }]",
            "routes[0].matches[0].headers[0].exact: \"a\\n\" is not a header value | control characters and spaces at the ends are not allowed",
        ),
        (
            "matches = [{ query = [{ name = \"\", present = true }] }]",
            "routes[0].matches[0].query[0].name: is empty",
        ),
        (
            "matches = [{ cookies = [{ name = \"a\", regex = \"[\" }] }]",
            "routes[0].matches[0].cookies[0].regex: `[` is not a regular expression: unclosed character class",
        ),
        ("mirror = [{ pool = \"c\" }]", "routes[0].mirror[0].pool: there is no pool `c`"),
        ("rewrite = {}", "routes[0].rewrite: one of `host`, `path` is required"),
        (
            "rewrite = { path = { prefix = \"/y\" } }",
            "routes[0].rewrite.path.prefix: the route has a match without a prefix to replace | give every match of the route a path.prefix",
        ),
        ("matches = [{ path = { prefix = \"/x\" } }]\nrewrite = { path = { prefix = \"/y\" } }", ""),
        (
            "request_headers = { set = { host = \"x\" } }",
            "routes[0].request_headers.set.host: the Host is not edited as a header | use rewrite.host",
        ),
        (
            "response_headers = { remove = [\"Content-Length\"] }",
            "routes[0].response_headers.remove[0]: `Content-Length` is about the framing or the connection, and cannot be edited",
        ),
    ]);
}

#[test]
fn rollouts() {
    for (keys, expected) in [
        ("steps = [{ percent = 5 }, { percent = 100 }]", ""),
        ("strategy = \"blue_green\"", ""),
        ("", "steps: a canary needs steps | write steps = [{ percent = 5, hold = \"10m\" }]"),
        (
            "steps = [{ percent = 5 }, { percent = 5 }]",
            "steps[1].percent: must be above 5: each step sends more to the candidate",
        ),
        ("steps = [{ percent = 101 }]", "steps[0].percent: must be from 0 to 100"),
        (
            "steps = [{ percent = 5, hold = \"2h\" }]",
            "steps[0].hold: is longer than max_step_time (1h), so the step can never pass",
        ),
        ("strategy = \"ab\"\nsteps = [{ percent = 5 }]", "steps: only a canary has steps"),
        ("strategy = \"blue_green\"\nduration = \"1d\"", "duration: only `strategy = \"ab\"` has a duration"),
        ("strategy = \"ab\"\nguard = { failure_ratio = 1 }", ""),
        ("strategy = \"ab\"\nguard = { failure_ratio = 0.9 }", "guard.failure_ratio: must be at least 1"),
        ("strategy = \"ab\"\nguard = { failure_ratio = nan }", "guard.failure_ratio: must be at least 1"),
        (
            "strategy = \"ab\"\nguard = { unit = \"user\" }",
            "guard.unit: users cannot be counted: the split has no key | set the split's `key` or `assign`",
        ),
        (
            "strategy = \"ab\"\nguard = { latency = { quantile = 0.99 } }",
            "guard.latency: one of `max`, `ratio` is required",
        ),
        (
            "strategy = \"ab\"\nhooks = [{ on = \"replace\", url = \"http://x/\" }]",
            "hooks[0].on: only a pool's rollout calls hooks on `replace`",
        ),
        (
            "strategy = \"ab\"\nhooks = [{ on = \"start\", url = \"x\" }]",
            "hooks[0].url: `x` is not a URL such as \"http://127.0.0.1:9100/approve\"",
        ),
        (
            "strategy = \"ab\"\nhooks = [{ on = \"start\", url = \"http://me:secret@x/\" }]",
            "hooks[0].url: holds a name or a password, which would be shown wherever the URL is | \
             put a token into a file, and name that in `token_file`",
        ),
        (
            "strategy = \"ab\"\nchecks = [{ path = \"/selftest?a b\" }]",
            "checks[0].path: must have its query written as it is sent, with percent-encoding",
        ),
        ("strategy = \"ab\"\nchecks = [{ path = \"/selftest?a=b\" }]", ""),
    ] {
        let expected =
            if expected.is_empty() { String::new() } else { format!("splits.s.rollout.{expected}") };
        table(&[(&format!("[splits.s.rollout]\nbaseline = \"a\"\ncandidate = \"b\"\n{keys}\n"), &expected)]);
    }
    table(&[
        (
            "[splits.s.rollout]\nbaseline = \"a\"\ncandidate = \"a\"\nstrategy = \"ab\"",
            "splits.s.rollout.candidate: `candidate` is the baseline",
        ),
        (
            "[splits.s.rollout]\nbaseline = \"a\"\ncandidate = \"c\"\nstrategy = \"ab\"",
            "splits.s.rollout.candidate: there is no pool in this split named `c`",
        ),
        (
            "[pools.c.rollout]\nstrategy = \"rolling\"",
            "pools.c.rollout: nothing replaces the endpoints | add a hook with on = \"replace\"",
        ),
    ]);
}

#[test]
fn what_is_not_supported_is_refused() {
    let mirror = config(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n[pools.a]\nprotocol = \"h2\"\n[pools.b]\n\
         [[routes]]\nname = \"r\"\npool = \"b\"\nmirror = [{ pool = \"b\" }, { pool = \"a\" }]\n",
    );
    let found = not_yet::problems(&mirror);
    assert_eq!(found.iter().map(|p| &*p.path).collect::<Vec<_>>(), ["routes[0].mirror[1].pool"]);
}

#[test]
fn bodies_of_calls_are_checked_alike() {
    let pools = BTreeSet::from(["stable", "canary"]);
    let weights: BTreeMap<String, u32> = [("stable".into(), 1), ("canry".into(), 1)].into();
    let found: Vec<String> = super::weights(&weights, &pools, "weights").iter().map(shown).collect();
    assert_eq!(found, ["weights.canry: there is no pool `canry` | did you mean `canary`?"]);
    let bad = [Endpoint::Address("x:1".into())];
    assert_eq!(super::endpoints(&Pool::default(), &bad, "endpoints")[0].path, "endpoints[0]");
    let named = Pool { dns: Some("x:1".into()), ..Pool::default() };
    assert_eq!(super::endpoints(&named, &[], "endpoints")[0].path, "endpoints");
}
