//! Where something is reached or listens: a TCP address, or a Unix socket by its file.
//!
//! One type for both ends, and one text for each address: what the file, the API, metrics and logs
//! say of an endpoint is what [`Display`](fmt::Display) writes here, and is read back by [`FromStr`].
//! A relative path stays relative, since it is the endpoint's name; whoever connects or listens asks
//! the control plane where the file is.
//!
//! Names of hosts are not addresses: resolving them needs a network, and a pool's `dns` does it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest path of a socket, in bytes: what the kernel takes, but for the zero at its end.
pub const MAX_PATH_BYTES: usize = 107;

/// Where something is reached or listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket, by the path of its file.
    Unix(Arc<Path>),
}

impl Address {
    /// Whether only this host can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether the system chooses the port, so that the same text may stand twice.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    /// The port; a socket's file has none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The Host of a request that says no other: a socket's file is none.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".into(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// `127.0.0.1:80`, `[::1]:80` or `unix:PATH`; an error is the end of a sentence about the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| "is not an IP address and a port".into());
        };
        if path.is_empty() {
            return Err("needs the path of the socket".into());
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(format!(
                "has a path of {} bytes; a socket's has {MAX_PATH_BYTES} at most",
                path.len()
            ));
        }
        if path.chars().any(char::is_control) {
            return Err("has a control character in its path".into());
        }
        // One text for one path: `unix:///run/x.sock` is how others write it.
        Ok(Self::Unix(Path::new(path).components().collect::<PathBuf>().into()))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| serde::de::Error::custom(format!("`{text}` {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_text() {
        let long = format!("unix:/{}", "x".repeat(MAX_PATH_BYTES - 1));
        for (written, shown, host) in [
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:80"),
            ("[0::0001]:0", "[::1]:0", "[::1]:0"),
            ("unix:/run/app.sock", "unix:/run/app.sock", "localhost"),
            ("unix:///run//./app.sock", "unix:/run/app.sock", "localhost"),
            ("unix:app.sock", "unix:app.sock", "localhost"),
            (&long, &long, "localhost"),
        ] {
            let address: Address = written.parse().expect(written);
            assert_eq!((address.to_string().as_str(), address.host().as_str()), (shown, host), "{written}");
            let json = serde_json::to_string(&address).expect("a string");
            assert_eq!(json, format!("\"{shown}\""));
            assert_eq!(serde_json::from_str::<Address>(&json).expect("and back"), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("unix:/{}", "x".repeat(MAX_PATH_BYTES));
        for text in
            ["", "80", ":80", "127.0.0.1", "127.0.0.1:99999", "::1:80", "app:80", "unix:", "unix:a\nb", &long]
        {
            assert!(text.parse::<Address>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn only_this_host_reaches_loopback_and_sockets() {
        for (text, local) in [
            ("127.0.0.1:8080", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/run/x.sock", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
        ] {
            assert_eq!(text.parse::<Address>().expect(text).is_local(), local, "{text}");
        }
    }
}
