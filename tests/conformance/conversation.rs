//! A client's side of a case: bytes out, answers in, and what becomes of the connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message::{Kind, Message, Parsed, parse};
use crate::upstream::PROBE;

/// How long an answer, or the end of a connection, may take.
const LIMIT: Duration = Duration::from_secs(8);

/// What a client does.
pub(crate) struct Turn {
    pub(crate) send: Vec<u8>,
    /// Sent when the first answer's head is there.
    pub(crate) then: Vec<u8>,
    pub(crate) half_close: bool,
    /// How many answers it waits for.
    pub(crate) answers: usize,
    /// Whether it waits for the connection's end, too.
    pub(crate) until_closed: bool,
}

/// What a client saw.
pub(crate) struct Heard {
    /// Whole answers.
    pub(crate) answers: Vec<Message>,
    /// The status of one that broke off, at the end.
    pub(crate) cut: Option<u16>,
    /// What there is besides answers: a cut one, noise, silence.
    pub(crate) trouble: Option<String>,
    /// The connection, when it is not over.
    pub(crate) open: Option<Talk>,
}

/// A connection, and what has been read from it and not used yet.
pub(crate) struct Talk {
    stream: TcpStream,
    unread: Vec<u8>,
    ended: bool,
}

enum Next {
    Answer(Message),
    /// The connection ended within an answer of this status.
    Cut(u16),
    /// The connection ended between answers.
    End,
    Trouble(String),
}

impl Talk {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // A small write must not wait for the last one's acknowledgement.
        let _ = stream.set_nodelay(true);
        Self { stream, unread: Vec::new(), ended: false }
    }

    async fn next(&mut self, is_head: bool) -> Next {
        loop {
            let kind = if is_head { Kind::HeadAnswer } else { Kind::Answer(self.ended) };
            match parse(&self.unread, kind) {
                Parsed::Whole(answer, length) => {
                    self.unread.drain(..length);
                    return Next::Answer(answer);
                }
                Parsed::Broken(why) => return Next::Trouble(why),
                Parsed::Part(_) if self.ended && self.unread.is_empty() => return Next::End,
                Parsed::Part(Some(status)) if self.ended => return Next::Cut(status),
                Parsed::Part(None) if self.ended => {
                    return Next::Trouble(format!("a part of a head: {}", self.unread.escape_ascii()));
                }
                Parsed::Part(_) => {}
            }
            match tokio::time::timeout(LIMIT, self.stream.read_buf(&mut self.unread)).await {
                Ok(read) => self.ended = matches!(read, Ok(0) | Err(_)),
                Err(_) => return Next::Trouble(format!("nothing more within {LIMIT:?}")),
            }
        }
    }

    /// Whether another request is served on this connection.
    pub(crate) async fn probe(&mut self, host: &str) -> Result<(), String> {
        self.probe_in("HTTP/1.1", host).await
    }

    /// As [`Self::probe`], in another version.
    pub(crate) async fn probe_in(&mut self, version: &str, host: &str) -> Result<(), String> {
        let request = format!("GET {PROBE} {version}\r\nHost: {host}\r\n\r\n");
        let written = self.stream.write_all(request.as_bytes()).await;
        match self.next(false).await {
            Next::Answer(answer) if answer.status() == 200 && answer.body == b"probe" => Ok(()),
            Next::Answer(answer) => Err(format!("{answer:?}")),
            Next::Cut(status) => Err(format!("a {status} that was cut")),
            Next::Trouble(trouble) => Err(trouble),
            Next::End => Err(format!("closed ({written:?})")),
        }
    }
}

/// Has the conversation.
pub(crate) async fn converse(address: SocketAddr, turn: Turn) -> Heard {
    let mut talk = Talk::connect(address).await;
    // The proxy may close while we still write; what it answered can be read nevertheless.
    let _ = talk.stream.write_all(&turn.send).await;
    if turn.half_close {
        let _ = talk.stream.shutdown().await;
    }
    let is_head = turn.send.starts_with(b"HEAD ");
    let mut heard = Heard { answers: Vec::new(), cut: None, trouble: None, open: None };
    while turn.until_closed || heard.answers.len() < turn.answers {
        match talk.next(is_head).await {
            Next::Answer(answer) => heard.answers.push(answer),
            Next::End => return heard,
            Next::Cut(status) => {
                heard.cut = Some(status);
                return heard;
            }
            Next::Trouble(trouble) => {
                heard.trouble = Some(trouble);
                return heard;
            }
        }
        if heard.answers.len() == 1 {
            let _ = talk.stream.write_all(&turn.then).await;
        }
    }
    if !talk.unread.is_empty() {
        heard.trouble = Some(format!("more than was asked for: {}", talk.unread.escape_ascii()));
    }
    heard.open = Some(talk);
    heard
}
