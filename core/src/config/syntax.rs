//! From text to a tree, past mistakes of syntax.
//!
//! The parser's own recovery loses what follows many mistakes, and a lost pool makes every mention
//! of it look like a mistake too. So a line that cannot be read is replaced by one that can
//! (`key = ""` for `key = oops`), remembered as bad, and the text is parsed again: one mistake, one
//! problem, and the rest of the file is checked as it stands.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::depth::end_of_string;
use super::tree::{Lines, Node};
use crate::validate::{MOST_PROBLEMS, Problem, path};

/// What is known of the text.
pub(super) struct Syntax {
    pub(super) root: Node,
    /// Mistakes of syntax, by line.
    pub(super) mistakes: BTreeMap<u32, Mistake>,
    /// Lines whose values stand for what could not be read.
    pub(super) bad_lines: BTreeSet<u32>,
    /// Keys and tables that are written twice.
    pub(super) duplicates: Vec<Problem>,
    /// Whether all of the text was read, bad lines apart.
    pub(super) is_complete: bool,
}

/// A line that could not be read.
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What a broken `[header]` seems to say.
    pub(super) header: Option<String>,
    /// The line of the value that stands for it.
    pub(super) bad_line: u32,
}

/// Each repair costs a parse, so longer texts get fewer of them.
const PARSE_BUDGET_BYTES: usize = 32 << 20;
const MOST_REPAIRS: usize = 100;
/// A text above this is not repaired: a list of its mistakes could outgrow the text many times.
const MOST_REPAIRED_BYTES: usize = 1 << 20;
/// So much of a text is tried first, since parsing costs memory many times its length.
const SAMPLE_BYTES: usize = 1 << 16;
/// With more mistakes than this at once, a text is something else than TOML.
const MOST_MISTAKES: usize = 200;

/// Reads `text`, which must not nest too deeply.
pub(super) fn parse(text: &str) -> Syntax {
    if text.len() > SAMPLE_BYTES {
        let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
        let (_, errors) = DeTable::parse_recoverable(sample);
        if errors.len() > MOST_MISTAKES {
            return not_toml(sample, &errors);
        }
    }
    if text.len() > MOST_REPAIRED_BYTES {
        return parse_long(text);
    }
    let mut repair = Repair::of(text);
    let most = (PARSE_BUDGET_BYTES / text.len().max(1)).clamp(1, MOST_REPAIRS);
    for _ in 0..most {
        let text = repair.lines.join("\n");
        let (table, errors) = DeTable::parse_recoverable(&text);
        let root = Node::document(&text, table.get_ref());
        let (duplicates, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_duplicate);
        if errors.is_empty() {
            let lines = Lines::of(&text);
            let listed = duplicates.iter().take(MOST_PROBLEMS + 1);
            let duplicates = listed.map(|error| duplicate(&text, &lines, &root, error)).collect();
            return Syntax {
                root,
                mistakes: repair.mistakes,
                bad_lines: repair.bad_lines,
                duplicates,
                is_complete: true,
            };
        }
        if errors.len() > MOST_MISTAKES {
            return not_toml(&text, &errors);
        }
        if !repair.mend(&text, &root, &errors) {
            break;
        }
    }
    let root = Node::document("", &DeTable::new());
    Syntax {
        root,
        mistakes: repair.mistakes,
        bad_lines: repair.bad_lines,
        duplicates: Vec::new(),
        is_complete: false,
    }
}

fn parse_long(text: &str) -> Syntax {
    match DeTable::parse(text) {
        Ok(table) => Syntax {
            root: Node::document(text, table.get_ref()),
            mistakes: BTreeMap::new(),
            bad_lines: BTreeSet::new(),
            duplicates: Vec::new(),
            is_complete: true,
        },
        Err(error) => not_toml(text, &[error]),
    }
}

/// The mistakes as they are, without a look at the rest of the text.
fn not_toml(text: &str, errors: &[toml::de::Error]) -> Syntax {
    let lines = Lines::of(text);
    let mistake = |error: &toml::de::Error| {
        let line = lines.at(start(error));
        (line, Mistake::new(error.message(), "", line))
    };
    Syntax {
        root: Node::document("", &DeTable::new()),
        mistakes: errors.iter().take(MOST_MISTAKES).map(mistake).collect(),
        bad_lines: BTreeSet::new(),
        duplicates: Vec::new(),
        is_complete: false,
    }
}

fn start(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message().starts_with("duplicate key") || error.message().starts_with("cannot extend value")
}

fn duplicate(text: &str, lines: &Lines, root: &Node, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or_default();
    let line = lines.at(span.start);
    let written = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let start_of_line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let at = match header_name(text[start_of_line..].lines().next().unwrap_or_default()) {
        Some(name) => name,
        None => path::key(&root.path_at(span.start), written),
    };
    let message = if error.message().starts_with("duplicate key") {
        format!("`{written}` is written twice")
    } else {
        error.message().to_owned()
    };
    Problem { path: at, line: Some(line), message, hint: Some("remove one of the two".into()) }
}

impl Mistake {
    fn new(message: &str, line_text: &str, bad_line: u32) -> Self {
        let hint = if message.starts_with("key with no value") || message.contains("unquoted key") {
            Some("a key is written `key = value`")
        } else if message.starts_with("string values must be quoted") || message.contains("invalid float") {
            Some("put text in double quotes")
        } else {
            None
        };
        Self {
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
            header: header_name(line_text),
            bad_line,
        }
    }
}

/// The text while it is being mended, line by line.
struct Repair {
    lines: Vec<String>,
    mistakes: BTreeMap<u32, Mistake>,
    bad_lines: BTreeSet<u32>,
    tries: BTreeMap<usize, u8>,
}

impl Repair {
    fn of(text: &str) -> Self {
        let lines = text.split('\n').map(str::to_owned).collect();
        Self { lines, mistakes: BTreeMap::new(), bad_lines: BTreeSet::new(), tries: BTreeMap::new() }
    }

    /// Replaces what the first of `errors` is about; `false` when that does not help.
    fn mend(&mut self, text: &str, root: &Node, errors: &[toml::de::Error]) -> bool {
        let Some(first) = errors.iter().min_by_key(|error| start(error)) else { return false };
        let lines = Lines::of(text);
        let line_index = |offset: usize| lines.at(offset) as usize - 1;
        let at = line_index(start(first));
        let value = root.value_around(text, start(first));
        let unclosed = errors.iter().find(|error| is_unclosed(error.message()));
        let (from, mut to) = value.map_or((at, at), |span| (line_index(span.start), line_index(span.end)));
        let tries = self.tries.entry(at).or_default();
        *tries += 1;
        let tries = *tries;
        if let Some(unclosed) = unclosed.filter(|_| to > from) {
            // All that follows has been swallowed; what looks like a statement probably is one.
            to = (from + 1..self.lines.len())
                .find(|line| is_statement(&self.lines[*line]))
                .map_or(to, |next| next - 1);
            self.remember(from, unclosed.message(), from, false);
            self.replace(from, to, false);
        } else if at > from && tries == 1 && is_balanced(&self.lines[at]) {
            self.remember(at, first.message(), at, true);
            self.replace(at, at, true);
        } else {
            self.remember(at, first.message(), from, at > from);
            self.replace(from, to.max(at), false);
            if tries > 2 {
                self.lines[at].clear();
            }
        }
        tries < 5
    }

    /// Notes a mistake on one line that is mended from another one, or the same, onwards.
    fn remember(&mut self, line: usize, message: &str, mended_from: usize, within_value: bool) {
        let number = |line: usize| u32::try_from(line + 1).unwrap_or(u32::MAX);
        // A line within a value may start with a bracket and is no header for that.
        let text = if within_value { "" } else { &self.lines[line] };
        let bad_line = number(mended_from);
        let mistake =
            self.mistakes.entry(number(line)).or_insert_with(|| Mistake::new(message, text, bad_line));
        mistake.bad_line = bad_line;
        // A broken header is read as what it seems to say, and what it holds is good.
        if mistake.header.is_none() {
            self.bad_lines.insert(bad_line);
        }
    }

    /// Puts a readable line in place of the lines `from..=to`.
    fn replace(&mut self, from: usize, to: usize, within_value: bool) {
        let last = self.lines.len() - 1;
        for line in &mut self.lines[(from + 1).min(last + 1)..=to.min(last)] {
            line.clear();
        }
        let line = &self.lines[from];
        self.lines[from] = if within_value {
            // Something must stand there, or the elements behind it would get other numbers.
            let key = key_name(line).filter(|_| is_assignment(line));
            key.map_or("\"\",".to_owned(), |key| format!("{key} = \"\","))
        } else if let Some(name) = header_name(line) {
            let is_list = line.contains("[[") || line.contains("]]");
            if is_list { format!("[[{name}]]") } else { format!("[{name}]") }
        } else if let Some(key) = key_name(line) {
            format!("{key} = \"\"")
        } else if line.trim_start().starts_with('[') {
            // What follows is this header's, whatever it was, and nobody else's.
            format!("[\"line {}\"]", from + 1)
        } else {
            String::new()
        };
    }
}

fn is_unclosed(message: &str) -> bool {
    ["unclosed array", "unclosed inline table", "invalid multi-line"]
        .iter()
        .any(|start| message.starts_with(start))
}

fn is_statement(line: &str) -> bool {
    let line = line.trim();
    let is_header = line.starts_with('[') && header_name(line).is_some() && !line.ends_with(',');
    is_header || is_assignment(line)
}

fn is_assignment(line: &str) -> bool {
    let line = line.trim_start();
    key_name(line).is_some_and(|key| line[key.len()..].trim_start().starts_with('='))
}

/// The bare or dotted key that a line starts with.
fn key_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')))
        .unwrap_or(line.len());
    let key = &line[..end];
    let good = !key.is_empty() && key.split('.').all(|part| !part.is_empty());
    good.then_some(key)
}

/// What a header says, whole or broken: `[pools stable` says `pools.stable`.
fn header_name(line: &str) -> Option<String> {
    let line = line.trim();
    // The opening bracket may be the one that is missing.
    let is_header =
        line.starts_with('[') || (line.ends_with(']') && !line.contains(['=', '"', '\'', '[', '{', ',']));
    let inner = line.trim_start_matches('[').split([']', '#', '=', '{', ',']).next().unwrap_or_default();
    let parts: Vec<&str> = inner
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
        .filter(|part| !part.is_empty())
        .collect();
    (is_header && !parts.is_empty()).then(|| parts.join("."))
}

/// Whether as many brackets close on the line as open, strings and comments apart.
fn is_balanced(line: &str) -> bool {
    let bytes = line.as_bytes();
    let (mut depth, mut at) = (0_i32, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => break,
            b'"' | b'\'' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
        at += 1;
    }
    depth == 0
}
