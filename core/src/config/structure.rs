//! Whether the tree has the shape that the schema asks for: known keys, fitting types, readable
//! leaves, numbers in range, nothing missing.
//!
//! Whatever is wrong is reported once and mended: replaced by the default, or by the least value
//! of its type. So the tree can always be read by serde afterwards, list elements keep their
//! numbers, and the checks of meaning that follow can tell, by [`Report::mended`], what they must
//! not speak about again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::env::Expander;
use super::tree::{Node, Value};
use crate::units::{Cidr, Size, Span};
use crate::validate::{MOST_PROBLEMS, Problem, nearest, path};

/// What the walk found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    /// The paths of what was mended.
    pub(super) mended: BTreeSet<String>,
    /// The paths of keys that there are not; each is a problem, too.
    pub(super) unknown: BTreeSet<String>,
    /// The paths of values on lines whose syntax was already reported.
    pub(super) on_bad_lines: BTreeMap<u32, String>,
}

/// The walk, with what it needs on the way.
pub(super) struct Walk<'a> {
    root: &'a Json,
    /// None for what did not come from the file: the environment is the operator's.
    expander: Option<Expander<'a>>,
    bad_lines: &'a BTreeSet<u32>,
    report: Report,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Json, expander: Expander<'a>, bad_lines: &'a BTreeSet<u32>) -> Self {
        Self { root, expander: Some(expander), bad_lines, report: Report::default() }
    }

    /// For JSON, whose lines nobody counts and in which no variable is replaced.
    pub(super) fn of_json(root: &'a Json, no_lines: &'a BTreeSet<u32>) -> Self {
        Self { root, expander: None, bad_lines: no_lines, report: Report::default() }
    }

    /// Checks and mends the whole document.
    pub(super) fn document(mut self, node: &mut Node) -> Report {
        self.check(self.root, node, "");
        self.report
    }

    /// Checks and mends what is to be as one definition of the schema says.
    pub(super) fn part(mut self, definition: &str, node: &mut Node) -> Report {
        let schema = self.root.get("$defs").and_then(|all| all.get(definition));
        self.check(schema.unwrap_or(&Json::Null), node, "");
        self.report
    }

    fn is_json(&self) -> bool {
        self.expander.is_none()
    }

    /// What JSON calls an object is a table in the file.
    fn called(&self, what: &'static str) -> &'static str {
        if what == "a table" && self.is_json() { "an object" } else { what }
    }

    fn is_full(&self) -> bool {
        self.report.problems.len() > MOST_PROBLEMS
    }

    fn problem(&mut self, at: &str, line: u32, message: String, hint: Option<String>) {
        self.report.problems.push(Problem { path: at.to_owned(), line: Some(line), message, hint });
    }

    /// Reports a mistake and mends it.
    fn refuse(&mut self, schema: &Json, node: &mut Node, at: &str, message: String, hint: Option<String>) {
        self.problem(at, node.line, message, hint);
        self.mend(schema, node, at);
    }

    fn mend(&mut self, schema: &Json, node: &mut Node, at: &str) {
        self.report.mended.insert(at.to_owned());
        *node = Node::mended(node.line, self.substitute(schema));
    }

    fn check(&mut self, schema: &'a Json, node: &mut Node, at: &str) {
        // Past the last problem that is listed nothing is read any more, so nothing need be mended.
        if self.is_full() {
            return;
        }
        if self.bad_lines.contains(&node.line) {
            self.report.on_bad_lines.entry(node.line).or_insert_with(|| at.to_owned());
            return self.mend(schema, node, at);
        }
        if matches!(node.value, Value::Null) && Self::is_nullable(schema) {
            return;
        }
        if let (Value::Text(text), Some(expander)) = (&mut node.value, &mut self.expander)
            && text.contains("${")
        {
            match expander.expand(text) {
                Ok(expanded) => *text = expanded,
                Err((message, hint)) => return self.refuse(schema, node, at, message, hint),
            }
        }
        let branches = self.branches(schema);
        let choices: Vec<&str> = branches.iter().flat_map(|branch| choices(branch)).collect();
        let Some(branch) = branches.iter().find(|branch| fits(branch, &node.value)).copied() else {
            let wanted = wanted(&branches).into_iter().map(|word| self.called(word)).collect::<Vec<_>>();
            let message = format!("must be {}, not {}", wanted.join(" or "), self.called(node.value.kind()));
            return self.refuse(schema, node, at, message, None);
        };
        if let Err((message, hint)) = check_leaf(branch, &choices, &node.value) {
            return self.refuse(schema, node, at, message, hint);
        }
        match &mut node.value {
            Value::Table(_) => self.check_table(branch, node, at),
            Value::List(items) => {
                if let Some(item_schema) = branch.get("items") {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.check(item_schema, item, &path::index(at, index));
                    }
                }
            }
            _ => {}
        }
    }

    fn check_table(&mut self, schema: &'a Json, node: &mut Node, at: &str) {
        let Value::Table(entries) = &mut node.value else { return };
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let unknown: Vec<String> = entries
            .keys()
            .filter(|key| others.is_none() && !properties.is_some_and(|known| known.contains_key(*key)))
            .cloned()
            .collect();
        for key in unknown {
            if self.is_full() {
                return;
            }
            let Some(child) = entries.remove(&key) else { continue };
            let names = || properties.into_iter().flat_map(|known| known.keys().map(String::as_str));
            let near = nearest(&key, names());
            if !self.bad_lines.contains(&child.line) {
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
                };
                let at = path::key(at, &key);
                let kind = if self.is_json() { "field" } else { "key" };
                self.problem(&at, child.line, format!("unknown {kind} `{key}`"), Some(hint));
                self.report.unknown.insert(at);
            }
            // Read as what it was probably meant to be, so that nothing else seems to be missing.
            if let Some(meant) = near {
                match entries.entry(meant.to_owned()) {
                    Entry::Vacant(place) => drop(place.insert(child)),
                    Entry::Occupied(mut there) => there.get_mut().absorb(child),
                }
            }
        }
        for (key, child) in entries.iter_mut() {
            let known = properties.and_then(|known| known.get(key)).or(others);
            if let Some(schema) = known {
                self.check(schema, child, &path::key(at, key));
            }
        }
        self.add_missing(schema, node, at);
    }

    fn add_missing(&mut self, schema: &'a Json, node: &mut Node, at: &str) {
        let line = node.line;
        let Value::Table(entries) = &mut node.value else { return };
        // A line that cannot be read may have held the key.
        let is_damaged = entries.values().any(|child| self.bad_lines.contains(&child.line));
        let required = schema.get("required").and_then(Json::as_array);
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            if entries.contains_key(key) {
                continue;
            }
            let at = path::key(at, key);
            if !is_damaged {
                self.problem(&at, line, format!("`{key}` is required"), None);
            }
            let substitute = schema
                .get("properties")
                .and_then(|known| known.get(key))
                .map_or(Json::Null, |schema| self.substitute(schema));
            entries.insert(key.to_owned(), Node::mended(line, substitute));
            self.report.mended.insert(at);
        }
    }

    /// Whether a schema lets a value be absent by being null, as only JSON can say it.
    fn is_nullable(schema: &Json) -> bool {
        let branches = schema.get("anyOf").and_then(Json::as_array).into_iter().flatten();
        std::iter::once(schema).chain(branches).any(|branch| types(branch).contains(&"null"))
    }

    /// The alternatives that a schema stands for, with references followed; `null` is none, since
    /// TOML cannot say it.
    fn branches(&self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map(|found| self.branches(found)).unwrap_or_default();
        }
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            Some(all) => all.iter().flat_map(|branch| self.branches(branch)).collect(),
            None if types(schema) == ["null"] => Vec::new(),
            None => vec![schema],
        }
    }

    /// A value that serde accepts where the written one was wrong.
    fn substitute(&self, schema: &Json) -> Json {
        if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
            return default.clone();
        }
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Json::Null, |found| self.substitute(found));
        }
        if let Some(first) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(|all| all.get(0)) {
            return self.substitute(first);
        }
        if let Some(choice) = choices(schema).first() {
            return Json::from(*choice);
        }
        match types(schema).first().copied() {
            Some("string") => Json::from(least_text(schema)),
            // One rather than none: a weight of zero would be a mistake of its own.
            Some("integer") => Json::from(bound(schema, "minimum").map_or(1, |least| least.max(1))),
            // The least there may be, so that what must grow from it on still can.
            Some("number") => Json::from(schema.get("minimum").and_then(Json::as_f64).unwrap_or(1.0)),
            Some("boolean") => Json::from(false),
            Some("array") => Json::Array(Vec::new()),
            Some("object") => self.least_table(schema),
            _ => Json::Null,
        }
    }

    fn least_table(&self, schema: &Json) -> Json {
        let required = schema.get("required").and_then(Json::as_array);
        let entry = |key: &str| {
            let property = schema.get("properties")?.get(key)?;
            Some((key.to_owned(), self.substitute(property)))
        };
        Json::Object(required.into_iter().flatten().filter_map(Json::as_str).filter_map(entry).collect())
    }
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn choices(schema: &Json) -> Vec<&str> {
    let several = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    schema.get("const").into_iter().chain(several).filter_map(Json::as_str).collect()
}

fn fits(schema: &Json, value: &Value) -> bool {
    types(schema).into_iter().any(|name| {
        matches!(
            (name, value),
            ("string", Value::Text(_))
                | ("integer" | "number", Value::Integer(_))
                | ("number", Value::Float(_))
                | ("boolean", Value::Bool(_))
                | ("array", Value::List(_))
                | ("object", Value::Table(_))
        )
    })
}

/// What the branches ask for, in words.
fn wanted(branches: &[&Json]) -> Vec<&'static str> {
    let mut words: Vec<&str> = branches
        .iter()
        .flat_map(|branch| types(branch))
        .filter_map(|name| match name {
            "string" => Some("a string"),
            "integer" => Some("an integer"),
            "number" => Some("a number"),
            "boolean" => Some("true or false"),
            "array" => Some("a list"),
            "object" => Some("a table"),
            _ => None,
        })
        .collect();
    words.dedup();
    words
}

type LeafResult = Result<(), (String, Option<String>)>;

fn check_leaf(schema: &Json, choices: &[&str], value: &Value) -> LeafResult {
    match value {
        Value::Text(text) if !choices.is_empty() => check_choice(text, choices),
        Value::Text(text) => check_format(schema, text).map_err(|message| (message, None)),
        Value::Integer(number) => check_integer(schema, *number).map_err(|message| (message, None)),
        Value::Float(number) if !number.is_finite() => Err(("must be a finite number".into(), None)),
        Value::Float(number) => check_float(schema, *number).map_err(|message| (message, None)),
        _ => Ok(()),
    }
}

fn check_choice(text: &str, choices: &[&str]) -> LeafResult {
    if choices.contains(&text) {
        return Ok(());
    }
    let hint = nearest(text, choices.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    Err((format!("`{text}` is not one of {}", choices.join(", ")), hint))
}

/// Only the formats that serde itself refuses; the others are checked for meaning, once.
fn check_format(schema: &Json, text: &str) -> Result<(), String> {
    match schema.get("format").and_then(Json::as_str) {
        Some("duration") => text.parse::<Span>().map(drop),
        Some("size") => text.parse::<Size>().map(drop),
        Some("cidr") => text.parse::<Cidr>().map(drop),
        Some("key") => text.parse::<super::KeySource>().map(drop),
        Some("retry-on") => text.parse::<super::RetryOn>().map(drop),
        _ => Ok(()),
    }
}

/// The least text that the format's type can be read from.
fn least_text(schema: &Json) -> &'static str {
    match schema.get("format").and_then(Json::as_str) {
        Some("duration") => "1s",
        Some("size") => "0",
        Some("cidr") => "127.0.0.1",
        Some("key") => "client_ip",
        Some("retry-on") => "connect",
        _ => "",
    }
}

fn bound(schema: &Json, key: &str) -> Option<i64> {
    // Bounds of numbers are written with a fraction, those of integers without.
    #[expect(clippy::cast_possible_truncation, reason = "the bounds are ours and small")]
    schema.get(key).and_then(|bound| bound.as_i64().or_else(|| bound.as_f64().map(|bound| bound as i64)))
}

fn check_integer(schema: &Json, number: i128) -> Result<(), String> {
    // The file's integers have 64 bits, signed; a type of 64 unsigned bits takes their upper half.
    let (least, most) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("uint64") => (0, i64::MAX),
        _ => (i64::MIN, i64::MAX),
    };
    let least = bound(schema, "minimum").map_or(least, |bound| bound.max(least));
    let most = bound(schema, "maximum").map_or(most, |bound| bound.min(most));
    if number < i128::from(least) {
        return Err(format!("must be at least {least}, not {number}"));
    }
    if number > i128::from(most) {
        return Err(format!("must be at most {most}, not {number}"));
    }
    Ok(())
}

fn check_float(schema: &Json, number: f64) -> Result<(), String> {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) if number < least => Err(format!("must be at least {least}, not {number}")),
        (_, Some(most)) if number > most => Err(format!("must be at most {most}, not {number}")),
        _ => Ok(()),
    }
}
