//! What a process wrote: collected as it comes, searched while it runs, kept when a test fails.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use serde_json::Value;

/// The lines of one output of a process.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Collect in a thread of its own, so that the process never waits for us.
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let collected = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                collected.0.lock().push(line);
            }
        });
        lines
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// Every line that is a JSON object.
    pub(crate) fn json(&self) -> Vec<Value> {
        json_lines(&self.0.lock().join("\n"))
    }
}

/// Every line that is a JSON object.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let parsed = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    parsed.filter(Value::is_object).collect()
}

/// A field of a log line, whether it stands at the top or under `fields`.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> &'a Value {
    line.get(name).unwrap_or_else(|| &line["fields"][name])
}

/// Write what a process said to a file of its own, and say where.
pub(crate) fn keep(what: &str, parts: &[(&str, Vec<String>)]) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = thread::current().name().unwrap_or("test").replace("::", "-");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{what}-{number}.log"));
    let mut text = String::new();
    for (title, lines) in parts {
        text.extend([format!("== {title}\n"), lines.join("\n"), "\n".to_owned()]);
    }
    // Nothing to be done about a log that cannot be kept: the test has failed already.
    let _ = fs::write(&path, text);
    path
}
