//! The HTTP/1.1 upstream: reads each request to its end, then sends an answer that lies ready.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{LARGE, POSTED, SMALL};
use crate::wire::{Framing, Path, Reader, request};
use crate::work::POST_BODY;

/// What is sent, head and body in one.
pub(super) struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    posted: Vec<u8>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { small: answer(SMALL), large: answer(LARGE), posted: answer(POSTED) }
    }
}

fn answer(length: u64) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: application/octet-stream\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend((0..length).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)));
    bytes
}

pub(super) async fn serve(mut stream: TcpStream, answers: &Answers, served: &AtomicU64) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(16 * 1024);
    while let Some(head) = reader.head(&mut stream, request).await? {
        let length = match head.framing {
            Framing::Length(0) => 0,
            framing => reader.body(&mut stream, framing).await?,
        };
        let bytes = match head.path {
            Path::Small => &answers.small,
            Path::Large => &answers.large,
            Path::Post => {
                ensure!(length == POST_BODY, "a body of {length} bytes");
                &answers.posted
            }
        };
        served.fetch_add(1, Relaxed);
        stream.write_all(bytes).await?;
    }
    Ok(())
}
