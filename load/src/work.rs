//! What is sent through a proxy, and what has to come back.
//!
//! Each kind of work is a task for each connection (or stream) that takes turns from a [`Pacer`] and tells a
//! [`Recorder`]. An answer with another status or length than expected, or none, ends the load with an error: a
//! proxy is never faster for having failed.

pub(crate) mod counted;
pub(crate) mod fresh;
pub(crate) mod h2;
pub(crate) mod idle;
pub(crate) mod keepalive;
pub(crate) mod tls;

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::pace::Pacer;
use crate::recorder::Recorder;
use crate::upstream::{LARGE, POSTED, SMALL};
use crate::wire::{Reader, answer};

/// What a POST carries, in bytes.
pub(crate) const POST_BODY: u64 = 64 * 1024;

/// A gRPC message of 100 bytes behind its five bytes of head: not compressed, 100 long.
pub(crate) const GRPC_MESSAGE: &[u8] = &grpc_message();

/// Longer than any answer takes that still comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Users of the row with a sticky key; each has a request made beforehand.
const USERS: usize = 2_000;

const fn grpc_message() -> [u8; 105] {
    let mut message = [b'm'; 105];
    let head = [0, 0, 0, 0, 100];
    let mut at = 0;
    while at < head.len() {
        message[at] = head[at];
        at += 1;
    }
    message
}

/// What the tasks of one load share.
pub(crate) struct Load {
    pub(crate) pacer: Pacer,
    pub(crate) recorder: Recorder,
}

/// Requests made beforehand, and what each is answered with.
pub(crate) struct Script {
    pub(crate) requests: Vec<Vec<u8>>,
    pub(crate) length: u64,
}

/// Header fields as a small client sends them.
const FIELDS: &str = "host: shop.test\r\nuser-agent: tidegate-load\r\naccept: */*\r\n";

impl Script {
    pub(crate) fn small() -> Self {
        Self::one(format!("GET /small HTTP/1.1\r\n{FIELDS}\r\n"), SMALL)
    }

    pub(crate) fn large() -> Self {
        Self::one(format!("GET /large HTTP/1.1\r\n{FIELDS}\r\n"), LARGE)
    }

    pub(crate) fn post() -> Self {
        let mut script =
            Self::one(format!("POST /post HTTP/1.1\r\n{FIELDS}content-length: {POST_BODY}\r\n\r\n"), POSTED);
        script.requests[0].extend((0..POST_BODY).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)));
        script
    }

    /// The last request of its connection.
    pub(crate) fn last() -> Self {
        Self::one(format!("GET /small HTTP/1.1\r\n{FIELDS}connection: close\r\n\r\n"), SMALL)
    }

    /// Of many users, with the header that the route asks for.
    pub(crate) fn users() -> Self {
        let requests = (0..USERS).map(|user| {
            let mut text = format!("GET /small HTTP/1.1\r\n{FIELDS}");
            // Writing to a string cannot fail.
            let _ = write!(text, "x-env: prod\r\nx-user-id: user-{user}\r\n\r\n");
            text.into_bytes()
        });
        Self { requests: requests.collect(), length: SMALL }
    }

    /// The small one of many users, spread over as many hosts as are wanted: `s0000.shop.test` and on.
    pub(crate) fn hosts(hosts: usize) -> Self {
        let requests = (0..USERS).map(|user| {
            let host = user % hosts.max(1);
            format!(
                "GET /small HTTP/1.1\r\nhost: s{host:04}.shop.test\r\nuser-agent: tidegate-load\r\naccept: */*\r\n\
                 x-user-id: user-{user}\r\n\r\n"
            )
            .into_bytes()
        });
        Self { requests: requests.collect(), length: SMALL }
    }

    fn one(text: String, length: u64) -> Self {
        Self { requests: vec![text.into_bytes()], length }
    }
}

/// Sends one request and reads its answer to the end.
pub(crate) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reader: &mut Reader,
    request: &[u8],
    length: u64,
) -> Result<()> {
    stream.write_all(request).await.context("sending a request")?;
    stream.flush().await?;
    let head =
        reader.head(stream, answer).await?.context("the connection was closed in place of an answer")?;
    ensure!(head.status == 200, "an answer of status {}", head.status);
    let got = reader.body(stream, head.framing).await?;
    ensure!(got == length, "a body of {got} bytes in place of {length}");
    Ok(())
}
