//! The raw client: writes what it is told, and collects what comes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::FrameCase;
use super::script::{frame, get};
use crate::upstream::PROBE;

/// How long what must come may take.
const LIMIT: Duration = Duration::from_secs(8);
/// The stream that asks whether the connection still serves; higher than any in a script.
const ALIVE: u32 = 0x0fff_ffff;
/// RFC 9113, 7.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// What came.
#[derive(Default)]
pub(super) struct Heard {
    /// Streams and the last status of each.
    pub(super) statuses: BTreeMap<u32, u16>,
    /// All that can be expected, in its words.
    events: Vec<String>,
    /// The data of stream 1.
    pub(super) body: Vec<u8>,
    pub(super) is_alive: bool,
}

impl Heard {
    /// Whether this was seen; an error's name may be left out.
    pub(super) fn has(&self, wanted: &str) -> bool {
        self.events.iter().any(|event| {
            event.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    }

    fn has_all(&self, wanted: &[String]) -> bool {
        wanted.iter().all(|one| one.split('|').any(|one| self.has(one)))
    }

    fn add(&mut self, event: String) {
        const MOST: usize = 4_000;
        if self.events.len() < MOST {
            self.events.push(event);
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 20;
        let more = if self.events.len() > MOST { "…" } else { "" };
        write!(f, "{}{more}", self.events[..self.events.len().min(MOST)].join(", "))
    }
}

/// Sends, and reads until all that is expected is there, or nothing more comes.
pub(super) async fn converse(address: SocketAddr, bytes: &[u8], case: &FrameCase) -> Heard {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut heard = Heard::default();
    let (mut unread, mut decoder) = (Vec::new(), fluke_hpack::Decoder::new());
    let sending = bytes.to_vec();
    // A peer that refuses stops reading; then what it said counts, not what it would not take.
    let sent = tokio::spawn(async move {
        let _ = writer.write_all(&sending).await;
        writer
    });
    let mut asked_again = None;
    let reading = async {
        loop {
            while let Some(length) = whole(&unread) {
                let taken: Vec<u8> = unread.drain(..length).collect();
                look(&taken, &mut decoder, &mut heard);
            }
            if heard.has_all(&case.expect) && asked_again.is_none() {
                asked_again = Some(());
                if !case.alive {
                    return;
                }
                break;
            }
            if !read(&mut reader, &mut unread, &mut heard).await {
                return;
            }
        }
        let Ok(mut writer) = sent.await else { return };
        let settled = frame(4, 1, 0, &[], None);
        let _ = writer.write_all(&[settled, get(ALIVE, PROBE)].concat()).await;
        while heard.statuses.get(&ALIVE) != Some(&200) {
            while let Some(length) = whole(&unread) {
                let taken: Vec<u8> = unread.drain(..length).collect();
                look(&taken, &mut decoder, &mut heard);
            }
            if heard.statuses.get(&ALIVE) != Some(&200) && !read(&mut reader, &mut unread, &mut heard).await {
                return;
            }
        }
    };
    if tokio::time::timeout(LIMIT, reading).await.is_err() {
        heard.add("nothing more".to_owned());
    }
    heard.is_alive = heard.statuses.remove(&ALIVE) == Some(200);
    heard
}

/// Reads more; false at the end, which is told.
async fn read(reader: &mut (impl AsyncReadExt + Unpin), unread: &mut Vec<u8>, heard: &mut Heard) -> bool {
    let has_more = reader.read_buf(unread).await.is_ok_and(|read| read > 0);
    if !has_more {
        heard.add("closed".to_owned());
    }
    has_more
}

/// The length of the first frame, when it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..9)?;
    let length = 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    (bytes.len() >= length).then_some(length)
}

fn look(frame: &[u8], decoder: &mut fluke_hpack::Decoder<'_>, heard: &mut Heard) {
    let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap()) & 0x7fff_ffff;
    let payload = &frame[9..];
    let code = |at: usize| {
        let number = payload.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()));
        number.and_then(|n| CODES.get(n as usize)).copied().unwrap_or("unknown")
    };
    match frame[3] {
        0 if stream == 1 => heard.body.extend_from_slice(payload),
        1 => {
            let fields = decoder.decode(payload).unwrap_or_default();
            let status = fields.iter().find(|(name, _)| name == b":status");
            let status = status.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
            heard.statuses.insert(stream, status.unwrap_or(0));
            heard.add(format!("status {stream} {}", status.unwrap_or(0)));
        }
        3 => heard.add(format!("reset {stream} {}", code(0))),
        4 if frame[4] & 1 == 1 => heard.add("settings ack".to_owned()),
        6 if frame[4] & 1 == 1 => heard.add("ping ack".to_owned()),
        7 => heard.add(format!("goaway {}", code(4))),
        _ => {}
    }
}
