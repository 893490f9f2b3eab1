//! The admin API's listener: accept, speak HTTP/1.1, hand over to the router.
//!
//! Whoever connects can waste only their own time: heads have a deadline, bodies too (see
//! [`crate::body`]), and connections a cap, so that slow clients neither fill memory nor keep others
//! out for long. Runs on a runtime of its own; the data plane does not share it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, SockAddr, Socket, Type};
use tidegate_core::address::Address;
use tidegate_core::validate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::router::{App, router};

/// A call's head must be there within this.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A longer head is refused.
const MOST_HEAD_BYTES: usize = 64 * 1_024;
/// Connections served at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 1_000;
/// Calls under way when the process stops may take this long.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// A call that was accepted just before another process answers is sent within this.
const JUST_ACCEPTED: Duration = Duration::from_millis(500);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Where the admin API listens.
#[derive(Debug)]
pub enum Bound {
    /// On a TCP address.
    Tcp(std::net::TcpListener),
    /// On a Unix socket, with its file.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Bound {
    /// Another handle on the socket, to be given to a process that takes over.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => Ok(listener.try_clone()?.into()),
            Self::Unix(listener, _) => Ok(listener.try_clone()?.into()),
        }
    }
}

/// Binds the address that the file names, or takes the socket on which an earlier process listens.
/// Needs no runtime.
pub fn bind(control: &Control, inherited: Option<OwnedFd>) -> io::Result<Bound> {
    let written = control.live().view().config.admin.address.clone();
    let address = validate::address::listen(&written)
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let bound = match (control.locate(&address), inherited) {
        (Address::Tcp(_), Some(socket)) => Bound::Tcp(socket.into()),
        (Address::Tcp(address), None) => Bound::Tcp(std::net::TcpListener::bind(address)?),
        (Address::Unix(path), Some(socket)) => Bound::Unix(socket.into(), path.to_path_buf()),
        (Address::Unix(path), None) => bind_unix(&path)?,
    };
    let address = match &bound {
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            listener.local_addr()?.to_string()
        }
        Bound::Unix(listener, path) => {
            listener.set_nonblocking(true)?;
            format!("unix:{}", path.display())
        }
    };
    tracing::info!(address, "the admin API listens");
    control.process().set_admin_address(address);
    Ok(bound)
}

/// Binds a socket that only its owner may use, in place of one that nobody listens on any more.
fn bind_unix(path: &Path) -> io::Result<Bound> {
    remove_stale_socket(path)?;
    Ok(Bound::Unix(private_socket(path)?, path.to_owned()))
}

/// Removes the file of a socket on which nobody listens any more; an error when somebody does.
pub fn remove_stale_socket(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        return Ok(());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
    }
    std::fs::remove_file(path)
}

/// Listens on a socket that only its owner may use; nothing may be at its path.
pub fn private_socket(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode that the socket has when it is bound, so there is no instant in which
    // others may connect.
    let file = std::fs::File::from(OwnedFd::from(socket));
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// Serves the admin API until `stop`, then gives calls under way a moment.
pub async fn serve(control: Arc<Control>, listener: Bound, stop: impl Future<Output = ()>) {
    let stopping = CancellationToken::new();
    let is_socket = matches!(listener, Bound::Unix(..));
    let server = Server {
        router: router(App::new(Arc::clone(&control), is_socket, stopping.clone())),
        connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        open: GracefulShutdown::new(),
    };
    let ended = tokio::select! {
        () = stop => Ok(()),
        ended = server.accept(&listener) => ended,
    };
    if let Err(error) = ended {
        tracing::error!(%error, "the admin API cannot listen");
    }
    let is_handed_over = control.process().is_admin_handed_over();
    if let Bound::Unix(_, path) = &listener
        && !is_handed_over
    {
        let _ = std::fs::remove_file(path);
    }
    drop(listener);
    tracing::info!("the admin API accepts no more calls");
    if is_handed_over {
        tokio::time::sleep(JUST_ACCEPTED).await;
    }
    stopping.cancel();
    let _ = tokio::time::timeout(LAST_CALLS, server.open.shutdown()).await;
}

struct Server {
    router: Router,
    connections: Arc<Semaphore>,
    open: GracefulShutdown,
}

impl Server {
    /// Accepts connections for ever; an error only if the listener cannot be used at all.
    async fn accept(&self, listener: &Bound) -> io::Result<()> {
        match listener {
            Bound::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
                loop {
                    let permit = self.permit().await;
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            // Only a delay is lost when it fails.
                            let _ = stream.set_nodelay(true);
                            self.spawn(stream, permit);
                        }
                        Err(error) => pause(&error).await,
                    }
                }
            }
            Bound::Unix(listener, _) => {
                let listener = tokio::net::UnixListener::from_std(listener.try_clone()?)?;
                loop {
                    let permit = self.permit().await;
                    match listener.accept().await {
                        Ok((stream, _)) => self.spawn(stream, permit),
                        Err(error) => pause(&error).await,
                    }
                }
            }
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // `None` only if the semaphore were closed, which nobody does.
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    fn spawn<S>(&self, stream: S, permit: Option<OwnedSemaphorePermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection broke");
            }
            drop(permit);
        });
    }
}

/// When the process is out of file descriptors, trying again at once would only burn a core.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "an admin connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
