//! The bytes of an HTTP/2 connection, with an eye on them.
//!
//! What the client sends is looked at before the protocol sees it; once it has used its allowance up,
//! nothing more is read, so that the last frame that is written can be GOAWAY. A client that takes nothing
//! of what it is sent ends the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::scan::{Scan, Watch, Way};
use crate::listen::deadlines::Stall;
use crate::listen::transport::Transport;

/// A transport, and who looks at it.
pub(super) struct Io {
    transport: Transport,
    /// Read before it was known that this is HTTP/2.
    early: BytesMut,
    watch: Arc<Watch>,
    read: Scan,
    written: Scan,
    /// How long the client may take nothing.
    patience: Duration,
    stall: Stall,
}

impl Io {
    pub(super) fn new(transport: Transport, early: BytesMut, watch: Arc<Watch>, patience: Duration) -> Self {
        let (read, written) = (Scan::new(Way::In, PREFACE.len()), Scan::new(Way::Out, 0));
        Self { transport, early, watch, read, written, patience, stall: Stall::default() }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.is_tripped() {
            return Poll::Pending;
        }
        let before = out.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.transport).poll_read(cx, out))?;
        } else {
            let taken = this.early.len().min(out.remaining());
            out.put_slice(&this.early[..taken]);
            this.early.advance(taken);
        }
        if this.read.look(&out.filled()[before..], &this.watch) {
            return Poll::Ready(Ok(()));
        }
        out.set_filled(before);
        // Who serves the connection has been woken, and ends it.
        Poll::Pending
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
        let count = ready!(this.stall.bound(written, this.patience, cx))?;
        this.written.look(&bytes[..count], &this.watch);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        this.stall.bound(flushed, this.patience, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closed = Pin::new(&mut this.transport).poll_shutdown(cx);
        this.stall.bound(closed, this.patience, cx)
    }
}
