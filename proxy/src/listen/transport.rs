//! What carries a client's bytes: a TCP connection or a Unix socket, in plain or under TLS.
//!
//! Everything above reads and writes a [`Transport`] and does not ask which it is. Bytes that were read
//! before it was known whose they are (the preface of HTTP/2, what follows a PROXY header) are given
//! back by being read again first.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How often a socket is looked at that has bytes to read and is not to be read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Writes what can be written at once, for an end at which nobody waits.
    pub(super) fn write_now(&self, bytes: &[u8]) {
        // Whether it worked or not, the connection is over.
        let _ = match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        };
    }

    async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
        match self {
            Self::Tcp(socket) => socket.ready(interest).await,
            Self::Unix(socket) => socket.ready(interest).await,
        }
    }

    /// How many bytes wait to be read, looked at without reading them: 0 = the client has closed.
    async fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        loop {
            self.ready(Interest::READABLE).await?;
            let peeked = match self {
                Self::Tcp(socket) => {
                    socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte))
                }
                Self::Unix(socket) => {
                    socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte))
                }
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return peeked,
            }
        }
    }

    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

/// A socket, and what was read of it too early.
#[derive(Debug)]
pub(super) struct Raw {
    socket: Socket,
    early: Bytes,
}

impl Raw {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, early: Bytes::new() }
    }

    /// Gives bytes back, to be read again before all others.
    pub(super) fn unread(&mut self, early: Bytes) {
        debug_assert!(self.early.is_empty(), "what was given back must be read before more is");
        self.early = early;
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Raw),
    Tls(Box<TlsStream<Raw>>),
}

impl Transport {
    fn raw(&self) -> &Raw {
        match self {
            Self::Plain(raw) => raw,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.raw().socket.as_raw_fd()
    }

    /// Waits until there may be something to read, holding no buffer meanwhile.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            // Decrypted already: the socket would not wake anyone for it.
            let state = tls.get_mut().1.process_new_packets();
            if state.map_or(true, |state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed()) {
                return Ok(());
            }
        }
        let raw = self.raw();
        if !raw.early.is_empty() {
            return Ok(());
        }
        raw.socket.ready(Interest::READABLE).await.map(drop)
    }

    /// Resolves when the client has gone, or has closed its side, which counts the same; reads nothing.
    pub(super) async fn closed(&self) {
        let socket = &self.raw().socket;
        while let Ok(1..) = socket.peek().await {
            // Bytes wait to be read, so the socket would not wake anyone for a close behind them.
            match socket.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK_EVERY).await,
                _ => return,
            }
        }
    }

    /// Writes what can be written at once, for an end at which nobody waits.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        let mut nobody = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *self).poll_write(&mut nobody, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            // Whether it worked or not, the connection is over.
            let _ = Pin::new(self).poll_flush(&mut nobody);
        }
    }
}

/// Delegates to what is inside.
macro_rules! inside {
    ($this:expr, $inner:ident => $what:expr, $($kind:path),+) => {
        match $this {
            $($kind($inner) => $what,)+
        }
    };
}

impl AsyncRead for Raw {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let taken = self.early.len().min(out.remaining());
            out.put_slice(&self.early[..taken]);
            self.early.advance(taken);
            return Poll::Ready(Ok(()));
        }
        inside!(&mut self.socket, socket => Pin::new(socket).poll_read(cx, out), Socket::Tcp, Socket::Unix)
    }
}

impl AsyncWrite for Raw {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(&mut self.socket, socket => Pin::new(socket).poll_write(cx, bytes), Socket::Tcp, Socket::Unix)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(&mut self.socket, socket => Pin::new(socket).poll_flush(cx), Socket::Tcp, Socket::Unix)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(&mut self.socket, socket => Pin::new(socket).poll_shutdown(cx), Socket::Tcp, Socket::Unix)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), inner => Pin::new(inner).poll_read(cx, out), Self::Plain, Self::Tls)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self.get_mut(), inner => Pin::new(inner).poll_write(cx, bytes), Self::Plain, Self::Tls)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), inner => Pin::new(inner).poll_flush(cx), Self::Plain, Self::Tls)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(cx), Self::Plain, Self::Tls)
    }
}
