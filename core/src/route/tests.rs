//! Precedence and matching: tables, and the index against the rule written out.

use std::fmt::Write as _;

use super::*;
use crate::testing::{Asked, ask};

mod model;

/// Routes written as `name | hosts | matches`, both as TOML; either may be empty.
fn routes(lines: &[&str]) -> Vec<config::Route> {
    let mut text = String::new();
    for line in lines {
        let mut parts = line.splitn(3, '|').map(str::trim);
        let (name, hosts, matches) = (parts.next(), parts.next(), parts.next());
        let (hosts, matches) = (hosts.unwrap_or_default(), matches.unwrap_or_default());
        writeln!(
            text,
            "[[routes]]\nname = {:?}\nhosts = [{hosts}]\nmatches = [{matches}]\npool = \"p\"",
            name.unwrap()
        )
        .unwrap();
    }
    text.push_str("[pools.p]\n");
    crate::testing::config(&text).routes.clone()
}

fn won<'a>(routes: &'a [config::Route], asked: &Asked) -> Option<&'a str> {
    let table = RouteTable::compile(routes);
    let found = table.find(&asked.view());
    assert_eq!(
        found.map(|c| (c.route, c.number)),
        table.find_by_rule(&asked.view()).map(|c| (c.route, c.number)),
        "the index and the rule disagree about {asked:?}"
    );
    found.map(|c| routes[c.route as usize].name.as_str())
}

/// One request, the routes in the order of the file, and the name of the one that wins.
type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>);

fn check(cases: &[Case<'_>]) {
    for (line, lines, winner) in cases {
        let written = routes(lines);
        assert_eq!(won(&written, &ask(line)), *winner, "{line} among {lines:#?}");
        // The order in the file decides only between equals.
        let mut turned = written.clone();
        turned.reverse();
        assert_eq!(won(&turned, &ask(line)), *winner, "{line} among {lines:#?}, from the end");
    }
}

#[test]
fn hosts_rank_exact_then_longer_wildcards_then_any() {
    check(&[
        ("GET a.x.org/", &["any||", "short|'*.org'|", "long|'*.x.org'|", "exact|'a.x.org'|"], Some("exact")),
        ("GET b.x.org/", &["any||", "short|'*.org'|", "long|'*.x.org'|", "exact|'a.x.org'|"], Some("long")),
        ("GET b.y.org/", &["any||", "short|'*.org'|", "long|'*.x.org'|"], Some("short")),
        ("GET b.y.com/", &["any||", "short|'*.org'|"], Some("any")),
        ("GET b.y.com/", &["short|'*.org'|"], None),
        // The host goes before every other condition.
        ("GET a.x.org/v2", &["exact||{ path = { exact = '/v2' } }", "host|'*.x.org'|"], Some("host")),
    ]);
}

#[test]
fn a_more_specific_host_does_not_hide_others() {
    let lines = [
        "exact|'a.x.org'|{ path = { prefix = '/exact' } }",
        "wildcard|'*.x.org'|{ path = { prefix = '/wildcard' } }",
        "short|'*.org'|{ path = { prefix = '/short' } }",
        "any||{ path = { prefix = '/any' } }",
    ];
    for name in ["exact", "wildcard", "short", "any"] {
        check(&[(&format!("GET a.x.org/{name}"), &lines, Some(name))]);
    }
    check(&[("GET a.x.org/none", &lines, None)]);
}

#[test]
fn hosts_are_compared_without_case_port_and_trailing_dot() {
    for host in ["shop.example.com", "Shop.EXAMPLE.com", "shop.example.com:8443", "shop.example.com.:80"] {
        for written in ["shop.example.com", "SHOP.example.com", "shop.example.com."] {
            check(&[(&format!("GET {host}/"), &[&format!("r|'{written}'|")], Some("r"))]);
        }
    }
    for host in ["a.Example.org:80", "a.example.org."] {
        for written in ["*.example.org", "*.EXAMPLE.org", "*.example.org."] {
            check(&[(&format!("GET {host}/"), &[&format!("r|'{written}'|")], Some("r"))]);
        }
    }
}

/// A Host in brackets is normalised without them, and so must the written one be.
#[test]
fn hosts_may_be_addresses() {
    check(&[
        ("GET [::1]:80/", &["r|'[::1]'|"], Some("r")),
        ("GET [2001:DB8::1]/", &["r|'[2001:db8::1]'|"], Some("r")),
        ("GET 127.0.0.1:80/", &["r|'127.0.0.1'|"], Some("r")),
        ("GET 127.0.0.2/", &["r|'127.0.0.1'|"], None),
    ]);
}

#[test]
fn wildcards_stand_for_one_label_or_more() {
    let lines = ["r|'*.example.org'|"];
    for (host, winner) in [
        ("a.example.org", Some("r")),
        ("a.b.example.org", Some("r")),
        ("a.b.c.d.example.org", Some("r")),
        ("example.org", None),
        (".example.org", None),
        ("aexample.org", None),
        ("a.example.org.evil", None),
        ("", None),
    ] {
        check(&[(&format!("GET {host}/"), &lines, winner)]);
    }
}

#[test]
fn paths_rank_exact_then_regex_then_longest_prefix() {
    let lines = [
        "none||",
        "short||{ path = { prefix = '/v' } }",
        "long||{ path = { prefix = '/v/x' } }",
        "regex||{ path = { regex = '^/v/x/[0-9]+$' } }",
        "exact||{ path = { exact = '/v/x/1' } }",
    ];
    check(&[
        ("GET h/v/x/1", &lines, Some("exact")),
        ("GET h/v/x/2", &lines, Some("regex")),
        ("GET h/v/x/y", &lines, Some("long")),
        ("GET h/v/y", &lines, Some("short")),
        ("GET h/vv", &lines, Some("none")),
        // The path goes before every condition that comes later.
        (
            "GET h/v/x",
            &[
                "prefix||{ path = { prefix = '/v/x' } }",
                "more||{ path = { prefix = '/v' }, methods = ['GET'] }",
            ],
            Some("prefix"),
        ),
    ]);
    // A match without a path ranks as the prefix `/`: the order in the file decides.
    let (bare, slash) = ("bare||", "slash||{ path = { prefix = '/' } }");
    assert_eq!(won(&routes(&[bare, slash]), &ask("GET h/x")), Some("bare"));
    assert_eq!(won(&routes(&[slash, bare]), &ask("GET h/x")), Some("slash"));
}

#[test]
fn prefixes_are_whole_segments() {
    for (prefix, path, matches) in [
        ("/v2", "/v2", true),
        ("/v2", "/v2/x", true),
        ("/v2", "/v2/", true),
        ("/v2", "/v2x", false),
        ("/v2/", "/v2", true),
        ("/v2/", "/v2/x", true),
        ("/v2/", "/v2x", false),
        ("/", "/", true),
        ("/", "/x", true),
        ("/a/b", "/a", false),
        ("/a", "/A", false),
        ("/a%2fb", "/a/b", false),
        ("/a", "//a", false),
    ] {
        let line = format!("r||{{ path = {{ prefix = '{prefix}' }} }}");
        check(&[(&format!("GET h{path}"), &[&line], matches.then_some("r"))]);
    }
}

#[test]
fn regular_expressions_match_the_whole_path() {
    for (regex, path, matches) in [
        ("/items/[0-9]+", "/items/12", true),
        ("/items/[0-9]+", "/items/12/x", false),
        ("/items/[0-9]+", "/x/items/12", false),
        ("/a|/bc", "/bc", true),
        ("/a|/bc", "/abc", false),
        ("^/a$", "/a", true),
    ] {
        let line = format!("r||{{ path = {{ regex = '{regex}' }} }}");
        check(&[(&format!("GET h{path}"), &[&line], matches.then_some("r"))]);
    }
}

#[test]
fn then_method_headers_query_cookies_client_and_the_order_in_the_file() {
    let asked =
        ask("GET h/?q=1&r=2").with("a", "1").with("b", "2").with("cookie", "c=1; d=2").from("10.1.2.3");
    let header = "{ name = 'a', exact = '1' }";
    let query = "{ name = 'q', exact = '1' }";
    let cookie = "{ name = 'c', exact = '1' }";
    // From the most to the least specific; each beats all below, wherever they are in the file.
    let ranked = [
        "methods = ['GET', 'POST']".to_owned(),
        format!("headers = [{header}, {{ name = 'b', present = true }}]"),
        format!("headers = [{header}], query = [{query}]"),
        format!("headers = [{header}]"),
        format!("query = [{query}, {{ name = 'r', prefix = '2' }}]"),
        format!("query = [{query}], cookies = [{cookie}]"),
        format!("query = [{query}]"),
        format!("cookies = [{cookie}, {{ name = 'd', regex = '[0-9]' }}]"),
        format!("cookies = [{cookie}], client = ['10.0.0.0/8']"),
        format!("cookies = [{cookie}]"),
        "client = ['10.0.0.0/8', '192.0.2.0/24']".to_owned(),
        String::new(),
    ];
    for (at, winner) in ranked.iter().enumerate() {
        for loser in &ranked[at + 1..] {
            let (winner, loser) = (format!("winner||{{ {winner} }}"), format!("loser||{{ {loser} }}"));
            assert_eq!(won(&routes(&[&loser, &winner]), &asked), Some("winner"), "{winner} {loser}");
            assert_eq!(won(&routes(&[&winner, &loser]), &asked), Some("winner"), "{winner} {loser}");
        }
    }
    assert_eq!(won(&routes(&["one||", "two||"]), &asked), Some("one"));
}

#[test]
fn matches_are_ranked_each_for_itself() {
    let lines = [
        "both||{ path = { exact = '/v2/pay' } }, { path = { prefix = '/checkout' } }",
        "one||{ path = { prefix = '/checkout/x' } }, { path = { prefix = '/v2' } }",
    ];
    check(&[
        ("GET h/v2/pay", &lines, Some("both")),
        ("GET h/checkout/x", &lines, Some("one")),
        ("GET h/checkout/y", &lines, Some("both")),
        ("GET h/v2/x", &lines, Some("one")),
    ]);
}

#[test]
fn within_a_match_all_conditions_hold() {
    let lines =
        ["r||{ path = { prefix = '/a' }, methods = ['GET'], headers = [{ name = 'V', exact = 'Two' }] }"];
    let written = routes(&lines);
    for (asked, winner) in [
        (ask("GET h/a").with("v", "Two"), Some("r")),
        (ask("GET h/a").with("v", "two"), None),
        (ask("GET h/a"), None),
        (ask("HEAD h/a").with("v", "Two"), None),
        (ask("GET h/b").with("v", "Two"), None),
    ] {
        assert_eq!(won(&written, &asked), winner, "{asked:?}");
    }
}

#[test]
fn fine_print_of_values() {
    let case = |condition: &str, asked: Asked, holds: bool| {
        let written = routes(&[&format!("r||{{ {condition} }}")]);
        assert_eq!(won(&written, &asked).is_some(), holds, "{condition} {asked:?}");
    };
    let get = || ask("GET h/");
    case("methods = ['GET']", ask("HEAD h/"), false);
    case("methods = ['HEAD', 'GET']", ask("HEAD h/"), true);
    let lines = || get().with("x", "1").with("X", "2");
    case("headers = [{ name = 'x', exact = '1,2' }]", lines(), true);
    case("headers = [{ name = 'x', exact = '1' }]", lines(), false);
    case("headers = [{ name = 'x', prefix = '1' }]", lines(), true);
    case("headers = [{ name = 'x', regex = '1' }]", lines(), false);
    case("headers = [{ name = 'x', regex = '[12],2' }]", lines(), true);
    case("headers = [{ name = 'x', present = true }]", get().with("x", ""), true);
    case("headers = [{ name = 'x', present = false }]", get().with("x", ""), false);
    case("headers = [{ name = 'x', present = false }]", get(), true);
    case("headers = [{ name = 'x', exact = '' }]", get(), false);
    case("query = [{ name = 'a', exact = '1' }]", ask("GET h/?a=1&a=2"), true);
    case("query = [{ name = 'a', exact = '2' }]", ask("GET h/?a=1&a=2"), false);
    case("query = [{ name = 'a b', exact = 'c/d e' }]", ask("GET h/?a+b=c%2Fd%20e"), true);
    case("query = [{ name = 'A', exact = '1' }]", ask("GET h/?a=1"), false);
    case("query = [{ name = 'a', present = true }]", ask("GET h/?a"), true);
    case("query = [{ name = 'a', present = false }]", ask("GET h/"), true);
    let crumbs = || get().with("cookie", "c=1; c=2").with("cookie", "d=\"x\"");
    case("cookies = [{ name = 'c', exact = '1' }]", crumbs(), true);
    case("cookies = [{ name = 'c', exact = '2' }]", crumbs(), false);
    case("cookies = [{ name = 'd', exact = 'x' }]", crumbs(), true);
    case("cookies = [{ name = 'D', present = true }]", crumbs(), false);
    case("client = ['10.0.0.0/8']", get().from("10.255.0.1"), true);
    case("client = ['10.0.0.0/8']", get().from("11.0.0.1"), false);
    case("client = ['2001:db8::/32', '10.0.0.1']", get().from("2001:db8::7"), true);
    case("client = ['2001:db8::/32', '10.0.0.1']", get().from("10.0.0.1"), true);
}

/// Bytes that are not text are compared as they are.
#[test]
fn values_need_not_be_text() {
    let written = routes(&["r||{ headers = [{ name = 'x', regex = '.+' }] }", "rest||"]);
    let mut asked = ask("GET h/");
    asked.headers.insert("x", http::HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
    assert!(won(&written, &asked).is_some());
}

/// A Host of many dots once cost a hash of what remains at each of them.
#[test]
fn a_host_of_many_dots_costs_little() {
    let table = RouteTable::compile(&routes(&["r|'*.example.org'|", "longer|'*.a.example.org'|"]));
    let asked = |host: String| Asked { host, ..ask("GET h/") };
    let dots = ".".repeat(60_000);
    let hashed: usize = table.wildcard_suffixes(&format!("{dots}example.com")).map(str::len).sum();
    assert!(hashed < 200, "{hashed} bytes are hashed");
    let found = |host: String| table.find(&asked(host).view()).map(|c| c.route);
    assert_eq!(found(format!("{dots}x.example.org")), Some(0));
    assert_eq!(found(format!("{dots}x.a.example.org")), Some(1));
    assert_eq!(found("x.a.example.org".into()), Some(1));
}

#[test]
fn rejections_say_why() {
    let written = routes(&[
        "host|'a.org'|",
        "path||{ path = { exact = '/x' } }",
        "method||{ methods = ['PUT'] }",
        "header||{ headers = [{ name = 'v', present = true }] }",
        "query||{ query = [{ name = 'v', present = true }] }",
        "cookie||{ cookies = [{ name = 'v', present = true }] }",
        "client||{ client = ['10.0.0.0/8'] }",
        "second||{ path = { exact = '/x' } }, { path = { prefix = '/' } }",
        "winner||{ path = { prefix = '/p' } }",
    ]);
    let table = RouteTable::compile(&written);
    let asked = ask("GET h/p");
    let winner = table.find(&asked.view()).map(|c| c.route);
    let rejected = table.rejections(&asked.view(), winner);
    let why = |name: &str| {
        let found = rejected.iter().find(|(id, _)| written[*id as usize].name == name);
        found.map(|(_, why)| why.as_str())
    };
    for (name, reason) in [
        ("host", "host h is not a.org"),
        ("path", "path /p is not exact /x"),
        ("method", "method GET is not among [PUT]"),
        ("header", "header v does not match"),
        ("query", "query parameter v does not match"),
        ("cookie", "cookie v does not match"),
        ("client", "client 192.0.2.1 is in none of the blocks"),
        ("second", "a more specific route wins"),
    ] {
        assert_eq!(why(name), Some(reason), "{name}");
    }
    assert_eq!(why("winner"), None);
    assert_eq!(rejected.len(), written.len() - 1);
}
