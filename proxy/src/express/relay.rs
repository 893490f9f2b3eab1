//! The bytes of one plain exchange, both ways at once, moved by one task.
//!
//! A request goes up and its answer comes down at the same time: an upstream may answer before it has the
//! whole request, and a client may read while it sends. Each direction is a small machine that is polled;
//! neither waits for the other. Content with a length is written from the buffer that it was read into, chunks
//! are decoded and written anew, without extensions and trailers. What is small goes out in one write with its
//! head.
//!
//! Of the client's stream nothing is taken for as long as it may be needed again ([`MAX_REPEATED`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora_core::{Error, ErrorType};
use tidegate_core::http1::framing::Framing;
use tidegate_core::http1::head::Head;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::answer::Begun;
use super::stop::{Late, Stop};
use super::wire::{LAST_CHUNK, chunk};
use crate::buffers;
use crate::failure::INVALID_CHUNK;
use crate::listen::ClientStream;

/// Read at once.
const READ_BYTES: usize = 16 << 10;
/// Read at once, of a body that fills what is read at first.
const READ_MORE_BYTES: usize = 64 << 10;
/// Content that goes out in one write with its head.
const SMALL_BYTES: usize = 16 << 10;
/// A request is kept for another try up to this, as pingora does it.
pub(super) const MAX_REPEATED: usize = 64 << 10;
/// An answer's head may be this long.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// How long what may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Until the client sends more of its request.
    pub(super) client_ms: u64,
    /// Until the upstream sends more of its answer.
    pub(super) read_ms: u64,
    /// Until the upstream takes more of the request.
    pub(super) write_ms: u64,
    /// Until the upstream begins to answer, once it has the whole request.
    pub(super) try_ms: Option<u64>,
    /// When all must be over, on the monotonic clock.
    pub(super) deadline_ms: Option<u64>,
    /// In bytes; 0 = any.
    pub(super) max_body: u64,
}

type Polled<T> = Poll<Result<T, Stop>>;

/// The request on its way up.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the way up")]
struct Up {
    /// To be written: the head, and chunks.
    out: BytesMut,
    /// What of the client's stream has been dealt with, from the beginning of the head.
    taken: usize,
    /// Content behind that which is to be written from where it lies.
    direct: usize,
    is_chunked: bool,
    /// What was taken is still there.
    is_whole: bool,
    /// It is not read or written any further.
    is_over: bool,
    /// The upstream takes no more of it.
    broken: Option<std::io::Error>,
    awaits_client: bool,
    content_bytes: u64,
    at_ms: u64,
}

/// The answer on its way down.
#[derive(Debug)]
struct Down {
    /// Read, and not yet dealt with.
    unread: BytesMut,
    /// To be written: the head, and chunks.
    out: BytesMut,
    /// Content at the beginning of `unread` that is to be written from there.
    direct: usize,
    /// `None` until the head is there.
    framing: Option<Framing>,
    is_chunked: bool,
    /// The upstream keeps the connection.
    is_kept: bool,
    awaits_client: bool,
    content_bytes: u64,
    /// How much is read at once.
    read_bytes: usize,
    at_ms: u64,
}

/// An exchange between a client and an upstream.
pub(super) struct Relay<'a> {
    client: &'a mut ClientStream,
    server: &'a mut TcpStream,
    limits: Limits,
    up: Up,
    down: Down,
}

impl<'a> Relay<'a> {
    /// Of a request whose head lies at the beginning of what the client has sent, and goes up as `sent`.
    pub(super) fn new(
        client: &'a mut ClientStream,
        server: &'a mut TcpStream,
        head: &Head,
        sent: BytesMut,
        limits: Limits,
    ) -> Self {
        let now_ms = client.exchange().now_ms();
        let up = Up {
            out: sent,
            taken: head.length,
            direct: 0,
            is_chunked: matches!(head.body, Framing::Chunked(_)),
            is_whole: true,
            is_over: false,
            broken: None,
            awaits_client: false,
            content_bytes: 0,
            at_ms: now_ms,
        };
        let down = Down {
            unread: buffers::take(),
            out: BytesMut::new(),
            direct: 0,
            framing: None,
            is_chunked: false,
            is_kept: false,
            awaits_client: false,
            content_bytes: 0,
            read_bytes: READ_BYTES,
            at_ms: now_ms,
        };
        Self { client, server, limits, up, down }
    }

    /// What has come of the answer and is not dealt with.
    pub(super) fn unread(&self) -> &[u8] {
        &self.down.unread
    }

    pub(super) fn take_head(&mut self, length: usize) {
        self.down.unread.advance(length);
    }

    /// Whether the upstream has the whole request.
    pub(super) fn is_request_sent(&self) -> bool {
        self.up.is_over && self.up.broken.is_none()
    }

    /// Whether all that was taken of the client's stream is still there.
    pub(super) fn is_whole(&self) -> bool {
        self.up.is_whole
    }

    /// Content of the answer that the client was sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.down.content_bytes
    }

    /// Content of the request.
    pub(super) fn body_bytes(&self) -> u64 {
        self.up.content_bytes
    }

    /// Whether the connection to the upstream may carry another exchange.
    pub(super) fn is_reusable(&self) -> bool {
        let is_over = self.down.framing.as_ref().is_some_and(Framing::is_done);
        self.is_request_sent() && self.down.is_kept && is_over && self.down.unread.is_empty()
    }

    /// Ends the exchange: the client's stream goes on behind the request.
    pub(super) fn finish(self) {
        self.client.unread.advance(self.up.taken);
    }

    /// Gives the client's stream back as it was, for another try; whether all of it is still there. `head` is
    /// what the request began with.
    pub(super) fn give_back(self, head: &[u8], body: Framing) -> bool {
        if self.up.is_whole {
            self.client.framing = body;
        } else {
            self.client.unread.advance(self.up.taken);
            let rest = std::mem::replace(&mut self.client.unread, BytesMut::from(head));
            self.client.unread.extend_from_slice(&rest);
        }
        self.up.is_whole
    }

    /// The request's body as it came, behind a head of this length; `None` = it is not all there any more.
    pub(super) fn body(&self, head_length: usize) -> Option<&[u8]> {
        self.up.is_whole.then(|| &self.client.unread[head_length..self.up.taken])
    }

    /// Sends on until the upstream has the whole request, or has begun to answer.
    pub(super) async fn upload(&mut self) -> Result<(), Stop> {
        std::future::poll_fn(|cx| {
            self.poll_up(cx)?;
            if self.up.is_over { Poll::Ready(Ok(())) } else { self.poll_more_of_head(cx) }
        })
        .await
    }

    /// Sends on, and waits for more of the answer's head.
    pub(super) async fn more_of_head(&mut self) -> Result<(), Stop> {
        std::future::poll_fn(|cx| self.poll_more_of_head(cx)).await
    }

    fn poll_more_of_head(&mut self, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_up(cx)?;
        if self.down.unread.len() > MAX_HEAD_BYTES {
            let error = Error::explain(ErrorType::InvalidHTTPHeader, "the answer's head is too long");
            return Poll::Ready(Err(Stop::Upstream(error)));
        }
        match self.poll_read(cx)? {
            Poll::Ready(0) => {
                let why = self.up.broken.take().map_or_else(
                    || Error::explain(ErrorType::ConnectionClosed, "closed before an answer"),
                    |error| Error::because(ErrorType::WriteError, "sending the request", error),
                );
                Poll::Ready(Err(Stop::Upstream(why)))
            }
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => self.poll_client_and_times(cx).map(Err),
        }
    }

    /// Begins to send the answer: its head, and what is there of its content.
    pub(super) fn begin_answer(&mut self, begun: Begun) {
        let down = &mut self.down;
        down.out = begun.bytes;
        down.is_chunked = matches!(begun.framing, Framing::Chunked(_) | Framing::Rest);
        down.framing = Some(begun.framing);
        down.is_kept = begun.is_kept;
    }

    /// Sends an interim answer.
    pub(super) async fn say(&mut self, head: &[u8]) -> Result<(), Stop> {
        self.down.out.extend_from_slice(head);
        std::future::poll_fn(|cx| {
            self.poll_up(cx)?;
            self.poll_write_down(cx)
        })
        .await
    }

    /// Moves what is left, until the answer is complete. Where it breaks off, the client gets what is there.
    pub(super) async fn rest(&mut self) -> Result<(), Stop> {
        let moved = std::future::poll_fn(|cx| self.poll_rest(cx)).await;
        if moved.is_err() {
            self.client.leave(&self.down.out);
        }
        moved
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_up(cx)?;
        loop {
            self.down.frame()?;
            if self.poll_write_down(cx)?.is_pending() {
                return self.poll_client_and_times(cx).map(Err);
            }
            if self.down.framing.as_ref().is_some_and(Framing::is_done) {
                return Poll::Ready(Ok(()));
            }
            match self.poll_read(cx)? {
                Poll::Ready(0) => self.down.end()?,
                Poll::Ready(_) => {}
                Poll::Pending => return self.poll_client_and_times(cx).map(Err),
            }
        }
    }

    /// Sends as much of the request as there is and is taken; what it waits for wakes the task.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Stop> {
        while !self.up.is_over {
            self.frame_up()?;
            match self.poll_write_up(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    // It may have answered nevertheless.
                    self.up.broken = Some(error);
                    self.up.is_over = true;
                    break;
                }
                Poll::Pending => {
                    self.up.awaits_client = false;
                    break;
                }
            }
            if self.client.framing.is_done() {
                self.up.is_over = true;
                self.up.at_ms = self.now_ms();
                break;
            }
            let filled = self.client.poll_fill(cx);
            self.up.awaits_client = filled.is_pending();
            self.client.exchange().set_awaits_request(filled.is_pending());
            match filled {
                Poll::Ready(Ok(1..)) => self.up.at_ms = self.now_ms(),
                Poll::Ready(_) => return Err(Stop::ClientGone),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Readies what the client has sent of its body.
    fn frame_up(&mut self) -> Result<(), Stop> {
        let (up, client) = (&mut self.up, &mut *self.client);
        if up.direct > 0 || client.unread.len() == up.taken {
            return Ok(());
        }
        let more = &client.unread[up.taken..];
        let taken = if up.is_chunked {
            let (taken, content) = chunk(&mut client.framing, more, &mut up.out).ok_or(Stop::BadBody)?;
            up.content_bytes += content as u64;
            up.taken += taken;
            0
        } else {
            client.framing.take(more).map_err(|_| Stop::BadBody)?
        };
        up.content_bytes += taken as u64;
        if self.limits.max_body > 0 && up.content_bytes > self.limits.max_body {
            return Err(Stop::TooLarge);
        }
        if taken <= SMALL_BYTES && !up.out.is_empty() {
            up.out.extend_from_slice(&more[..taken]);
            up.taken += taken;
        } else {
            up.direct = taken;
        }
        Ok(())
    }

    fn poll_write_up(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.up.out.is_empty() {
            let sent = ready!(Pin::new(&mut *self.server).poll_write(cx, &self.up.out))?;
            self.up.out.advance(sent);
            self.up.at_ms = self.now_ms();
        }
        while self.up.direct > 0 {
            let content = &self.client.unread[self.up.taken..self.up.taken + self.up.direct];
            let sent = ready!(Pin::new(&mut *self.server).poll_write(cx, content))?;
            self.up.taken += sent;
            self.up.direct -= sent;
            self.up.at_ms = self.now_ms();
        }
        if self.up.taken > MAX_REPEATED || !self.up.is_whole {
            self.client.unread.advance(self.up.taken);
            self.up.taken = 0;
            self.up.is_whole = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_down(&mut self, cx: &mut Context<'_>) -> Polled<()> {
        let is_due = !self.down.out.is_empty() || self.down.direct > 0 || self.down.awaits_client;
        let written = self.down.poll_write(self.client, cx);
        self.down.awaits_client = written.is_pending();
        if is_due && written.is_ready() {
            self.down.at_ms = self.now_ms();
        }
        written.map_err(|_| Stop::ClientGone)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Polled<usize> {
        let unread = &mut self.down.unread;
        if unread.capacity() - unread.len() < self.down.read_bytes / 4 {
            unread.reserve(self.down.read_bytes);
        }
        let read = ready!(poll_read_buf(Pin::new(&mut *self.server), cx, unread));
        self.down.at_ms = self.now_ms();
        let unread = &self.down.unread;
        if unread.len() == unread.capacity() {
            self.down.read_bytes = READ_MORE_BYTES;
        }
        Poll::Ready(read.map_err(|error| {
            Stop::Upstream(Error::because(ErrorType::ReadError, "reading the answer", error))
        }))
    }

    /// Why to go on waiting no longer: the client has gone, or a time is over.
    fn poll_client_and_times(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if self.up.is_over && self.client.poll_gone(cx, self.up.taken).is_ready() {
            return Poll::Ready(Stop::ClientGone);
        }
        let (at_ms, late) = self.next_end();
        ready!(self.client.poll_until(at_ms, cx));
        Poll::Ready(Stop::Late(late))
    }

    /// When the first of all times is over that run now, and whose it is.
    fn next_end(&self) -> (u64, Late) {
        let (limits, up, down) = (&self.limits, &self.up, &self.down);
        let mut next = (limits.deadline_ms.unwrap_or(u64::MAX), Late::Exchange);
        let mut consider = |since_ms: u64, limit_ms: u64, late| {
            next = std::cmp::min_by_key(next, (since_ms.saturating_add(limit_ms), late), |(at_ms, _)| *at_ms);
        };
        let moved_ms = up.at_ms.max(down.at_ms);
        match (up.is_over, up.awaits_client) {
            (true, _) if down.awaits_client => {}
            (true, _) => consider(moved_ms, limits.read_ms, Late::Upstream),
            (false, true) => {
                consider(up.at_ms, limits.client_ms, Late::Client);
                // The upstream is not to be kept waiting for longer than it may keep others.
                consider(moved_ms, limits.read_ms, Late::Client);
            }
            (false, false) => consider(up.at_ms, limits.write_ms, Late::Upstream),
        }
        if let (true, None, Some(try_ms)) = (up.is_over, &down.framing, limits.try_ms) {
            consider(up.at_ms, try_ms, Late::Try);
        }
        next
    }

    fn now_ms(&self) -> u64 {
        self.client.exchange().now_ms()
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.unread));
    }
}

impl Down {
    /// Readies what has come of the content.
    fn frame(&mut self) -> Result<(), Stop> {
        let Some(framing) = &mut self.framing else { return Ok(()) };
        if self.direct > 0 || self.unread.is_empty() {
            return Ok(());
        }
        if self.is_chunked {
            let bad = || Error::explain(INVALID_CHUNK, "the answer's chunked body is malformed");
            let (taken, content) =
                chunk(framing, &self.unread, &mut self.out).ok_or_else(|| Stop::Upstream(bad()))?;
            self.content_bytes += content as u64;
            self.unread.advance(taken);
            return Ok(());
        }
        // Nothing but chunks can break a grammar.
        let taken = framing.take(&self.unread).unwrap_or(0);
        self.content_bytes += taken as u64;
        if taken <= SMALL_BYTES && !self.out.is_empty() {
            self.out.extend_from_slice(&self.unread[..taken]);
            self.unread.advance(taken);
        } else {
            self.direct = taken;
        }
        Ok(())
    }

    fn poll_write(&mut self, client: &mut ClientStream, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() {
            let sent = ready!(client.poll_write_through(cx, &self.out))?;
            self.out.advance(sent);
        }
        while self.direct > 0 {
            let sent = ready!(client.poll_write_through(cx, &self.unread[..self.direct]))?;
            self.unread.advance(sent);
            self.direct -= sent;
        }
        // Under TLS some of it may not be out yet, and nothing would send it before more comes.
        client.poll_flush_through(cx)
    }

    /// The upstream has closed: the end of a body that nothing else ends, and of no other.
    fn end(&mut self) -> Result<(), Stop> {
        if !matches!(self.framing, Some(Framing::Rest)) {
            let why = "closed before the end of its answer";
            return Err(Stop::Upstream(Error::explain(ErrorType::ConnectionClosed, why)));
        }
        self.framing = Some(Framing::Done);
        self.is_kept = false;
        self.out.extend_from_slice(LAST_CHUNK);
        Ok(())
    }
}
