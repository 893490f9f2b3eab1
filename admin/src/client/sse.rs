//! Server-sent events, read as they arrive: bytes in, messages out, cut wherever the network cuts.
//!
//! After the WHATWG's "interpreting an event stream"; `id` and `retry` are read over, because nobody
//! reconnects here.

/// A message may be this long; a longer one is an error, not a reason to fill the memory.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// What `event:` said; `message` by default.
    pub(super) event: String,
    /// The `data:` lines, joined.
    pub(super) data: String,
}

/// The message in the making.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    event: String,
    data: Option<String>,
}

/// A message was longer than any that Tidegate sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Parser {
    /// Takes what has arrived, and hands out the messages that it completes.
    pub(super) fn push(&mut self, bytes: &[u8], mut found: impl FnMut(Message)) -> Result<(), TooLong> {
        for &byte in bytes {
            let is_lf_of_crlf = self.after_cr && byte == b'\n';
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' if is_lf_of_crlf => {}
                b'\n' | b'\r' => {
                    if let Some(message) = self.end_line() {
                        found(message);
                    }
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_MESSAGE_BYTES {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Message> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = if self.started { &line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        self.started = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = self.data.take()?;
            let event = if event.is_empty() { "message".to_owned() } else { event };
            return Some(Message { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment (which keeps the connection open), `id`, `retry`, or something new.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(piece, |m| found.push((m.event, m.data))).expect("short");
        }
        found
    }

    #[test]
    fn messages_come_out_however_the_bytes_are_cut() {
        let stream = "\u{feff}event: change\r\ndata: {\"é\":1}\r\n\r\n: keep alive\n\ndata:a\ndata: b\nid: 7\n\n\
                      event: health\rdata\r\revent: lost\n\ndata: not complete";
        let expected = [("change", "{\"é\":1}"), ("message", "a\nb"), ("health", "")];
        let expected = expected.map(|(event, data)| (event.to_owned(), data.to_owned()));
        for size in 1..=stream.len() {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            assert_eq!(read(&pieces), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_message_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; MAX_MESSAGE_BYTES];
        assert_eq!(parser.push(&piece, |_| ()), Ok(()));
        assert_eq!(parser.push(b"x", |_| ()), Err(TooLong));
    }
}
