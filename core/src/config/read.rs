//! From the text of the configuration file to a valid configuration, or to every problem in it.
//!
//! The stages: `depth` bounds nesting, `syntax` makes a tree past mistakes of syntax, `structure`
//! checks it against the schema and mends what is wrong, serde reads the mended tree, and
//! [`crate::validate`] checks what it means. Each mistake is reported by one stage only. The result
//! is ready to be compiled.
//!
//! Reading the file, and deciding where it is, are others' work: the environment is an argument.

use std::collections::BTreeSet;

use super::env::{Env, Expander};
use super::structure::{Report, Walk};
use super::syntax::Syntax;
use super::tree::Node;
use super::{Config, depth, schema, syntax};
use crate::validate::{MOST_PROBLEMS, Problem, Valid, path};

/// A longer file is refused unread. Ten thousand routes take about two million bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// The configuration that `text` holds, or every problem in it, by line.
///
/// `env` gives the value of an environment variable. At most a thousand problems are listed; a last
/// one then says that there are more.
pub fn read(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Valid<Config>, Vec<Problem>> {
    let Shaped { root, mut problems, mended, is_readable } = shape(text, None, env)?;
    if !is_readable {
        return Err(listed(problems));
    }
    match meaning(&root, &mended) {
        Ok(valid) if problems.is_empty() => return Ok(valid),
        Ok(_) => {}
        Err(found) => problems.extend(found),
    }
    Err(listed(problems))
}

/// A text as a tree in the shape that the schema asks for, with what had to be mended for that.
pub(super) struct Shaped {
    pub(super) root: Node,
    pub(super) problems: Vec<Problem>,
    mended: BTreeSet<String>,
    /// Whether it makes sense to read the tree in spite of the problems.
    is_readable: bool,
}

/// Reads a text, and checks it against the schema, or against one definition of it.
pub(super) fn shape(text: &str, definition: Option<&str>, env: Env<'_>) -> Result<Shaped, Vec<Problem>> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; more than {MAX_FILE_BYTES} are not read", text.len());
        return Err(vec![problem("", None, message)]);
    }
    // Some editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(line) = depth::too_deep(text) {
        return Err(vec![problem("", Some(line), "nests too deeply".into())]);
    }
    Ok(check(syntax::parse(text), definition, env))
}

fn check(syntax: Syntax, definition: Option<&str>, env: Env<'_>) -> Shaped {
    let Syntax { mut root, mistakes, bad_lines, duplicates, is_complete } = syntax;
    let report = if is_complete {
        let walk = Walk::new(schema::shared(), Expander::new(env), &bad_lines);
        match definition {
            Some(part) => walk.part(part, &mut root),
            None => walk.document(&mut root),
        }
    } else {
        Report::default()
    };
    let Report { mut problems, mended, on_bad_lines, unknown: _ } = report;
    // What else a line holds cannot be known when it cannot be read.
    problems.retain(|found| !found.line.is_some_and(|line| mistakes.contains_key(&line)));
    for (line, mistake) in mistakes {
        let value = on_bad_lines.get(&mistake.bad_line);
        let at = mistake.header.or_else(|| value.cloned()).unwrap_or_default();
        problems.push(Problem { path: at, line: Some(line), message: mistake.message, hint: mistake.hint });
    }
    // A table written twice may have the wrong type as well; once is enough.
    let twice: BTreeSet<Option<u32>> = duplicates.iter().map(|duplicate| duplicate.line).collect();
    problems.retain(|found| !twice.contains(&found.line));
    problems.extend(duplicates);
    let is_readable = is_complete && problems.len() <= MOST_PROBLEMS;
    Shaped { root, problems, mended, is_readable }
}

/// Reads the mended tree and validates it, leaving out what was mended.
fn meaning(root: &Node, mended: &BTreeSet<String>) -> Result<Valid<Config>, Vec<Problem>> {
    let config = serde_json::from_value(root.to_json())
        // A gap between the schema and the types: our own bug, but a file must not bring us down.
        .map_err(|error| vec![problem("", None, format!("cannot be read: {error}"))])?;
    Valid::new(config).map_err(|found| {
        found
            .into_iter()
            .filter(|found| !mended.iter().any(|mended| path::covers(mended, &found.path)))
            .map(|found| Problem { line: Some(root.line_of(&found.path)), ..found })
            .collect()
    })
}

/// The problems as they are shown: by line, and not without end.
pub(super) fn listed(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
    if problems.len() > MOST_PROBLEMS {
        problems.truncate(MOST_PROBLEMS);
        problems.push(problem("", None, format!("there are more than {MOST_PROBLEMS} problems")));
    }
    problems
}

fn problem(path: &str, line: Option<u32>, message: String) -> Problem {
    Problem { path: path.to_owned(), line, message, hint: None }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod fuzz;
