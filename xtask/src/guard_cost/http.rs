//! As much of HTTP/1.1 as the load, the upstream and the calls of the admin API need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::exec::Result;

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// One end of a connection, with what was read beyond the last message.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message's head as text, and its body.
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) fn to(address: SocketAddr) -> Result<Self> {
        Self::of(TcpStream::connect(address).map_err(|error| format!("connecting to {address}: {error}"))?)
    }

    pub(super) fn of(stream: TcpStream) -> Result<Self> {
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| format!("a connection: {error}"))?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result {
        self.stream.write_all(bytes).map_err(|error| format!("writing: {error}"))
    }

    /// The next message; `None` at the end of the connection.
    pub(super) fn receive(&mut self) -> Result<Option<Message>> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more()? {
                return if self.buffer.is_empty() { Ok(None) } else { Err("a head was cut off".into()) };
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let end = head_end + content_length(&head);
        while self.buffer.len() < end {
            if !self.read_more()? {
                return Err("a body was cut off".into());
            }
        }
        let body = self.buffer[head_end..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(Message { head, body }))
    }

    fn read_more(&mut self) -> Result<bool> {
        let mut chunk = [0; 4_096];
        let read = self.stream.read(&mut chunk).map_err(|error| format!("reading: {error}"))?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }
}

impl Message {
    /// An answer's status.
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

fn content_length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}
