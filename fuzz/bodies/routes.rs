//! Any table and any request: the index finds what the rule without an index finds.
//!
//! The bytes are choices among pieces that overlap on purpose, since random text would never match.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_core::config::{Match, PathMatch, Route, StringMatch};
use tidegate_core::request::{RequestView, normalise_host, normalise_path};
use tidegate_core::route::RouteTable;

const MOST_ROUTES: usize = 32;
const HOSTS: [&str; 8] = ["a.test", "A.Test.", "b.a.test", "*.test", "*.a.test", "*.b.a.test", "c", "*.c"];
const PATHS: [&str; 12] =
    ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a//b", "/a/b/c", "/%61", "/a%2Fb", "//", "/b"];
const REGEXES: [&str; 4] = ["/a.*", "/[a-z]+", ".*", "/(a|b)/?"];
const NAMES: [&str; 3] = ["x", "y", "z"];
const VALUES: [&str; 4] = ["", "1", "12", "1 2"];

/// Choices, as long as there are bytes; then the first of each.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % end
    }

    fn of<'t>(&mut self, among: &[&'t str]) -> &'t str {
        among[self.below(among.len())]
    }

    fn list<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }
}

/// Builds a table and asks it.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let routes = choices.list(MOST_ROUTES, |choices| Route {
        hosts: choices.list(2, |c| c.of(&HOSTS).to_owned()),
        matches: choices.list(3, matched),
        ..Route::default()
    });
    let table = RouteTable::compile(&routes);
    while !choices.0.is_empty() {
        asked(&mut choices, &table);
    }
}

fn matched(choices: &mut Choices<'_>) -> Match {
    let path = match choices.below(4) {
        0 => None,
        1 => Some(PathMatch { exact: Some(choices.of(&PATHS).to_owned()), ..PathMatch::default() }),
        2 => Some(PathMatch { prefix: Some(choices.of(&PATHS).to_owned()), ..PathMatch::default() }),
        _ => Some(PathMatch { regex: Some(choices.of(&REGEXES).to_owned()), ..PathMatch::default() }),
    };
    let client = choices.list(1, |c| c.of(&["10.0.0.0/8", "::/0"]).parse().expect("a block"));
    Match {
        path,
        methods: choices.list(1, |c| c.of(&["GET", "POST"]).to_owned()),
        headers: choices.list(2, test),
        query: choices.list(2, test),
        cookies: choices.list(2, test),
        client,
    }
}

fn test(choices: &mut Choices<'_>) -> StringMatch {
    let name = choices.of(&NAMES).to_owned();
    let mut test = StringMatch { name, exact: None, prefix: None, regex: None, present: None };
    let value = choices.of(&VALUES).to_owned();
    match choices.below(5) {
        0 => test.exact = Some(value),
        1 => test.prefix = Some(value),
        2 => test.regex = Some("1.?".to_owned()),
        kind => test.present = Some(kind == 3),
    }
    test
}

fn asked(choices: &mut Choices<'_>, table: &RouteTable) {
    let method: Method = choices.of(&["GET", "POST", "HEAD"]).parse().expect("a method");
    let host = choices.of(&["a.test", "b.a.test", "c.b.a.test", ".a.test", "test", "c", "d.c", ""]);
    let written = choices.of(&PATHS);
    let path = normalise_path(written).expect("a good path");
    let pairs = choices.list(3, |c| format!("{}={}", c.of(&NAMES), c.of(&VALUES).replace(' ', "+")));
    let query = (!pairs.is_empty()).then(|| pairs.join("&"));
    let mut headers = HeaderMap::new();
    for _ in 0..choices.below(4) {
        let name = HeaderName::from_static(choices.of(&NAMES));
        headers.append(name, HeaderValue::from_static(choices.of(&VALUES)));
    }
    let cookies = choices.list(3, |c| format!("{}={}", c.of(&NAMES), c.of(&VALUES)));
    if !cookies.is_empty() {
        headers.append("cookie", cookies.join("; ").parse().expect("a value"));
    }
    let client: IpAddr = choices.of(&["10.0.0.1", "192.0.2.1", "::1"]).parse().expect("an address");
    let view = RequestView {
        method: &method,
        host: &normalise_host(host),
        path: &path,
        query: query.as_deref(),
        headers: (&headers).into(),
        client,
        trusted: false,
    };
    let found = table.find(&view).map(|candidate| (candidate.route, candidate.number));
    let by_rule = table.find_by_rule(&view).map(|candidate| (candidate.route, candidate.number));
    assert_eq!(found, by_rule, "{view:?}");
}
