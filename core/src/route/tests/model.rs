//! The rule of the contract once more, sentence by sentence, held against the index.
//!
//! Works on what was written, shares no code with the table, and narrows a list instead of sorting.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::testing::Asked;

/// One match of one route at one of its hosts.
#[derive(Clone, Copy)]
struct Way<'a> {
    place: usize,
    number: usize,
    host: Option<&'a str>,
    what: &'a config::Match,
}

fn ways<'a>(routes: &'a [config::Route], everything: &'a config::Match) -> Vec<Way<'a>> {
    let mut all = Vec::new();
    for (place, route) in routes.iter().enumerate() {
        let hosts: Vec<Option<&str>> = if route.hosts.is_empty() {
            vec![None]
        } else {
            route.hosts.iter().map(|h| Some(h.as_str())).collect()
        };
        for host in hosts {
            if route.matches.is_empty() {
                all.push(Way { place, number: 0, host, what: everything });
            }
            for (number, what) in route.matches.iter().enumerate() {
                all.push(Way { place, number, host, what });
            }
        }
    }
    all
}

fn labels(host: &str) -> Vec<String> {
    let bare = host.strip_suffix('.').unwrap_or(host);
    bare.split('.').map(str::to_lowercase).collect()
}

fn host_matches(written: &str, host: &str) -> bool {
    match written.strip_prefix("*.") {
        Some(rest) => {
            let (rest, host) = (labels(rest), labels(host));
            // One label or more in front; the empty label of a leading dot is none.
            host.len() > rest.len() && host.ends_with(&rest) && host[0..host.len() - rest.len()] != [""]
        }
        None => labels(written) == labels(host),
    }
}

fn path_matches(written: Option<&config::PathMatch>, path: &str) -> bool {
    let Some(written) = written else { return true };
    if let Some(exact) = &written.exact {
        return exact == path;
    }
    if let Some(regex) = &written.regex {
        let found = regex::Regex::new(regex).unwrap().find_iter(path).any(|m| m.as_str() == path);
        return found;
    }
    let prefix = prefix_segments(written);
    let segments: Vec<&str> = path.split('/').collect();
    prefix.is_empty() || segments.len() >= prefix.len() && segments[..prefix.len()] == prefix[..]
}

/// The segments of a prefix without its trailing slash; none for `/`.
fn prefix_segments(written: &config::PathMatch) -> Vec<&str> {
    let text = written.prefix.as_deref().unwrap();
    let bare = text.strip_suffix('/').unwrap_or(text);
    if bare.is_empty() { Vec::new() } else { bare.split('/').collect() }
}

fn string_matches(test: &config::StringMatch, value: Option<&str>) -> bool {
    if let Some(present) = test.present {
        return value.is_some() == present;
    }
    let Some(value) = value else { return false };
    if let Some(exact) = &test.exact {
        return value == exact;
    }
    if let Some(prefix) = &test.prefix {
        return value.starts_with(prefix.as_str());
    }
    regex::Regex::new(&format!("^({})$", test.regex.as_deref().unwrap())).unwrap().is_match(value)
}

/// Headers, query and cookies as pairs, before any joining or choosing.
#[derive(Clone, Debug)]
struct Parts {
    headers: Vec<(&'static str, &'static str)>,
    /// Each with the way it is written in the URL.
    query: Vec<(&'static str, &'static str, &'static str)>,
    /// Each with the way it is written in the header.
    cookies: Vec<(&'static str, &'static str, &'static str)>,
}

fn holds(what: &config::Match, asked: &Asked, parts: &Parts) -> bool {
    let header = |name: &str| {
        let lines: Vec<&str> =
            parts.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    };
    let query = |name: &str| parts.query.iter().find(|(n, ..)| *n == name).map(|(_, v, _)| *v);
    let cookie = |name: &str| parts.cookies.iter().find(|(n, ..)| *n == name).map(|(_, v, _)| *v);
    path_matches(what.path.as_ref(), &asked.path)
        && (what.methods.is_empty() || what.methods.iter().any(|m| m == asked.method.as_str()))
        && what.headers.iter().all(|t| string_matches(t, header(&t.name).as_deref()))
        && what.query.iter().all(|t| string_matches(t, query(&t.name)))
        && what.cookies.iter().all(|t| string_matches(t, cookie(&t.name)))
        && (what.client.is_empty() || what.client.iter().any(|c| c.0.contains(&asked.client)))
}

/// Keeps those that score highest.
fn keep_best<T: Ord>(ways: &mut Vec<Way<'_>>, score: impl Fn(&Way<'_>) -> T) {
    if let Some(best) = ways.iter().map(&score).max() {
        ways.retain(|way| score(way) == best);
    }
}

fn winner(routes: &[config::Route], asked: &Asked, parts: &Parts) -> Option<(usize, usize)> {
    let everything = config::Match::default();
    let mut left = ways(routes, &everything);
    left.retain(|w| w.host.is_none_or(|h| host_matches(h, &asked.host)) && holds(w.what, asked, parts));
    // Exact host before wildcard (longer first) before any.
    keep_best(&mut left, |w| match w.host {
        None => (0, 0),
        Some(host) if host.starts_with("*.") => (1, labels(host).join(".").len()),
        Some(_) => (2, 0),
    });
    // Then exact path, then regex, then longest prefix.
    keep_best(&mut left, |w| match &w.what.path {
        Some(path) if path.exact.is_some() => (2, 0),
        Some(path) if path.regex.is_some() => (1, 0),
        Some(path) => (0, prefix_segments(path).join("/").len()),
        None => (0, 0),
    });
    keep_best(&mut left, |w| !w.what.methods.is_empty());
    keep_best(&mut left, |w| w.what.headers.len());
    keep_best(&mut left, |w| w.what.query.len());
    keep_best(&mut left, |w| w.what.cookies.len());
    keep_best(&mut left, |w| !w.what.client.is_empty());
    left.first().map(|w| (w.place, w.number))
}

const HOSTS: [&str; 10] = [
    "a.test",
    "A.Test.",
    "b.a.test",
    "c.b.a.test",
    "*.test",
    "*.a.test",
    "*.B.a.test",
    "*.b.a.test.",
    "other",
    "*.x.y.z",
];
const ASKED_HOSTS: [&str; 12] = [
    "a.test",
    "b.a.test",
    "c.b.a.test",
    "d.c.b.a.test",
    "test",
    "x.test",
    ".a.test",
    "..a.test",
    "",
    "other",
    "w.x.y.z",
    "y.z",
];
const PATHS: [&str; 10] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/a//", "/a//b", "/b"];
const ASKED_PATHS: [&str; 13] =
    ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/ab", "/abc", "/a//b", "/a//", "/b/a", "*"];
const REGEXES: [&str; 5] = ["/a.*", "/[a-z]+", "^/a/b$", ".*", "/(a|b)/?"];

fn path() -> impl Strategy<Value = Option<config::PathMatch>> {
    let made = |kind, text: &str| {
        let text = Some(text.to_owned());
        Some(match kind {
            0 => config::PathMatch { exact: text, ..Default::default() },
            1 => config::PathMatch { regex: text, ..Default::default() },
            _ => config::PathMatch { prefix: text, ..Default::default() },
        })
    };
    prop_oneof![
        1 => Just(None),
        2 => select(&PATHS[..]).prop_map(move |p| made(0, p)),
        1 => select(&REGEXES[..]).prop_map(move |p| made(1, p)),
        4 => select(&PATHS[..]).prop_map(move |p| made(2, p)),
    ]
}

fn strings(names: &'static [&'static str]) -> impl Strategy<Value = Vec<config::StringMatch>> {
    let one = (select(names), 0..5, select(&["1", "12", "", "1 2"][..])).prop_map(|(name, kind, value)| {
        let value = value.to_owned();
        let mut test = config::StringMatch {
            name: name.to_owned(),
            exact: None,
            prefix: None,
            regex: None,
            present: None,
        };
        match kind {
            0 => test.exact = Some(value),
            1 => test.prefix = Some(value),
            2 => test.regex = Some("1.?".to_owned()),
            kind => test.present = Some(kind == 3),
        }
        test
    });
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}

fn matches() -> impl Strategy<Value = Vec<config::Match>> {
    let methods =
        select(vec![vec![], vec![], vec!["GET".to_owned()], vec!["GET".to_owned(), "POST".to_owned()]]);
    let client = select(vec![
        vec![],
        vec![],
        vec!["10.0.0.0/8".parse().unwrap()],
        vec!["2001:db8::/32".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
    ]);
    let one =
        (path(), methods, strings(&["x-a", "X-B"]), strings(&["q", "r s"]), strings(&["c", "d"]), client)
            .prop_map(|(path, methods, headers, query, cookies, client)| config::Match {
                path,
                methods,
                headers,
                query,
                cookies,
                client,
            });
    prop::collection::vec(one, 0..4)
}

fn table() -> impl Strategy<Value = Vec<config::Route>> {
    let hosts = prop_oneof![
        1 => Just(Vec::new()),
        2 => prop::collection::vec(select(&HOSTS[..]).prop_map(str::to_owned), 1..4),
    ];
    let route = (hosts, matches()).prop_map(|(hosts, matches)| config::Route {
        hosts,
        matches,
        ..config::Route::default()
    });
    prop::collection::vec(route, 0..25)
}

fn asked() -> impl Strategy<Value = (Asked, Parts)> {
    let method = select(vec![http::Method::GET, http::Method::POST, http::Method::HEAD]);
    let client = select(vec!["10.0.0.1", "10.1.0.1", "2001:db8::1", "192.0.2.1"]);
    let headers = prop::collection::vec(
        (select(vec!["x-a", "X-A", "x-b"]), select(vec!["1", "12", "", "1 2", "x"])),
        0..4,
    );
    let query = prop::collection::vec(
        select(vec![
            ("q", "1", "q=1"),
            ("q", "12", "%71=%312"),
            ("r s", "1 2", "r+s=1%202"),
            ("r s", "", "r%20s"),
            ("Q", "1", "Q=1"),
        ]),
        0..4,
    );
    let cookies = prop::collection::vec(
        select(vec![("c", "1", "c=1"), ("c", "12", "c=\"12\""), ("d", "1 2", " d=1 2 "), ("d", "", "d=")]),
        0..4,
    );
    let parts =
        (headers, query, cookies).prop_map(|(headers, query, cookies)| Parts { headers, query, cookies });
    (method, select(&ASKED_HOSTS[..]), select(&ASKED_PATHS[..]), client, parts).prop_map(
        |(method, host, path, client, parts)| {
            let query: Vec<&str> = parts.query.iter().map(|(.., text)| *text).collect();
            let cookies: Vec<&str> = parts.cookies.iter().map(|(.., text)| *text).collect();
            let mut asked = Asked {
                method,
                host: host.to_owned(),
                path: path.to_owned(),
                query: (!query.is_empty()).then(|| query.join("&")),
                headers: http::HeaderMap::new(),
                client: client.parse::<IpAddr>().unwrap(),
                trusted: false,
            };
            for (name, value) in &parts.headers {
                asked = asked.with(name, value);
            }
            if !cookies.is_empty() {
                asked = asked.with("cookie", &cookies.join(";"));
            }
            (asked, parts)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_index_agrees_with_the_rule_and_with_the_words(
        routes in table(),
        requests in prop::collection::vec(asked(), 20),
    ) {
        let table = RouteTable::compile(&routes);
        for (asked, parts) in &requests {
            let found = table.find(&asked.view()).map(|c| (c.route as usize, c.number as usize));
            let by_rule = table.find_by_rule(&asked.view()).map(|c| (c.route as usize, c.number as usize));
            prop_assert_eq!(found, by_rule, "index and rule: {:?}", asked);
            prop_assert_eq!(found, winner(&routes, asked, parts), "index and words: {:?}", asked);
        }
    }
}
