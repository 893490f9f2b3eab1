//! The file as a tree of values that know their lines: the syntax is understood, the keys are not.
//!
//! Made by [`super::syntax`], walked and mended by [`super::structure`], then turned into JSON for
//! serde. No deeper than [`super::depth`] allows, so that walking it may recurse.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use crate::validate::path;

/// A value and where it is written.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: u32,
    /// Whether this is the table of a `[header]` or `[[header]]`.
    pub(super) is_header: bool,
    pub(super) value: Value,
    span: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    /// TOML's integers have 64 bits; more are kept to say by how much a number is out of range.
    Integer(i128),
    Float(f64),
    Bool(bool),
    Date,
    /// Only JSON has it.
    Null,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Put in place of a mistake that has been reported.
    Mended(Json),
}

impl Value {
    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Date => "a date",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Mended(_) => "a mistake",
        }
    }
}

/// Where lines start, to find the line of an offset.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(starts).collect())
    }

    /// The line, from 1, that `offset` is on.
    pub(super) fn at(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

impl Node {
    pub(super) fn document(text: &str, table: &DeTable<'_>) -> Self {
        let lines = Lines::of(text);
        let value = Value::Table(entries(text, &lines, table));
        Self { line: 1, is_header: true, value, span: 0..0 }
    }

    fn new(text: &str, lines: &Lines, span: Range<usize>, value: &DeValue<'_>) -> Self {
        let is_table = matches!(value, DeValue::Table(_));
        let is_header = is_table && text.as_bytes().get(span.start) == Some(&b'[');
        Self { line: lines.at(span.start), is_header, value: convert(text, lines, value), span }
    }

    /// A value that came as JSON, on no line.
    pub(super) fn of_json(json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::String(text) => Value::Text(text.clone()),
            Json::Number(number) => match number.as_i128() {
                Some(number) => Value::Integer(number),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Array(items) => Value::List(items.iter().map(Self::of_json).collect()),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| (key.clone(), Self::of_json(value));
                Value::Table(entries.iter().map(entry).collect())
            }
        };
        Self { line: 0, is_header: false, value, span: 0..0 }
    }

    /// A value on `line` that stands for what could not be used.
    pub(super) fn mended(line: u32, value: Json) -> Self {
        Self { line, is_header: false, value: Value::Mended(value), span: 0..0 }
    }

    /// Takes in what `other` holds and this does not.
    pub(super) fn absorb(&mut self, other: Self) {
        match (&mut self.value, other.value) {
            (Value::Table(entries), Value::Table(others)) => {
                for (key, child) in others {
                    entries.entry(key).or_insert(child);
                }
            }
            (Value::List(items), Value::List(others)) => items.extend(others),
            _ => {}
        }
    }

    /// The value as JSON. What JSON cannot say is `null`; the structure check lets none of it pass.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Text(text) => Json::from(text.as_str()),
            Value::Integer(number) => i64::try_from(*number).map_or(Json::Null, Json::from),
            Value::Float(number) => Json::from(*number),
            Value::Bool(flag) => Json::from(*flag),
            Value::Date | Value::Null => Json::Null,
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
            Value::Mended(value) => value.clone(),
        }
    }

    /// The line of what is at `wanted`, or of the nearest thing around it that is there.
    pub(super) fn line_of(&self, wanted: &str) -> u32 {
        let (mut node, mut rest) = (self, wanted);
        while let Some((child, after)) = node.step(rest) {
            (node, rest) = (child, after.strip_prefix('.').unwrap_or(after));
        }
        node.line
    }

    /// The child that the first segment of `rest` names, and what follows that segment.
    fn step<'r>(&self, rest: &'r str) -> Option<(&Self, &'r str)> {
        match &self.value {
            Value::List(items) => {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, after))
            }
            Value::Table(entries) if rest.starts_with('"') => {
                entries.iter().find_map(|(key, child)| Some((child, rest.strip_prefix(&path::segment(key))?)))
            }
            Value::Table(entries) => {
                let (key, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                Some((entries.get(key)?, after))
            }
            _ => None,
        }
    }

    /// Where the outermost value around `offset` is written, headers' tables apart.
    pub(super) fn value_around(&self, text: &str, offset: usize) -> Option<Range<usize>> {
        let written = !self.is_header
            && match &self.value {
                Value::Table(_) => text.as_bytes().get(self.span.start) == Some(&b'{'),
                // The list of `[[header]]` tables is written nowhere as such.
                Value::List(items) => !items.first().is_some_and(|item| item.is_header),
                _ => true,
            };
        if written {
            return (self.span.start <= offset && offset <= self.span.end).then(|| self.span.clone());
        }
        match &self.value {
            Value::List(items) => items.iter().find_map(|item| item.value_around(text, offset)),
            Value::Table(entries) => entries.values().find_map(|child| child.value_around(text, offset)),
            _ => None,
        }
    }

    /// The path of the innermost value that is written around `offset`.
    pub(super) fn path_at(&self, offset: usize) -> String {
        let mut best = (0, String::new());
        self.find_table(offset, "", &mut best);
        best.1
    }

    fn find_table(&self, offset: usize, at: &str, best: &mut (usize, String)) {
        // A header's table goes on to the next header; all else ends with its own text.
        let around = if self.is_header { self.span.start <= offset } else { self.span.contains(&offset) };
        if around && self.span.start >= best.0 {
            *best = (self.span.start, at.to_owned());
        }
        match &self.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.find_table(offset, &path::index(at, index), best);
                }
            }
            Value::Table(entries) => {
                for (key, child) in entries {
                    child.find_table(offset, &path::key(at, key), best);
                }
            }
            _ => {}
        }
    }
}

fn entries(text: &str, lines: &Lines, table: &DeTable<'_>) -> BTreeMap<String, Node> {
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        (key.get_ref().to_string(), Node::new(text, lines, value.span(), value.get_ref()))
    };
    table.iter().map(entry).collect()
}

fn convert(text: &str, lines: &Lines, value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(number) => Value::Integer(
            // Beyond 128 bits it is out of every range; which way does not matter.
            i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| Node::new(text, lines, item.span(), item.get_ref())).collect(),
        ),
        DeValue::Table(table) => Value::Table(entries(text, lines, table)),
    }
}
