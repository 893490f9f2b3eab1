//! Listening sockets: TCP or Unix, bound anew or taken over from an earlier process, and closed so that
//! nobody who has begun to connect is turned away.
//!
//! Stage before: [`crate::serve`] binds; next: [`super`] accepts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::{SockFilter, SockRef};
use tidegate_core::address::Address;
use tidegate_core::config::Listener;
use tidegate_core::edge::ListenerCell;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::transport::Socket as ClientSocket;

const BACKLOG: i32 = 4096;

/// A client on a Unix socket counts as one on this machine.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A bound listener.
pub(crate) struct Bound {
    socket: Socket,
    /// The file of a Unix socket.
    path: Option<Arc<Path>>,
    /// Its counters.
    pub(crate) cell: Arc<ListenerCell>,
}

impl Bound {
    /// Another handle on the socket, to be given to a process that takes over.
    pub(crate) fn handle(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// As something that accepts. Needs a runtime.
    pub(super) fn listen(self) -> io::Result<(Listening, Arc<ListenerCell>)> {
        let listening = match self.path {
            None => Listening::Tcp(TcpListener::from_std(self.socket.into())?),
            Some(path) => Listening::Unix(UnixListener::from_std(OwnedFd::from(self.socket).into())?, path),
        };
        Ok((listening, self.cell))
    }
}

/// Binds a listener at the address that it is found at, or takes the socket on which an earlier process
/// listens.
pub(crate) fn bind(settings: &Listener, place: &Address, inherited: Option<OwnedFd>) -> io::Result<Bound> {
    let (socket, path) = match place {
        Address::Tcp(address) => (inherited.map_or_else(|| bind_tcp(*address), |fd| Ok(fd.into()))?, None),
        Address::Unix(path) => {
            (inherited.map_or_else(|| bind_unix(path), |fd| Ok(fd.into()))?, Some(Arc::clone(path)))
        }
    };
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?.as_socket().map_or_else(|| place.clone(), Address::Tcp);
    let cell = Arc::new(ListenerCell::new(settings.name.clone(), bound));
    Ok(Bound { socket, path, cell })
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// In place of a socket on which nobody listens any more. Who may connect is decided by the file's folder,
/// and by the process's umask.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    tidegate_admin::remove_stale_socket(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A socket that accepts.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<Path>),
}

impl Listening {
    pub(super) async fn accept(&self) -> io::Result<(ClientSocket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(socket, peer)| tcp(socket, peer)),
            Self::Unix(listener, _) => {
                listener.accept().await.map(|(socket, _)| (ClientSocket::Unix(socket), LOCAL))
            }
        }
    }

    /// From now on no connection begins, and those that have begun go on: without this, one that is made
    /// between the last look and the close would be reset.
    pub(super) fn refuse_new(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => refuse_handshakes(listener),
            Self::Unix(_, path) => std::fs::remove_file(path),
        }
    }

    /// What waits to be accepted. The kernel itself is asked: what tokio knows of may be older than the last
    /// of them.
    pub(super) fn into_waiting(self) -> Vec<(ClientSocket, SocketAddr)> {
        let mut waiting = Vec::new();
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return waiting };
                while let Ok((socket, peer)) = listener.accept() {
                    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                    waiting.extend(socket.map(|socket| tcp(socket, peer)));
                }
            }
            Self::Unix(listener, _) => {
                let Ok(listener) = listener.into_std() else { return waiting };
                while let Ok((socket, _)) = listener.accept() {
                    let socket = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
                    waiting.extend(socket.map(|socket| (ClientSocket::Unix(socket), LOCAL)));
                }
            }
        }
        waiting
    }
}

fn tcp(socket: TcpStream, peer: SocketAddr) -> (ClientSocket, SocketAddr) {
    // Without it small answers wait for the client's acknowledgement; a failure costs only speed.
    let _ = socket.set_nodelay(true);
    (ClientSocket::Tcp(socket), peer)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn refuse_handshakes(listener: &TcpListener) -> io::Result<()> {
    // A classic BPF program over the TCP header: SYN without ACK is dropped, all else passes.
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),       // load byte 13, the flags
        SockFilter::new(0x54, 0, 0, 0x12),     // keep SYN and ACK
        SockFilter::new(0x15, 0, 1, 0x02),     // only SYN? else skip one
        SockFilter::new(0x06, 0, 0, 0),        // drop
        SockFilter::new(0x06, 0, 0, u32::MAX), // pass
    ])
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn refuse_handshakes(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
