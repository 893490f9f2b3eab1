//! A Unix socket in front of an upstream: each connection to it is one to the upstream, which counts both.

use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

use super::Upstream;

/// A bound socket. Dropping it takes the file away; connections go on.
pub(crate) struct Socket {
    path: PathBuf,
    accepting: JoinHandle<()>,
}

impl Socket {
    pub(crate) fn bind(path: &Path, upstream: &Upstream) -> Self {
        let (listener, address) = (UnixListener::bind(path).unwrap(), upstream.address());
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Where the upstream is gone, so is the connection.
                    if let Ok(mut upstream) = TcpStream::connect(address).await {
                        let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                    }
                });
            }
        });
        Self { path: path.to_owned(), accepting }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}
