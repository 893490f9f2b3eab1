//! As much of HTTP/1.1 as the load and the upstream need: heads, how long a body is, and counting it.
//!
//! Bodies are counted and not kept. Both sides count each byte of each message: what a proxy drops, doubles or cuts
//! off must end a measurement and not make it faster.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the chunk of length 0.
    Chunked,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
}

/// The head of a request: the first byte of its path tells what is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: Path,
    pub(crate) framing: Framing,
}

/// What the upstream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// 100 bytes.
    Small,
    /// 64 KiB.
    Large,
    /// A short answer to a body.
    Post,
}

impl Path {
    fn of(text: &str) -> Option<Self> {
        match text {
            "/small" => Some(Self::Small),
            "/large" => Some(Self::Large),
            "/post" => Some(Self::Post),
            _ => None,
        }
    }
}

/// Reads the head at the front of what was read; with it its length, `None` while it is not whole.
type Parse<T> = fn(&[u8]) -> Result<Option<(T, usize)>>;

/// The head at the front of what was read, and its length; `None` while it is not whole.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.context("an answer without a status")?;
    let framing = framing(head.headers)?.context("an answer whose length is not told")?;
    Ok(Some((Answer { status, framing }, length)))
}

/// As [`answer`], of a request.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let path = head.path.and_then(Path::of).with_context(|| format!("no such path: {:?}", head.path))?;
    let framing = framing(head.headers)?.unwrap_or(Framing::Length(0));
    Ok(Some((Request { path, framing }, length)))
}

fn framing(headers: &[httparse::Header]) -> Result<Option<Framing>> {
    let mut found = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value)?;
            found = Some(Framing::Length(text.parse().with_context(|| format!("content-length {text}"))?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            found = Some(Framing::Chunked);
        }
    }
    Ok(found)
}

/// Reads messages of a connection, one after another.
pub(crate) struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Reader {
    /// `size` bounds a head; a body may be of any length.
    pub(crate) fn new(size: usize) -> Self {
        Self { buffer: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next head; `None` at the end of the connection between two messages.
    pub(crate) async fn head<T>(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        parse: Parse<T>,
    ) -> Result<Option<T>> {
        loop {
            if self.start < self.end
                && let Some((head, length)) = parse(&self.buffer[self.start..self.end])?
            {
                self.start += length;
                return Ok(Some(head));
            }
            let is_between = self.start == self.end;
            if self.more(stream).await? == 0 {
                if is_between {
                    return Ok(None);
                }
                bail!("the connection ended within a head");
            }
        }
    }

    /// Reads a body to its end; its length.
    pub(crate) async fn body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
    ) -> Result<u64> {
        let mut counter = Counter::of(framing);
        loop {
            self.start += counter.take(&self.buffer[self.start..self.end])?;
            if counter.is_done() {
                return Ok(counter.body);
            }
            if self.more(stream).await? == 0 {
                bail!("the connection ended within a body, after {} bytes of it", counter.body);
            }
        }
    }

    /// Reads a body whose length was told, and keeps it.
    pub(crate) async fn text(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
    ) -> Result<Vec<u8>> {
        let Framing::Length(length) = framing else { bail!("a body whose length is not told") };
        let length = usize::try_from(length)?;
        let mut kept = Vec::new();
        loop {
            let taken = (length - kept.len()).min(self.end - self.start);
            kept.extend_from_slice(&self.buffer[self.start..self.start + taken]);
            self.start += taken;
            if kept.len() == length {
                return Ok(kept);
            }
            if self.more(stream).await? == 0 {
                bail!("the connection ended within a body, after {} bytes of it", kept.len());
            }
        }
    }

    async fn more(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            bail!("a head of more than {} bytes", self.buffer.len());
        }
        let read = stream.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }
}

/// Where in a body we are.
struct Counter {
    body: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come; then it is over.
    Plain(u64),
    /// Within a chunk's length, of which this is known.
    Size(u64),
    /// So many bytes of a chunk, with its line end, are still to come.
    Chunk(u64),
    /// Behind the last chunk: so many bytes of this line were seen.
    Trailer(u64),
    Done,
}

impl Counter {
    fn of(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Plain(length),
            Framing::Chunked => State::Size(0),
        };
        Self { body: 0, state }
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body; how many bytes these are.
    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let have = (bytes.len() - at) as u64;
            match self.state {
                State::Plain(left) => {
                    let taken = left.min(have);
                    self.body += taken;
                    at += usize::try_from(taken)?;
                    self.state = if taken == left { State::Done } else { State::Plain(left - taken) };
                }
                State::Chunk(left) => {
                    let taken = left.min(have);
                    at += usize::try_from(taken)?;
                    self.state = if taken == left { State::Size(0) } else { State::Chunk(left - taken) };
                }
                State::Size(size) => {
                    self.state = self.size_byte(size, bytes[at])?;
                    at += 1;
                }
                State::Trailer(seen) => {
                    self.state = match bytes[at] {
                        b'\r' => State::Trailer(seen),
                        b'\n' if seen == 0 => State::Done,
                        b'\n' => State::Trailer(0),
                        _ => State::Trailer(seen + 1),
                    };
                    at += 1;
                }
                State::Done => {}
            }
        }
        Ok(at)
    }

    fn size_byte(&mut self, size: u64, byte: u8) -> Result<State> {
        Ok(match byte {
            b'\n' if size == 0 => State::Trailer(0),
            b'\n' => {
                self.body += size;
                State::Chunk(size + 2)
            }
            b'\r' => State::Size(size),
            _ => {
                let digit = char::from(byte).to_digit(16).context("a chunk's length is no number")?;
                State::Size(size * 16 + u64::from(digit))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y\r\n\r\nbody";
        let (head, length) = answer(text).expect("good").expect("whole");
        assert_eq!((head, length), (Answer { status: 200, framing: Framing::Length(12) }, text.len() - 4));
        assert_eq!(answer(&text[..30]).expect("good so far"), None);
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "its end could not be told from a cut");
        let (head, _) = request(b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n").expect("good").expect("whole");
        assert_eq!(head, Request { path: Path::Small, framing: Framing::Length(0) });
        let post = b"POST /post HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(request(post).expect("good").expect("whole").0.framing, Framing::Chunked);
        assert!(request(b"GET /other HTTP/1.1\r\n\r\n").is_err());
    }

    fn count(framing: Framing, pieces: &[&[u8]]) -> Result<(u64, usize, bool)> {
        let mut counter = Counter::of(framing);
        let mut taken = 0;
        for piece in pieces {
            taken += counter.take(piece)?;
        }
        Ok((counter.body, taken, counter.is_done()))
    }

    #[test]
    fn bodies_are_counted_to_their_end_and_no_further() {
        assert_eq!(count(Framing::Length(5), &[b"abc", b"defgh"]).expect("good"), (5, 5, true));
        assert_eq!(count(Framing::Length(5), &[b"abc"]).expect("good"), (3, 3, false));
        assert_eq!(count(Framing::Length(0), &[b"next"]).expect("good"), (0, 0, true));
        let chunks: &[u8] = b"a\r\n0123456789\r\n2\r\nab\r\n0\r\n\r\nnext";
        assert_eq!(count(Framing::Chunked, &[chunks]).expect("good"), (12, chunks.len() - 4, true));
        for at in 0..chunks.len() - 4 {
            let pieces = [&chunks[..at], &chunks[at..]];
            assert_eq!(count(Framing::Chunked, &pieces).expect("good").0, 12, "cut at {at}");
        }
        assert_eq!(count(Framing::Chunked, &[b"0\r\na: b\r\n\r\nx"]).expect("good"), (0, 11, true));
        assert!(count(Framing::Chunked, &[b"zz\r\n"]).is_err());
    }

    #[tokio::test]
    async fn a_body_is_kept_whole() {
        let mut stream: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n\
            01234567890123456789012345678901234567890123456789HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n";
        let mut reader = Reader::new(40);
        let head = reader.head(&mut stream, answer).await.expect("good").expect("one");
        let body = reader.text(&mut stream, head.framing).await.expect("whole");
        assert_eq!(body, b"0123456789".repeat(5));
        let next = reader.head(&mut stream, answer).await.expect("good").expect("another");
        assert!(reader.text(&mut stream, next.framing).await.expect("whole").is_empty());
        assert!(reader.text(&mut stream, Framing::Length(1)).await.is_err(), "it is cut off");
        assert!(reader.text(&mut stream, Framing::Chunked).await.is_err());
    }

    #[tokio::test]
    async fn messages_follow_one_another() {
        let mut stream: &[u8] =
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n";
        let mut reader = Reader::new(64);
        let first = reader.head(&mut stream, answer).await.expect("good").expect("one");
        assert_eq!(reader.body(&mut stream, first.framing).await.expect("good"), 3);
        let second = reader.head(&mut stream, answer).await.expect("good").expect("another");
        assert_eq!((second.status, second.framing), (404, Framing::Length(0)));
        assert_eq!(reader.body(&mut stream, second.framing).await.expect("good"), 0);
        assert_eq!(reader.head(&mut stream, answer).await.expect("good"), None);
    }
}
