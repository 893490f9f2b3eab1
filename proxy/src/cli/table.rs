//! Aligned columns: widths are those of the text, colours come after.

use super::paint::{Paint, Tone};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A text with its tone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// A cell in a tone.
pub(crate) fn cell(text: impl Into<String>, tone: Tone) -> Cell {
    Cell { text: text.into(), tone }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns; no heading if all titles are empty.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let aligns = columns.iter().map(|(_, align)| *align).collect();
        let heading: Vec<Cell> = columns.iter().map(|(title, _)| cell(*title, Tone::Faint)).collect();
        let has_heading = heading.iter().any(|title| !title.text.is_empty());
        Self { aligns, rows: if has_heading { vec![heading] } else { Vec::new() } }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as lines, each ended.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let width = |at: usize| {
            let widths = self.rows.iter().filter_map(|row| row.get(at)).map(|c| c.text.chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|c| !c.text.is_empty()).map_or(0, |at| at + 1);
            for (at, cell) in row[..last].iter().enumerate() {
                let gap = " ".repeat(widths[at] - cell.text.chars().count());
                let shown = paint.apply(cell.tone, &cell.text);
                let between = if at == 0 { "" } else { "  " };
                match self.aligns[at] {
                    Align::Right => text.extend([between, &gap, &shown]),
                    Align::Left if at + 1 == last => text.extend([between, &shown]),
                    Align::Left => text.extend([between, &shown, &gap]),
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[("pool", Align::Left), ("share", Align::Right), ("note", Align::Left)]);
        table.row(["stable".into(), "95.0 %".into(), cell("good", Tone::Good)]);
        table.row(["é".into(), "5.0 %".into()]);
        table
    }

    #[test]
    fn columns_align_and_no_line_ends_in_spaces() {
        let text = sample().render(Paint::plain());
        assert_eq!(text, "pool     share  note\nstable  95.0 %  good\né        5.0 %\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let plain = sample().render(Paint::plain());
        let coloured = sample().render(Paint::always());
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some(at) = rest.find('\u{1b}') {
            stripped.push_str(&rest[..at]);
            rest = rest[at..].split_once('m').expect("a whole sequence").1;
        }
        stripped.push_str(rest);
        assert_ne!(coloured, plain);
        assert_eq!(stripped, plain);
    }
}
