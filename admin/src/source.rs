//! The configuration file: where it is, and how it is read.
//!
//! Reading is bounded: a file that is too large, a directory or a pipe in its place is a problem to
//! report, like any other mistake in it. What the text means is [`tidegate_core::config::read`]'s work.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::config::Config;
use tidegate_core::config::read::{MAX_FILE_BYTES, read};
use tidegate_core::validate::{Problem, Valid};

/// Gives the value of an environment variable.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The file's text, or why it cannot be read.
pub(crate) type Reading = Result<String, Problem>;

/// Where the configuration comes from.
pub(crate) struct Source {
    /// The file; none when the text was given.
    pub(crate) path: Option<PathBuf>,
    text: String,
    env: Env,
}

impl Source {
    pub(crate) fn new(path: Option<PathBuf>, text: Option<String>, env: Env) -> Self {
        Self { path, text: text.unwrap_or_default(), env }
    }

    /// The file's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
    }

    /// The file's text now, or why there is none.
    pub(crate) fn text(&self) -> Reading {
        self.path.as_deref().map_or_else(|| Ok(self.text.clone()), read_text)
    }

    /// What a text of the file means; every problem in it when it is not good.
    pub(crate) fn parse(&self, reading: &Reading) -> Result<Arc<Valid<Config>>, Vec<Problem>> {
        match reading {
            Ok(text) => self.check(text),
            Err(problem) => Err(vec![problem.clone()]),
        }
    }

    /// Reads a text as if it stood in the file.
    pub(crate) fn check(&self, text: &str) -> Result<Arc<Valid<Config>>, Vec<Problem>> {
        read(text, &*self.env).map(Arc::new)
    }

    /// A path as written in the file: a relative one starts at the file's folder.
    pub(crate) fn resolve(&self, written: impl AsRef<Path>) -> PathBuf {
        beside(self.path.as_deref(), written)
    }
}

/// A path as written in a file, if there is one: a relative path starts at the file's folder.
pub(crate) fn beside(file: Option<&Path>, written: impl AsRef<Path>) -> PathBuf {
    let folder = file.and_then(Path::parent);
    folder.map_or_else(|| written.as_ref().to_owned(), |folder| folder.join(written.as_ref()))
}

fn read_text(path: &Path) -> Reading {
    let unreadable = |why: &dyn std::fmt::Display| problem(format!("cannot be read: {why}"));
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !meta.is_file() {
        return Err(problem("is not a file".into()));
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(problem(format!("has more than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        Problem { line: u32::try_from(line).ok(), ..problem("is not UTF-8 text".into()) }
    })
}

fn problem(message: String) -> Problem {
    Problem { path: String::new(), line: None, message, hint: None }
}

/// A problem on one line: `file:line: where: message (hint)`.
pub fn describe(file: &str, problem: &Problem) -> String {
    let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
    let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{file}{line}: {place}{}{hint}", problem.message)
}
