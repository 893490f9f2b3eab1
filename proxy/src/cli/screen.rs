//! Where results go: the standard output, as text for people or JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::failure::Failure;
use super::paint::Paint;

/// What results look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// What results look like.
    pub(crate) format: Format,
    /// Colours, or none.
    pub(crate) paint: Paint,
    /// Whether somebody watches.
    pub(crate) is_terminal: bool,
}

impl Screen {
    /// JSON if asked for or if nobody watches, unless text is asked for.
    pub(crate) fn open(json: bool, text: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let format = if json || !(text || is_terminal) { Format::Json } else { Format::Text };
        Self { format, paint: Paint::of(&io::stdout()), is_terminal }
    }

    /// Prints a document: the API's, or what people read of it.
    pub(crate) fn show(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => print(&format!("{value:#}\n")),
            Format::Text => print(&text()),
        }
    }
}

/// Draws a page on a terminal over the one before: from the top, and away with what was longer; no flicker.
pub(crate) fn redraw(page: &str) -> Result<(), Failure> {
    print(&format!("\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n")))
}

/// Prints text as it is, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Prints one of several documents, a line each.
pub(crate) fn print_json_line(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}
