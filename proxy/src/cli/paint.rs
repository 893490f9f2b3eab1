//! Colour as meaning: callers name a tone, and a terminal that wants colour shows it.

use std::io::IsTerminal;

use owo_colors::{OwoColorize as _, Style};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// Headings, names.
    Strong,
    /// Less important.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// For a stream: colour on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stream.is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// The text in this tone.
    pub(crate) fn apply(self, tone: Tone, text: &str) -> String {
        if !self.colour || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = Style::new();
        let style = match tone {
            Tone::Plain => style,
            Tone::Strong => style.bold(),
            Tone::Faint => style.dimmed(),
            Tone::Good => style.green(),
            Tone::Warn => style.yellow(),
            Tone::Bad => style.red().bold(),
        };
        text.style(style).to_string()
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.apply(Tone::Strong, text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.apply(Tone::Faint, text)
    }
}

#[cfg(test)]
impl Paint {
    /// No colour.
    pub(crate) fn plain() -> Self {
        Self { colour: false }
    }

    /// Colour, whatever the output is.
    pub(crate) fn always() -> Self {
        Self { colour: true }
    }
}
