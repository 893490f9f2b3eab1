//! Where an admin API is: `http://host:port`, or a Unix socket.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host and port, as in a URL: `127.0.0.1:9900`, `[::1]:9900`.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///run/x.sock` is how others write it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err("`unix:` needs a path, as in unix:/run/tidegate/admin.sock".into())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if text.starts_with("https:") {
            return Err("the admin API speaks plain HTTP; write http://HOST:PORT or unix:PATH".into());
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let bad = || format!("`{text}` is not http://HOST:PORT or unix:PATH");
        let parsed: http::uri::Authority = authority.parse().map_err(|_| bad())?;
        if parsed.as_str().contains('@') || parsed.host().is_empty() {
            return Err(bad());
        }
        match &authority[parsed.host().len()..] {
            "" => Ok(Self::Tcp(format!("{authority}:80"))),
            // `port_u16` is `None` for a port above 65535, too.
            _ => parsed.port_u16().map(|_| Self::Tcp(authority.to_owned())).ok_or_else(bad),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// What the `Host` header says; a socket is local.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    }
}

/// The system's message without its number, which helps nobody.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::NotFound => "no such socket".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// A connection of either kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_and_write() {
        for (text, shown) in [
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://127.0.0.1:9900/", "http://127.0.0.1:9900"),
            ("127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://[::1]:9900", "http://[::1]:9900"),
            ("http://tidegate.internal", "http://tidegate.internal:80"),
            ("unix:/run/tidegate/admin.sock", "unix:/run/tidegate/admin.sock"),
            ("unix:///run/tidegate/admin.sock", "unix:/run/tidegate/admin.sock"),
            ("unix:admin.sock", "unix:admin.sock"),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), shown);
        }
        for text in [
            "",
            "http://",
            "unix:",
            "https://127.0.0.1:9900",
            "http://127.0.0.1:9900/v1",
            "http://a b:1",
            "http://h:99999",
            "http://user@host:1",
            "http://host:",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text} must be refused");
        }
    }
}
