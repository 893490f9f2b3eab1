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
use super::deadlines::{Alarm, Deadlines, Stall};
use super::exchange::Exchange;
use super::framing::Framing;
use super::transport::Transport;
use super::tunnel::{Next, Tunnel};
use crate::buffers;

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
    pub(crate) unread: BytesMut,
    /// What of `unread`, and of what is to come, belongs to the current request.
    pub(crate) framing: Framing,
    unsent: BytesMut,
    exchange: Arc<Exchange>,
    /// What the connection occupies, until the last of it is gone.
    held: Option<Held>,
    timers: Timers,
    /// There after an upgrade.
    tunnel: Option<Box<Tunnel>>,
    /// How long the client may take nothing of what it is sent.
    pub(super) write_timeout: Duration,
}

/// Times by which something must have happened; each is set when it is first needed.
#[derive(Debug, Default)]
struct Timers {
    deadlines: Deadlines,
    stall: Stall,
    gather: Option<Pin<Box<Sleep>>>,
    /// For the express lane.
    alarm: Alarm,
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
            tunnel: None,
            write_timeout: LAST_ANSWER,
        }
    }

    /// Takes it apart: what carries it, what was read and is not yet used, and what it occupies.
    pub(super) fn into_parts(mut self) -> Option<(Transport, BytesMut, Held)> {
        Some((self.transport.take()?, std::mem::take(&mut self.unread), self.held.take()?))
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
            buffers::give(std::mem::take(&mut self.unread));
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

    /// Reads more into `unread`; 0 = the client has closed its side.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.capacity() == 0 {
            self.unread = buffers::take();
        }
        if self.unread.capacity() - self.unread.len() < READ_SIZE / 4 {
            self.unread.reserve(READ_SIZE);
        }
        let transport = self.transport.as_mut().expect("the transport is taken only at the end");
        poll_read_buf(Pin::new(transport), cx, &mut self.unread)
    }

    /// Writes to the client; fails when it takes nothing for too long.
    pub(crate) fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.transport_mut()).poll_write(cx, bytes);
        self.unless_stalled(written, cx)
    }

    /// Sends what was written and may still be on its way to the socket, as under TLS.
    pub(crate) fn poll_flush_through(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(self.transport_mut()).poll_flush(cx);
        self.unless_stalled(flushed, cx)
    }

    /// Closes our side, in the order that the protocol wants.
    pub(crate) async fn close(&mut self) {
        // Whether it worked or not, the connection is over.
        let _ = tokio::time::timeout(LAST_ANSWER, self.transport_mut().shutdown()).await;
    }

    /// Leaves a last word, sent at the end as far as it can be at once.
    pub(crate) fn leave(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Ready once the client has gone, or has closed its side, which counts the same. What it sends meanwhile
    /// is kept, up to a bound behind the first `taken` bytes.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, taken: usize) -> Poll<()> {
        while self.unread.len() < taken + MAX_AHEAD {
            match ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Ready once it is this time on the monotonic clock.
    pub(crate) fn poll_until(&mut self, at_ms: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.timers.alarm.poll_until(at_ms, self.exchange.clock(), cx)
    }

    /// What came of a write, which may not be pending for too long.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.exchange.set_awaits_reader(written.is_pending());
        self.timers.stall.bound(written, self.write_timeout, cx)
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

    /// Whether this is a tunnel, from the moment that the gateway has opened one.
    fn is_tunnel(&mut self) -> bool {
        if self.framing.is_done()
            && let Some(opened) = self.exchange.take_tunnel()
        {
            self.tunnel = Some(Box::new(Tunnel::new(opened)));
            self.framing = Framing::Rest;
        }
        self.tunnel.is_some()
    }

    fn poll_read_tunnel(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(tunnel) = &mut self.tunnel else { return Poll::Ready(Ok(())) };
        let mut next = tunnel.poll(cx);
        if let Some(words) = tunnel.farewell() {
            self.unsent.extend_from_slice(words);
            next = tunnel.poll(cx);
        }
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        match next {
            Next::On => {}
            Next::Say(words) => {
                out.put_slice(words);
                return Poll::Ready(Ok(()));
            }
            Next::Over => return Poll::Ready(Ok(())),
        }
        if self.unread.is_empty() && ready!(self.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let taken = out.remaining().min(self.unread.len());
        let bytes = self.unread.split_to(taken);
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.received(&bytes);
        }
        out.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }

    fn poll_write_tunnel(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let allowed = self.tunnel.as_ref().map_or(0, |tunnel| tunnel.allowed(bytes));
        if allowed == 0 {
            // Behind the last word there is nothing.
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = ready!(self.poll_write_through(cx, &bytes[..allowed]))?;
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.sent(&bytes[..sent]);
        }
        Poll::Ready(Ok(sent))
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
        this.timers.deadlines.check_exchange(&this.exchange, cx)?;
        if this.is_tunnel() {
            return this.poll_read_tunnel(cx, out);
        }
        while this.framing.is_done() {
            this.timers.deadlines.check_try(&this.exchange, cx)?;
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
        this.timers.deadlines.check_exchange(&this.exchange, cx)?;
        if this.tunnel.is_some() {
            return this.poll_write_tunnel(cx, bytes);
        }
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
        let this = &mut *self;
        this.timers.deadlines.check_exchange(&this.exchange, cx)?;
        this.poll_send(cx)
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
