//! A real nginx with a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// A running nginx. Dropping it ends it.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Start with these directives inside its one `server`.
    pub(crate) async fn start(server: &str) -> Self {
        // nginx cannot tell which port 0 became: take one that was free a moment ago, and try again if it is gone.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            if let Some(nginx) = Self::start_on(address, server).await {
                return nginx;
            }
        }
        panic!("nginx does not start; `cargo xtask setup` installs it");
    }

    async fn start_on(address: SocketAddr, server: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let at = folder.path().display();
        let config = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
             server {{\n    listen {address};\n    root {at};\n{server}\n  }}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        fs::write(folder.path().join("page.txt"), "a page served by nginx\n".repeat(1000)).unwrap();
        let mut command = Command::new(program());
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        command.arg("-e").arg(folder.path().join("error.log"));
        let mut child = command.stdin(Stdio::null()).spawn().ok()?;
        for _ in 0..200 {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).await.is_ok() {
                return Some(Self { child, address, _folder: folder });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// End this process, and start another with other directives on its port.
    pub(crate) async fn replace(&mut self, server: &str) {
        self.end();
        // The port may be the kernel's for a moment yet.
        let end = Instant::now() + super::PATIENCE;
        *self = loop {
            if let Some(nginx) = Self::start_on(self.address, server).await {
                break nginx;
            }
            assert!(Instant::now() < end, "nginx is not back on its port");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.end();
    }
}

/// Debian keeps it where an ordinary user's PATH does not look.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if fs::exists(debian).unwrap_or(false) { debian } else { "nginx" }
}
