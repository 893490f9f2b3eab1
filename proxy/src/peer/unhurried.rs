//! A stream whose answers are seen a moment late: not before whoever waits has looked around once.
//!
//! After a request for an upgrade pingora waits for two things at once, in any order: the answer, and its own
//! note that the request is complete. Whoever reads the 101 first ends the tunnel when the note comes
//! (cloudflare/pingora#946). Here the first look after a write finds nothing, so that the note, which has
//! been there from the beginning, is always first. (`websocket` in the end-to-end tests makes a thousand
//! handshakes.) Such a stream is never kept for another request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket, and whether something was written since it was last looked at.
#[derive(Debug)]
pub(super) struct Unhurried<S> {
    socket: S,
    has_written: bool,
}

impl<S> Unhurried<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, has_written: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unhurried<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unhurried<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> VirtualSocket for Unhurried<S> {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
