//! Of which kind the fields of a client's heads are, seen from outside the protocol.
//!
//! The `h2` crate passes over two things that make a request malformed (RFC 9113, 8.1.1): a fragment in
//! `:path` (8.3.1), and pseudo-headers among trailers (8.1). To see them, the compressed fields (RFC 7541)
//! are followed here once more, in whatever pieces they come. Of a field only its kind is kept, and of the
//! table what each entry takes of it, so a connection costs no more than a few bytes.
//!
//! What cannot be decoded is not followed any further: `h2` ends such a connection.

mod huffman;

use std::collections::VecDeque;

use huffman::STEPS;

/// The table's size that we allow, which is the one that holds unless told otherwise (RFC 9113, 6.5.2).
const MAX_TABLE: usize = 4_096;
/// What an entry takes beside its name and value (RFC 7541, 4.1).
const ENTRY: usize = 32;
/// The lengths of the static table's names (RFC 7541, appendix A).
const STATIC: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13,
    12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    Path,
    OtherPseudo,
    #[default]
    Ordinary,
}

#[derive(Clone, Copy, Debug, Default)]
struct Field {
    kind: Kind,
    name_length: usize,
    value_length: usize,
    has_fragment: bool,
}

/// What a block of fields has in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pseudo_header: bool,
    pub(super) fragment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

/// What a number is.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// The index of a whole field.
    Field,
    /// The index of a name, of a field that the table keeps or does not.
    Name {
        kept: bool,
    },
    TableSize,
    /// The length of a string.
    Length {
        is_coded: bool,
    },
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Field,
    /// More of a number.
    Number {
        number: Number,
        value: usize,
        shift: u32,
    },
    /// The length of a string.
    Length,
    /// More of a string: bytes that are left, and where in the code it is if it is coded.
    Text {
        left: usize,
        node: Option<u8>,
    },
    /// Nothing that could be understood.
    Lost,
}

/// Follows a client's fields from the first of its connection.
#[derive(Debug)]
pub(super) struct Fields {
    /// The newest first.
    table: VecDeque<Field>,
    table_size: usize,
    max_table: usize,
    next: Next,
    /// The field under way.
    field: Field,
    part: Part,
    kept: bool,
    found: Found,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            table_size: 0,
            max_table: MAX_TABLE,
            next: Next::Field,
            field: Field::default(),
            part: Part::Name,
            kept: false,
            found: Found::default(),
        }
    }

    /// The next bytes of a block.
    pub(super) fn read(&mut self, mut block: &[u8]) {
        while let Some((&byte, rest)) = block.split_first() {
            match self.next {
                Next::Text { left, node } => {
                    let (text, rest) = block.split_at(left.min(block.len()));
                    self.read_text(text, left - text.len(), node);
                    block = rest;
                }
                Next::Lost => return,
                _ => {
                    self.next = self.read_byte(byte).unwrap_or(Next::Lost);
                    block = rest;
                }
            }
        }
    }

    /// The block is over: what was in it.
    pub(super) fn end(&mut self) -> Found {
        if !matches!(self.next, Next::Field) {
            self.next = Next::Lost;
        }
        std::mem::take(&mut self.found)
    }

    /// A byte of anything but a string.
    fn read_byte(&mut self, byte: u8) -> Option<Next> {
        let (number, bits) = match self.next {
            Next::Field if byte >= 0x80 => (Number::Field, 7),
            Next::Field if byte >= 0x40 => (Number::Name { kept: true }, 6),
            Next::Field if byte >= 0x20 => (Number::TableSize, 5),
            Next::Field => (Number::Name { kept: false }, 4),
            Next::Length => (Number::Length { is_coded: byte >= 0x80 }, 7),
            Next::Number { number, value, shift } => {
                let value = value + (usize::from(byte & 0x7f) << shift);
                if byte < 0x80 {
                    return self.take(number, value);
                }
                // Five bytes are what `h2` takes for a number.
                return (shift < 21).then_some(Next::Number { number, value, shift: shift + 7 });
            }
            Next::Text { .. } | Next::Lost => return None,
        };
        let prefix = (1 << bits) - 1;
        match usize::from(byte & prefix) {
            value if value == usize::from(prefix) => Some(Next::Number { number, value, shift: 0 }),
            value => self.take(number, value),
        }
    }

    /// A number that is complete.
    fn take(&mut self, number: Number, value: usize) -> Option<Next> {
        match number {
            Number::Field => {
                self.field = self.entry(value)?;
                self.note();
            }
            Number::TableSize if value > MAX_TABLE => return None,
            Number::TableSize => {
                self.max_table = value;
                self.evict(0);
            }
            Number::Name { kept } => {
                let named = if value == 0 { Field::default() } else { self.entry(value)? };
                self.field = Field { value_length: 0, has_fragment: false, ..named };
                self.kept = kept;
                self.part = if value == 0 { Part::Name } else { Part::Value };
                return Some(Next::Length);
            }
            Number::Length { is_coded } => {
                let node = is_coded.then_some(0);
                return Some(if value == 0 { self.end_text() } else { Next::Text { left: value, node } });
            }
        }
        Some(Next::Field)
    }

    fn read_text(&mut self, text: &[u8], left: usize, mut node: Option<u8>) {
        for &byte in text {
            let Some(at) = &mut node else {
                self.read_symbol(byte);
                continue;
            };
            for half in [byte >> 4, byte & 0xf] {
                let step = STEPS[usize::from(*at)][usize::from(half)];
                *at = step.node;
                if let Some(symbol) = step.symbol {
                    self.read_symbol(symbol);
                }
            }
        }
        self.next = if left == 0 { self.end_text() } else { Next::Text { left, node } };
    }

    fn read_symbol(&mut self, symbol: u8) {
        let field = &mut self.field;
        match self.part {
            Part::Name => {
                field.kind = match (field.name_length, field.kind) {
                    (0, _) if symbol == b':' => Kind::Path,
                    (at, Kind::Path) if b":path".get(at) != Some(&symbol) => Kind::OtherPseudo,
                    (_, kind) => kind,
                };
                field.name_length += 1;
            }
            Part::Value => {
                field.has_fragment |= symbol == b'#' && field.kind == Kind::Path;
                field.value_length += 1;
            }
        }
    }

    /// A string is over; what comes next.
    fn end_text(&mut self) -> Next {
        if self.part == Part::Name {
            // A name that breaks off before `:path` is complete is another one.
            if self.field.kind == Kind::Path && self.field.name_length < b":path".len() {
                self.field.kind = Kind::OtherPseudo;
            }
            self.part = Part::Value;
            return Next::Length;
        }
        self.note();
        if self.kept {
            self.keep();
        }
        Next::Field
    }

    /// Takes the field under way into account.
    fn note(&mut self) {
        self.found.pseudo_header |= self.field.kind != Kind::Ordinary;
        self.found.fragment |= self.field.has_fragment;
    }

    /// Puts the field under way into the table (RFC 7541, 4.4).
    fn keep(&mut self) {
        let size = self.field.size();
        self.evict(size);
        if size <= self.max_table {
            self.table.push_front(self.field);
            self.table_size += size;
        }
    }

    /// Makes room in the table.
    fn evict(&mut self, size: usize) {
        while self.table_size + size > self.max_table
            && let Some(oldest) = self.table.pop_back()
        {
            self.table_size -= oldest.size();
        }
    }

    /// What is at an index of the static table or behind it, counted from 1 (RFC 7541, 2.3.3).
    fn entry(&self, index: usize) -> Option<Field> {
        let at = index.checked_sub(1)?;
        let Some(&name) = STATIC.get(at) else { return self.table.get(at - STATIC.len()).copied() };
        let kind = match index {
            4 | 5 => Kind::Path,
            ..=14 => Kind::OtherPseudo,
            _ => Kind::Ordinary,
        };
        Some(Field { kind, name_length: usize::from(name), ..Field::default() })
    }
}

impl Field {
    fn size(self) -> usize {
        self.name_length + self.value_length + ENTRY
    }
}

#[cfg(test)]
mod tests;
