//! What the reader says about files: each mistake once, with its path, line and hint.

use super::*;

const LISTENER: &str = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n";

fn no_env(_: &str) -> Option<String> {
    None
}

/// The problems of `text` as lines of `line path: message | hint`.
fn problems(text: &str) -> Vec<String> {
    let Err(found) = read(text, &no_env) else { return Vec::new() };
    assert!(!found.is_empty(), "a refusal says why: {text}");
    found.into_iter().map(shown).collect()
}

fn shown(problem: Problem) -> String {
    let line = problem.line.map_or("-".into(), |line| line.to_string());
    let hint = problem.hint.map_or(String::new(), |hint| format!(" | {hint}"));
    format!("{line} {}: {}{hint}", problem.path, problem.message)
}

/// Checks files that begin with a good listener (lines 1 to 3).
fn table(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(problems(&format!("{LISTENER}{text}")), *expected, "\n{text}");
    }
}

#[test]
fn good_files_are_read() {
    table(&[
        ("", &[]),
        ("[pools.a]\n", &[]),
        ("[pools.\"app.v1\"]\nendpoints = [\"[::1]:9001\", { address = \"1.2.3.4:5\", weight = 2 }]\n", &[]),
        ("[log]\naccess_sample = 1\nlevel = \"info,tidegate=debug\"\n", &[]),
        ("max_header_size = 2048\nmax_body_size = \"1MiB\"\n", &[]),
        ("[[routes]]\nname = \"r\"\nweights = { a = 1 }\n[pools.a]\n", &[]),
    ]);
    assert_eq!(problems(&LISTENER.replace('\n', "\r\n")), [""; 0], "CRLF");
    assert_eq!(problems(&format!("\u{feff}{LISTENER}")), [""; 0], "byte order mark");
}

#[test]
fn keys_and_types() {
    table(&[
        ("adress = \"x\"\n", &["4 listeners[0].adress: unknown key `adress` | did you mean `address`?"]),
        (
            "[logs]\nlevel = 5\n",
            &[
                "4 logs: unknown key `logs` | did you mean `log`?",
                "5 log.level: must be a string, not an integer",
            ],
        ),
        (
            "[log]\nfoo = 1\n",
            &["5 log.foo: unknown key `foo` | known here: access, access_sample, level, output"],
        ),
        ("[log]\naccess = \"onn\"\n", &["5 log.access: `onn` is not one of on, off | did you mean `on`?"]),
        ("[log]\naccess = true\n", &["5 log.access: must be a string, not a boolean"]),
        ("[log]\naccess_sample = nan\n", &["5 log.access_sample: must be a finite number"]),
        ("[log]\naccess_sample = 1.5\n", &["5 log.access_sample: must be at most 1, not 1.5"]),
        ("[server]\nworkers = -1\n", &["5 server.workers: must be at least 0, not -1"]),
        ("[server]\nworkers = 65536\n", &["5 server.workers: must be at most 65535, not 65536"]),
        ("[server]\nworkers = 1979-05-27\n", &["5 server.workers: must be an integer, not a date"]),
        ("[server]\nworkers = { a = 1 }\n", &["5 server.workers: must be an integer, not a table"]),
        (
            "[server]\nshutdown_delay = \"soon\"\n",
            &["5 server.shutdown_delay: `soon` is not a duration such as \"250ms\", \"10s\" or \"5m\""],
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"x\"]\n",
            &["5 server.trusted_proxies[1]: `x` is not a CIDR such as \"10.0.0.0/8\" or an address"],
        ),
        ("max_body_size = -1\n", &["4 listeners[0].max_body_size: must be at least 0, not -1"]),
        (
            "max_body_size = \"x\"\n",
            &[
                "4 listeners[0].max_body_size: `x` is not a size such as \"64KiB\", \"1MiB\" or a number of bytes",
            ],
        ),
        (
            "max_body_size = true\n",
            &["4 listeners[0].max_body_size: must be a string or an integer, not a boolean"],
        ),
        (
            "[pools.a]\nendpoints = [true]\n",
            &["5 pools.a.endpoints[0]: must be a string or a table, not a boolean"],
        ),
        (
            "[pools.a]\nendpoints = [{ weight = 1 }]\n",
            &["5 pools.a.endpoints[0].address: `address` is required"],
        ),
        ("[[routes]]\npool = \"a\"\n[pools.a]\n", &["4 routes[0].name: `name` is required"]),
        (
            "pools = 5\n",
            &["4 listeners[0].pools: unknown key `pools` | known here: address, header_timeout, \
            http2, idle_timeout, max_body_size, max_connections, max_header_size, name, proxy_protocol, tls"],
        ),
    ]);
}

#[test]
fn a_mistake_is_told_once() {
    table(&[
        // The pool exists, however broken, so mentions of it are right.
        (
            "[pools.a]\nbalance = 5\n[[routes]]\nname = \"r\"\npool = \"a\"\n",
            &["5 pools.a.balance: must be a string, not an integer"],
        ),
        // A broken target is a target.
        ("[[routes]]\nname = \"r\"\npool = 5\n", &["6 routes[0].pool: must be a string, not an integer"]),
        // A broken weight does not bring the sum to zero.
        (
            "[splits.s]\nweights = { a = \"x\" }\n[pools.a]\n",
            &["5 splits.s.weights.a: must be an integer, not a string"],
        ),
        // A misspelt table is read as what it was meant to be.
        (
            "[pool.a]\n[[routes]]\nname = \"r\"\npool = \"a\"\n",
            &["4 pool: unknown key `pool` | did you mean `pools`?"],
        ),
    ]);
}

#[test]
fn weights_that_cannot_be() {
    let bad = |weight: &str| {
        problems(&format!(
            "{LISTENER}[splits.s]\nweights = {{ a = 1, b = {weight} }}\n[pools]\na = {{}}\nb = {{}}\n"
        ))
    };
    for (weight, message) in [
        ("-1", "must be at least 0, not -1"),
        ("nan", "must be an integer, not a number"),
        ("inf", "must be an integer, not a number"),
        ("1e309", "must be an integer, not a number"),
        ("0.5", "must be an integer, not a number"),
        ("1000001", "must be at most 1000000, not 1000001"),
        ("4294967296", "must be at most 1000000, not 4294967296"),
        ("99999999999999999999", "must be at most 1000000, not 99999999999999999999"),
    ] {
        assert_eq!(bad(weight), [format!("5 splits.s.weights.b: {message}")], "{weight}");
    }
    assert_eq!(bad("0"), [""; 0]);
}

#[test]
fn mistakes_of_syntax() {
    table(&[
        (
            "http2 = yes\n",
            &[
                "4 listeners[0].http2: string values must be quoted, expected literal string | put text in double quotes",
            ],
        ),
        (
            "max_body_size = \"1MiB\nhttp2 = 5\n",
            &[
                "4 listeners[0].max_body_size: invalid basic string, expected `\"`",
                "5 listeners[0].http2: must be true or false, not an integer",
            ],
        ),
        (
            "[pools.a\nbalance = 5\n[[routes]]\nname = \"r\"\npool = \"a\"\n",
            &[
                "4 pools.a: unclosed table, expected `]`",
                "5 pools.a.balance: must be a string, not an integer",
            ],
        ),
        (
            "[pools.a]\nendpoints: []\nbalance = 5\n",
            &[
                "5 pools.a.endpoints: invalid unquoted key, expected letters, numbers, `-`, `_` | a key is written `key = value`",
                "6 pools.a.balance: must be a string, not an integer",
            ],
        ),
        (
            "[pools.a]\nendpoints = [\"127.0.0.1:1\"\nbalance = 5\n[log]\nlevel = 1\n",
            &[
                "5 pools.a.endpoints: unclosed array, expected `]`",
                "6 pools.a.balance: must be a string, not an integer",
                "8 log.level: must be a string, not an integer",
            ],
        ),
        (
            "[pools.a]\nendpoints = [\n  \"127.0.0.1:1\",\n  127.0.0.1:2,\n  5,\n]\n",
            &[
                "7 pools.a.endpoints[1]: invalid float, expected nothing | put text in double quotes",
                "8 pools.a.endpoints[2]: must be a string or a table, not an integer",
            ],
        ),
        (
            "[pools.a]\n?\nbalance = 5\n",
            &[
                "5 : invalid unquoted key, expected letters, numbers, `-`, `_` | a key is written `key = value`",
                "6 pools.a.balance: must be a string, not an integer",
            ],
        ),
    ]);
}

#[test]
fn duplicates() {
    table(&[
        ("name = \"b\"\n", &["4 listeners[0].name: `name` is written twice | remove one of the two"]),
        ("[pools.a]\n[log]\n[pools.a]\n", &["6 pools.a: `a` is written twice | remove one of the two"]),
        (
            "[pools.a]\nlimits = { queue = 0, queue = 0 }\n",
            &["5 pools.a.limits.queue: `queue` is written twice | remove one of the two"],
        ),
        ("[pools.a]\n[[pools.a]]\n", &["5 pools.a: `a` is written twice | remove one of the two"]),
        ("[listeners]\n", &["4 listeners: `listeners` is written twice | remove one of the two"]),
    ]);
}

#[test]
fn the_environment() {
    let env = |name: &str| (name == "PORT").then(|| "8080".to_owned());
    let text = "[[listeners]]\nname = \"web\"\naddress = \"${HOST:-127.0.0.1}:${PORT}\"\n";
    let config = read(text, &env).expect("good");
    assert_eq!(config.listeners[0].address, "127.0.0.1:8080");
    assert_eq!(
        problems(text),
        [
            "3 listeners[0].address: the environment variable `PORT` is not set | set it, or write `${PORT:-default}`",
        ]
    );
}

#[test]
fn ten_mistakes_are_ten_problems() {
    let text = r#"
[[listeners]]
name = "web"
adress = "127.0.0.1:8080"

[server]
workers = "many"
shutdown_timeout = "30 parsecs"

[pools.stable]
endpoints = ["127.0.0.1:9001", "app.internal:80"]
balance = "round-robin"
endpoints = []

[splits.shop]
weights = { stable = 0, canry = 0 }

[[routes]]
name = shop
split = "shoop"
matches = [{ path = { regex = "(" } }]
"#;
    assert_eq!(
        problems(text),
        [
            "4 listeners[0].adress: unknown key `adress` | did you mean `address`?",
            "7 server.workers: must be an integer, not a string",
            "8 server.shutdown_timeout: `30 parsecs` is not a duration such as \"250ms\", \"10s\" or \"5m\"",
            "11 pools.stable.endpoints[1]: `app.internal:80` is not an address such as \"127.0.0.1:9001\", \
         \"[::1]:9001\" or \"unix:PATH\" | names go in `dns = \"app.internal:80\"`",
            "12 pools.stable.balance: `round-robin` is not one of least_request, round_robin, random, hash | \
         did you mean `round_robin`?",
            "13 pools.stable.endpoints: `endpoints` is written twice | remove one of the two",
            "16 splits.shop.weights: the weights add up to 0 | give a pool a weight above 0",
            "16 splits.shop.weights.canry: there is no pool `canry`",
            "19 routes[0].name: string values must be quoted, expected literal string | put text in double quotes",
            "20 routes[0].split: there is no split `shoop` | did you mean `shop`?",
            "21 routes[0].matches[0].path.regex: `(` is not a regular expression: unclosed group",
        ]
    );
}

#[test]
fn hostile_files_are_refused_cheaply() {
    let junk = "=[\"\n".repeat(1 << 18);
    let keys = (0..20_000).map(|n| format!("k{n} = 1")).collect::<Vec<_>>().join("\n");
    for text in [
        "",
        "\0",
        "{\"listeners\": []}",
        "listeners:\n  - name: web\n",
        "<xml/>",
        &"[".repeat(10_000),
        &format!("a = {}", "[".repeat(10_000)),
        &format!("a = {}", "{a=".repeat(10_000)),
        &format!("{}a = 1", "a.".repeat(10_000)),
        &"x".repeat(MAX_FILE_BYTES + 1),
        &junk,
        &format!("{junk}{junk}"),
        &keys,
    ] {
        let found = problems(text);
        assert!(!found.is_empty() && found.len() <= MOST_PROBLEMS + 1, "{text:.60}");
    }
    assert_eq!(
        problems(""),
        ["1 listeners: at least one listener is required | add [[listeners]] with a name and an address",]
    );
}
