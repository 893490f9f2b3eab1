//! The heads and trailers among a client's frames, followed for what the `h2` crate does not refuse.

use super::fields::Fields;
use super::scan::{Frame, Kind};

/// What makes a request malformed (RFC 9113, 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The `:path` of this stream's request has a fragment (8.3.1).
    Fragment { stream: u32 },
    /// There is a pseudo-header among trailers (8.1).
    Trailers,
}

/// The heads of one connection, in the order in which they come.
#[derive(Debug)]
pub(super) struct Heads {
    fields: Fields,
    /// The newest stream that a head has opened.
    newest: u32,
    /// Whether the block under way opens a stream, and is not its trailers.
    opens: bool,
    /// The frame under way, if it is of a head.
    frame: Option<Frame>,
    /// Whether the length of the frame's padding is still to come.
    awaits_padding: bool,
    /// Bytes before the block, and of the block, that are left in the frame.
    lead: usize,
    block: usize,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            fields: Fields::new(),
            newest: 0,
            opens: false,
            frame: None,
            awaits_padding: false,
            lead: 0,
            block: 0,
        }
    }

    /// A frame begins (RFC 9113, 6.2 and 6.10).
    pub(super) fn begin(&mut self, frame: Frame) {
        let is_head = frame.kind == Kind::Headers;
        self.frame = (is_head || frame.kind == Kind::Continuation).then_some(frame);
        if is_head {
            self.opens = frame.stream > self.newest;
            self.newest = self.newest.max(frame.stream);
        }
        self.awaits_padding = is_head && frame.is_padded();
        self.lead = if is_head && frame.has_priority() { 5 } else { 0 };
        self.block = frame.length.saturating_sub(self.lead + usize::from(self.awaits_padding));
    }

    /// More of the frame.
    pub(super) fn read(&mut self, mut payload: &[u8]) {
        if self.frame.is_none() {
            return;
        }
        if self.awaits_padding
            && let Some((&padding, rest)) = payload.split_first()
        {
            self.awaits_padding = false;
            self.block = self.block.saturating_sub(usize::from(padding));
            payload = rest;
        }
        let (lead, rest) = payload.split_at(self.lead.min(payload.len()));
        self.lead -= lead.len();
        let block = &rest[..self.block.min(rest.len())];
        self.block -= block.len();
        self.fields.read(block);
    }

    /// The frame is over; what is wrong with the head that it completes.
    pub(super) fn end(&mut self) -> Option<Malformed> {
        let frame = self.frame.take().filter(|frame| frame.ends_head())?;
        let found = self.fields.end();
        match self.opens {
            true if found.fragment => Some(Malformed::Fragment { stream: frame.stream }),
            false if found.pseudo_header => Some(Malformed::Trailers),
            _ => None,
        }
    }
}
