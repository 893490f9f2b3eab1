//! The byte stream that the gateway sees of a client's connection.
//!
//! It gives the gateway one request at a time (see [`super::framing`]), gathers small writes into
//! one, and ends the exchange at its deadline: when that passes, a read or write fails, and the
//! gateway answers 504 or breaks the stream off. Reading goes on while an answer is awaited, only
//! to notice that the client has gone; what it sends ahead is kept up to a bound.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::Held;
use super::exchange::Exchange;
use super::framing::Framing;
use super::transport::Transport;

/// Bytes read from the socket at once.
const READ_SIZE: usize = 16 * 1024;
/// Bytes of further requests that are kept while one is answered.
const MAX_AHEAD: usize = 64 * 1024;
/// Writes are gathered up to this many bytes.
const WRITE_SIZE: usize = 8 * 1024;

/// Small writes of an answer are gathered for at most this long.
const GATHER: Duration = Duration::from_millis(5);
/// A last answer must be taken within this.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// A client's connection.
#[derive(Debug)]
pub(crate) struct ClientStream {
    /// There until the stream is dropped.
    transport: Option<Transport>,
    /// Read from the client, not yet by the gateway.
    pub(super) unread: BytesMut,
    /// What of `unread`, and of what is to come, belongs to the current request.
    pub(super) framing: Framing,
    unsent: BytesMut,
    exchange: Arc<Exchange>,
    /// What the connection occupies, until the last of it is gone.
    held: Option<Held>,
    timers: Timers,
    /// How long the client may take nothing of what it is sent.
    pub(super) write_timeout: Duration,
}

/// Times by which something must have happened; each is set when it is first needed.
#[derive(Debug, Default)]
struct Timers {
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
    try_limit: Option<(u64, Pin<Box<Sleep>>)>,
    stall: Option<Pin<Box<Sleep>>>,
    gather: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, exchange: Arc<Exchange>, held: Held) -> Self {
        Self {
            transport: Some(transport),
            unread: BytesMut::new(),
            framing: Framing::Done,
            unsent: BytesMut::new(),
            exchange,
            held: Some(held),
            timers: Timers::default(),
            write_timeout: LAST_ANSWER,
        }
    }

    /// What the gateway and the connection tell each other.
    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Reads more into `unread`; 0 = the client has closed its side.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Waits for the client to send something, or to close, holding no buffer meanwhile.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        self.transport_mut().readable().await
    }

    /// Resolves when the client has gone, or has closed its side, which counts the same; reads nothing.
    pub(crate) async fn closed(&self) {
        self.transport().closed().await;
    }

    /// Sends a last answer and closes, so that the client can still read it.
    pub(super) async fn send_last(mut self, answer: &[u8]) {
        let sent = tokio::time::timeout(LAST_ANSWER, async {
            self.transport_mut().write_all(answer).await?;
            self.transport_mut().flush().await
        });
        if let (Ok(Ok(())), Some(transport), Some(held)) =
            (sent.await, self.transport.take(), self.held.take())
        {
            linger(transport, held).await;
        }
    }

    fn transport(&self) -> &Transport {
        self.transport.as_ref().expect("the transport is taken only at the end")
    }

    fn transport_mut(&mut self) -> &mut Transport {
        self.transport.as_mut().expect("the transport is taken only at the end")
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.capacity() - self.unread.len() < READ_SIZE / 4 {
            self.unread.reserve(READ_SIZE);
        }
        let transport = self.transport.as_mut().expect("the transport is taken only at the end");
        poll_read_buf(Pin::new(transport), cx, &mut self.unread)
    }

    /// Fails once the exchange's deadline has passed.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let at_ms = self.exchange.deadline_ms();
        let left = || Duration::from_millis(at_ms.saturating_sub(self.exchange.now_ms()));
        if has_passed(&mut self.timers.deadline, at_ms, left, cx) {
            self.exchange.set_timed_out();
            return Err(timed_out("the exchange took longer than the route allows"));
        }
        Ok(())
    }

    /// Fails once the upstream has had the whole request for as long as a try may take.
    fn check_try(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let limit_ms = self.exchange.try_timeout_ms();
        if has_passed(&mut self.timers.try_limit, limit_ms, || Duration::from_millis(limit_ms), cx) {
            self.timers.try_limit = None;
            self.exchange.set_try_timed_out();
            return Err(timed_out("the try took longer than the route allows"));
        }
        Ok(())
    }

    /// Writes to the client; fails when it takes nothing for too long.
    fn poll_write_through(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.transport_mut()).poll_write(cx, bytes);
        self.unless_stalled(written, cx)
    }

    /// What came of a write, which may not be pending for too long.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.exchange.set_awaits_reader(written.is_pending());
        if written.is_ready() {
            self.timers.stall = None;
            return written;
        }
        let limit = self.write_timeout;
        let stall = self.timers.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client takes nothing of what it is sent")))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let mut unsent = std::mem::take(&mut self.unsent);
            let sent = self.poll_write_through(cx, &unsent);
            if let Poll::Ready(Ok(sent)) = sent {
                unsent.advance(sent);
            }
            self.unsent = unsent;
            if ready!(sent)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        if self.unsent.capacity() > 0 {
            self.unsent = BytesMut::new();
        }
        self.timers.gather = None;
        // Under TLS what was written may still be on its way to the socket.
        let flushed = Pin::new(self.transport_mut()).poll_flush(cx);
        self.unless_stalled(flushed, cx)
    }

    /// Sends what has been gathered for long enough. Called while more of an answer is awaited.
    fn send_gathered(&mut self, cx: &mut Context<'_>) {
        if self.unsent.is_empty() {
            return;
        }
        let gather = self.timers.gather.get_or_insert_with(|| Box::pin(tokio::time::sleep(GATHER)));
        if gather.as_mut().poll(cx).is_ready() {
            // A failure is met again by the next write.
            let _ = self.poll_send(cx);
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Whether a timer has run out, which is set anew whenever its `key` is another; 0 = no timer.
fn has_passed(
    timer: &mut Option<(u64, Pin<Box<Sleep>>)>,
    key: u64,
    left: impl FnOnce() -> Duration,
    cx: &mut Context<'_>,
) -> bool {
    if key == 0 {
        *timer = None;
        return false;
    }
    if timer.as_ref().is_none_or(|(set, _)| *set != key) {
        *timer = Some((key, Box::pin(tokio::time::sleep(left()))));
    }
    timer.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
}

impl Drop for ClientStream {
    /// What was gathered is sent, and where the request is still being sent, the client gets to read
    /// an answer that ended it.
    fn drop(&mut self) {
        let (Some(mut transport), Some(held)) = (self.transport.take(), self.held.take()) else { return };
        if !self.unsent.is_empty() {
            // One attempt, never a wait: this is the end of an answer that broke off.
            transport.write_now(&self.unsent);
        }
        let is_unfinished = !self.framing.is_done() || !self.unread.is_empty();
        if is_unfinished && tokio::runtime::Handle::try_current().is_ok() {
            let drain = held.drain();
            drain.spawn(linger(transport, held));
        }
    }
}

/// Closes our side, and discards for a moment what the client goes on sending: closing over unread
/// bytes would reset the connection, and with it an answer that is under way.
async fn linger(mut transport: Transport, held: Held) {
    const MOMENT: Duration = Duration::from_secs(2);
    const MAX_DISCARDED: usize = 8 << 20;
    let farewell = async {
        transport.shutdown().await?;
        let mut discarded = 0;
        let mut bytes = BytesMut::with_capacity(READ_SIZE);
        while discarded < MAX_DISCARDED {
            bytes.clear();
            match transport.read_buf(&mut bytes).await? {
                0 => break,
                read => discarded += read,
            }
        }
        Ok::<_, io::Error>(())
    };
    // Whether it worked or not, the connection is over.
    let _ = tokio::time::timeout(MOMENT, farewell).await;
    drop(held);
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_deadline(cx)?;
        while this.framing.is_done() {
            this.check_try(cx)?;
            this.send_gathered(cx);
            if this.unread.len() >= MAX_AHEAD {
                return Poll::Pending;
            }
            if ready!(this.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if this.unread.is_empty() {
            let filled = this.poll_fill(cx);
            this.exchange.set_awaits_request(filled.is_pending());
            if ready!(filled)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let room = out.remaining().min(this.unread.len());
        let Ok(taken) = this.framing.take(&this.unread[..room]) else {
            this.exchange.set_bad_body();
            let what = "the request's chunked body is malformed";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        };
        out.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check_deadline(cx)?;
        if this.unsent.len() + bytes.len() > WRITE_SIZE {
            ready!(this.poll_send(cx))?;
            if bytes.len() >= WRITE_SIZE {
                return this.poll_write_through(cx, bytes);
            }
        }
        this.unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(self.transport_mut()).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        // The client may be gone already; then there is nothing left to end.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.transport().as_raw_fd()
    }
}

impl Ssl for ClientStream {}

#[async_trait]
impl Peek for ClientStream {}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
