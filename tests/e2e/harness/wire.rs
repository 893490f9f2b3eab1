//! HTTP/1.1 on a socket, read piece by piece: what both the upstreams and the clients are made of.
//!
//! Deliberately strict about ends: a body that stops early is an error, never a short body.

use std::io::{Error, ErrorKind, Result};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A socket with what has been read from it and not used yet.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
}

/// The first line of a message and its headers, in the order and spelling of the wire.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // A small write must not wait for the last one's acknowledgement: it would look like the proxy's delay.
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: BytesMut::with_capacity(16 * 1024) }
    }

    /// Close with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Wait for more bytes; false at the end of the stream.
    pub(crate) async fn fill(&mut self) -> Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    async fn must_fill(&mut self) -> Result<()> {
        if self.fill().await? {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::UnexpectedEof, "cut in the middle"))
        }
    }

    /// The next head; none when the peer closed between messages.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.buffer[searched..], b"\r\n\r\n") {
                let bytes = self.buffer.split_to(searched + at + 4);
                return Ok(Some(Head::parse(&bytes)));
            }
            searched = self.buffer.len().saturating_sub(3);
            if !self.buffer.is_empty() {
                self.must_fill().await?;
            } else if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Some bytes, at most `most`; empty at the end of the stream.
    pub(crate) async fn some(&mut self, most: usize) -> Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let length = self.buffer.len().min(most);
        Ok(self.buffer.split_to(length).freeze())
    }

    /// The next chunk of a chunked body; none after the last one (trailers are read and dropped).
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}")))?;
        if size == 0 {
            while !self.line().await?.is_empty() {}
            return Ok(None);
        }
        while self.buffer.len() < size + 2 {
            self.must_fill().await?;
        }
        let chunk = self.buffer.split_to(size).freeze();
        let end = self.buffer.split_to(2);
        if &end[..] == b"\r\n" {
            Ok(Some(chunk))
        } else {
            Err(Error::new(ErrorKind::InvalidData, "chunk end"))
        }
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.must_fill().await?;
        }
    }

    /// The whole body, piece by piece, to `each`.
    pub(crate) async fn body(&mut self, framing: Framing, mut each: impl FnMut(&[u8])) -> Result<()> {
        match framing {
            Framing::Length(mut left) => {
                while left > 0 {
                    let piece = self.some(left).await?;
                    if piece.is_empty() {
                        return Err(Error::new(ErrorKind::UnexpectedEof, format!("{left} bytes short")));
                    }
                    left -= piece.len();
                    each(&piece);
                }
            }
            Framing::Chunked => {
                while let Some(chunk) = self.chunk().await? {
                    each(&chunk);
                }
            }
            Framing::UntilClose => loop {
                let piece = self.some(usize::MAX).await?;
                if piece.is_empty() {
                    break;
                }
                each(&piece);
            },
        }
        Ok(())
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Self { first, headers }
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let own = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// How the body ends, where headers say so.
    pub(crate) fn framing(&self) -> Option<Framing> {
        if self
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
        {
            return Some(Framing::Chunked);
        }
        self.header("content-length").and_then(|value| value.parse().ok()).map(Framing::Length)
    }

    /// Whether `Connection` names this token.
    pub(crate) fn connection_has(&self, token: &str) -> bool {
        let values = self.all("connection");
        values.iter().flat_map(|value| value.split(',')).any(|own| own.trim().eq_ignore_ascii_case(token))
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// A chunk as it goes on the wire.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// `length` bytes that repeat with no period a buffer size could hide: both ends can check them.
pub(crate) fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// FNV-1a, to compare bodies without keeping them.
#[derive(Clone, Copy)]
pub(crate) struct Sum(pub(crate) u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
