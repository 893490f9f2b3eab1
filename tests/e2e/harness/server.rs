//! An upstream that is a process, to be killed, stopped and started again as one.
//!
//! The process is a Tidegate before an [`Upstream`], which counts what it lets through.

use tempfile::TempDir;

use super::{Tidegate, Upstream, config};

/// A process that serves. Dropping it ends it at once.
pub(crate) struct Server {
    app: Upstream,
    process: Tidegate,
    address: std::net::SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Listening on a port of the system's choosing, which it keeps.
    pub(crate) async fn start(name: &str) -> Self {
        let (app, folder) = (Upstream::start(name).await, TempDir::new().unwrap());
        let config = config::one_pool(&[&app], "", "retry = { attempts = 0 }");
        let process = Tidegate::start_in(folder.path(), &config).await;
        let address = process.web();
        let fixed = config.replacen("127.0.0.1:0", &address.to_string(), 1);
        std::fs::write(folder.path().join("tidegate.toml"), fixed).unwrap();
        Self { app, process, address, folder }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Requests that came through it.
    pub(crate) fn requests(&self) -> usize {
        self.app.requests()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Another process on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.process = Tidegate::start_again(self.folder.path()).await;
    }

    /// It holds its connections and takes new ones, and does nothing.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }
}
