//! HTTP/2 frame by frame, for what no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One setting.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A field that is not to be indexed (RFC 7541, 6.2.2); names and values under 127 bytes.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The head of a `GET` on this path.
pub(crate) fn get(path: &str) -> Vec<u8> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop.test")];
    pseudo.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A request without a body.
pub(crate) fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

/// A connection whose other side is read in the background.
pub(crate) struct Frames {
    writing: OwnedWriteHalf,
    reading: JoinHandle<Vec<u8>>,
}

impl Frames {
    /// With the preface and these settings sent, and everything read that comes.
    pub(crate) async fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut this = Self::silent(address).await;
        this.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
        this
    }

    /// Without a word.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut half, writing) = stream.into_split();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            // A reset is an end as well.
            let _ = half.read_to_end(&mut all).await;
            all
        });
        Self { writing, reading }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writing.write_all(bytes).await
    }

    /// Sends these again and again until the other side has had enough, so often at the most; how often.
    pub(crate) async fn flood(&mut self, most: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> usize {
        for round in 0..most {
            if self.reading.is_finished() || self.send(&next(round)).await.is_err() {
                return round;
            }
        }
        most
    }

    /// What came, once the other side has closed; `None` when it has not in time.
    pub(crate) async fn ended(self, limit: Duration) -> Option<Vec<u8>> {
        let got = tokio::time::timeout(limit, self.reading).await;
        drop(self.writing);
        got.ok().map(Result::unwrap)
    }
}

/// The frames in what came: kind, flags, stream and payload.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let Some(payload) = bytes.get(9..9 + length) else { break };
        let stream = u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]);
        frames.push((bytes[3], bytes[4], stream, payload.to_vec()));
        bytes = &bytes[9 + length..];
    }
    frames
}

/// The error code of the last GOAWAY.
pub(crate) fn goaway(bytes: &[u8]) -> Option<u32> {
    let last = parse(bytes).into_iter().rfind(|(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(last.3.get(4..8)?.try_into().ok()?))
}
