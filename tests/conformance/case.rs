//! The cases, as they lie in files: what is sent, what it must come to, and which rule says so.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::notation;

/// Where the files are, seen from the crate that declares the test.
const FOLDER: &str = "../tests/conformance/cases";

/// How much a rule demands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Level {
    Must,
    Should,
    /// The rule allows it, or leaves it open; this is what Tidegate chose.
    May,
}

/// A case over HTTP/1.1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Unique over all files.
    pub(crate) id: String,
    /// In a few words.
    pub(crate) what: String,
    /// The rule, such as `RFC 9112 6.3`.
    pub(crate) rule: String,
    pub(crate) level: Level,
    /// Why this rule is not kept; never for a MUST.
    pub(crate) unmet: Option<String>,
    /// The listener that is asked.
    #[serde(default = "web")]
    pub(crate) listener: String,
    /// What the client sends, in the notation of [`notation`]; `$HOST` is a host that is routed.
    #[serde(default = "plain_get")]
    pub(crate) send: String,
    /// What it sends once the first answer's head is there.
    pub(crate) then: Option<String>,
    /// Whether the client then closes its side.
    #[serde(default)]
    pub(crate) half_close: bool,
    /// The statuses of all answers, interim ones too; `400|501` is one of two, `200 cut` breaks off.
    pub(crate) answers: Vec<String>,
    /// Whether the connection is closed after them; else it must serve another request.
    #[serde(default)]
    pub(crate) closed: bool,
    /// What the client is given at last.
    #[serde(default)]
    pub(crate) client: Expected,
    /// What reaches the upstream.
    #[serde(default)]
    pub(crate) forwarded: Forwarded,
    /// What the upstream does.
    #[serde(default)]
    pub(crate) upstream: Script,
    /// Whether the upstream's connection serves another request.
    pub(crate) reused: Option<bool>,
    /// The reasons of failures that the pool is charged with.
    #[serde(default)]
    pub(crate) charged: Vec<String>,
}

/// What an upstream does with a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    /// Sent as soon as the request's head is there.
    #[serde(default)]
    pub(crate) at_once: String,
    /// Sent when the whole request is there.
    #[serde(default = "plain_answer")]
    pub(crate) answer: String,
    #[serde(default)]
    pub(crate) then: Then,
}

impl Default for Script {
    fn default() -> Self {
        Self { at_once: String::new(), answer: plain_answer(), then: Then::Stay }
    }
}

/// What an upstream does after its answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Then {
    /// It waits for another request.
    #[default]
    Stay,
    Close,
    Reset,
}

/// Which requests an upstream must see.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Forwarded {
    /// True: as many as have a final answer. False: none, not even a part of one.
    Any(bool),
    /// None as a whole.
    Part(Part),
    /// This one.
    One(Expected),
    /// These, in this order.
    All(Vec<Expected>),
}

/// A request that the upstream must not see as a whole.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Some of it, or nothing.
    Cut,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self::Any(true)
    }
}

/// What must be true of a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// The first line.
    pub(crate) line: Option<String>,
    /// Fields that are there: `name`, or `name: all its values, joined`.
    #[serde(default)]
    pub(crate) has: Vec<String>,
    /// Names of fields that are not.
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    /// The body, without chunks, in the notation of [`notation`].
    pub(crate) body: Option<String>,
}

fn web() -> String {
    "web".to_owned()
}

fn plain_get() -> String {
    "GET / HTTP/1.1\nHost: $HOST\n\n".to_owned()
}

fn plain_answer() -> String {
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_owned()
}

/// All files of a folder, in the order of their names, as tables with the file's `defaults` filled in.
pub(crate) fn tables(folder: &str) -> Vec<toml::Table> {
    let mut files: Vec<_> = fs::read_dir(Path::new(FOLDER).join(folder))
        .unwrap_or_else(|error| panic!("{FOLDER}/{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut tables = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let mut file: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let defaults = file.remove("defaults");
        let cases = file.remove("case").and_then(|cases| cases.as_array().cloned()).unwrap_or_default();
        assert!(file.is_empty(), "{}: only [defaults] and [[case]]", path.display());
        for case in cases {
            let mut table = defaults.as_ref().and_then(|d| d.as_table().cloned()).unwrap_or_default();
            table.extend(case.as_table().expect("a case is a table").clone());
            tables.push(table);
        }
    }
    tables
}

/// The cases of a folder.
pub(crate) fn cases<T: serde::de::DeserializeOwned>(folder: &str) -> Vec<T> {
    let cases = tables(folder).into_iter().map(|table| {
        let id = table.get("id").map(ToString::to_string).unwrap_or_default();
        table.try_into().unwrap_or_else(|error| panic!("{folder}, case {id}: {error}"))
    });
    cases.collect()
}

/// The bytes of a text of this case.
pub(crate) fn bytes(id: &str, host: &str, text: &str) -> Vec<u8> {
    notation::bytes(&text.replace("$HOST", host)).unwrap_or_else(|error| panic!("case {id}: {error}"))
}
