//! Where a request's body ends, followed byte by byte as the gateway reads it.
//!
//! A connection hands the gateway exactly one request at a time: what lies behind its end stays
//! there for the next one, so a pipelined request can neither cut the current one short nor slip past
//! the checks of [`super::head`]. Chunked bodies (RFC 9112, 7.1) are held to the grammar: a size in
//! hexadecimal digits, CRLF line ends and nothing else.

/// A chunk-size line, extensions and all, may be this long, in bytes.
const MAX_SIZE_LINE: u32 = 4 * 1024;
/// The trailer section may be this long, in bytes.
const MAX_TRAILERS: u32 = 16 * 1024;

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Nothing: what comes belongs to the next message.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything until the connection ends, after an upgrade.
    Rest,
}

/// The body breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk;

impl Framing {
    /// Whether the message is complete.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many of the next `bytes` belong to the message; moves past them.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        self.take_data(bytes, |_| {})
    }

    /// As [`Self::take`]; tells each piece of them that is content, and not its frame.
    pub fn take_data(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        match self {
            Self::Done => Ok(0),
            Self::Rest => {
                content(bytes);
                Ok(bytes.len())
            }
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                content(&bytes[..taken]);
                Ok(taken)
            }
            Self::Chunked(chunks) => {
                let taken = chunks.take(bytes, content)?;
                if chunks.state == State::End {
                    *self = Self::Done;
                }
                Ok(taken)
            }
        }
    }
}

/// Progress through a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    state: State,
    /// Of the chunk: its size while the line is read, then what is left of its data.
    size: u64,
    /// Bytes of the current line, or of the trailers.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self { state: State::Size, size: 0, line: 0 }
    }

    fn take(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let rest = (bytes.len() - at) as u64;
                let skipped = self.size.min(rest);
                let end = at + usize::try_from(skipped).unwrap_or(usize::MAX);
                content(&bytes[at..end]);
                self.size -= skipped;
                at = end;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        let next = match (self.state, byte) {
            (State::Size, b'\r') if self.line > 0 => State::SizeLf,
            (State::Size, b';') if self.line > 0 => State::Extension,
            (State::Size, digit) => self.digit(digit)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension | State::Trailer, b'\t' | 0x20..=0x7e | 0x80..) => self.state,
            (State::SizeLf, b'\n') => self.data_or_trailers(),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart, 0x21..=0x7e) => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::End,
            _ => return Err(BadChunk),
        };
        self.count(next)?;
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<State, BadChunk> {
        let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
        if self.size >> 59 != 0 {
            return Err(BadChunk);
        }
        self.size = self.size * 16 + u64::from(digit);
        Ok(State::Size)
    }

    fn data_or_trailers(&self) -> State {
        if self.size == 0 { State::TrailerStart } else { State::Data }
    }

    /// Bounds the length of size lines and of the trailers as a whole.
    fn count(&mut self, next: State) -> Result<(), BadChunk> {
        let limit = match next {
            State::Size | State::Extension => MAX_SIZE_LINE,
            State::TrailerStart | State::Trailer | State::TrailerLf => MAX_TRAILERS,
            _ => return Ok(()),
        };
        let starts = matches!(self.state, State::DataLf | State::SizeLf);
        self.line = if starts { 0 } else { self.line + 1 };
        if matches!(self.state, State::DataLf) {
            self.size = 0;
        }
        if self.line > limit { Err(BadChunk) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes whole, and one by one; both must take the same.
    fn taken(body: &[u8]) -> Result<(usize, bool), BadChunk> {
        let mut whole = Framing::Chunked(Chunks::new());
        let by_whole = whole.take(body).map(|n| (n, whole.is_done()));
        let mut single = Framing::Chunked(Chunks::new());
        let mut count = 0;
        let by_byte = (|| {
            for byte in body {
                count += single.take(std::slice::from_ref(byte))?;
            }
            Ok((count, single.is_done()))
        })();
        assert_eq!(by_whole, by_byte, "{}", String::from_utf8_lossy(body));
        by_whole
    }

    #[test]
    fn chunks_end_where_they_should() {
        for (body, length, done) in [
            (&b"0\r\n\r\n"[..], 5, true),
            (b"5\r\nhello\r\n0\r\n\r\nGET /", 15, true),
            (b"A\r\n0123456789\r\n00\r\nx: y\r\n\r\n", 27, true),
            (b"5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n", 25, true),
            (b"5\r\nhel", 6, false),
            (b"5", 1, false),
            (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 18, true),
        ] {
            assert_eq!(taken(body), Ok((length, done)), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn content_is_told_without_its_frame() {
        for (framing, bytes, expected) in [
            (Framing::Length(5), &b"hello, and more"[..], &b"hello"[..]),
            (Framing::Rest, b"all", b"all"),
            (Framing::Done, b"none", b""),
            (
                Framing::Chunked(Chunks::new()),
                b"5;a=b\r\nhello\r\n2\r\n!!\r\n0\r\nx: y\r\n\r\nGET",
                b"hello!!",
            ),
        ] {
            for size in [1, 3, bytes.len()] {
                let (mut framing, mut content) = (framing, Vec::new());
                for piece in bytes.chunks(size) {
                    framing.take_data(piece, |part| content.extend_from_slice(part)).expect("a body");
                }
                assert_eq!(content, expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_not_a_chunk_is_refused() {
        for body in [
            &b"\r\n\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 5\r\nhello",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello",
            b"5\nhello",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b"5;a\nhello",
            b"5;a=\x00\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\n x: y\r\n\r\n",
            b"0\r\nx: y\n\r\n",
        ] {
            assert!(taken(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        let mut long = b"5;".to_vec();
        long.extend(std::iter::repeat_n(b'x', 5_000));
        assert!(taken(&long).is_err());
        let mut trailers = b"0\r\n".to_vec();
        trailers.extend(b"x: y\r\n".repeat(4_000));
        assert!(taken(&trailers).is_err());
    }

    #[test]
    fn lengths_are_counted_down() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.take(b"abc"), Ok(3));
        assert!(!framing.is_done());
        assert_eq!(framing.take(b"defg"), Ok(2));
        assert!(framing.is_done());
        assert_eq!(framing.take(b"x"), Ok(0));
    }
}
