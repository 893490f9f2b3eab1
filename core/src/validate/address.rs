//! Addresses as written: where to listen, and where an endpoint is.
//!
//! Names are not resolved here: that needs a network, and a pool's `dns` does it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Where a listener or the admin API accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket, by its file.
    Unix(String),
}

impl ListenAddress {
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
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("unix:") {
            return match file {
                "" => Err("`unix:` needs the path of the socket".into()),
                _ => Ok(Self::Unix(file.to_owned())),
            };
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is not an address such as \"127.0.0.1:8080\", \"[::]:8080\" or \"unix:PATH\"")
        })
    }
}

/// The address of an endpoint: an IP address and a port from 1.
pub fn endpoint(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(format!("`{text}` has port 0")),
        Ok(address) => Ok(address),
        Err(_) => Err(format!("`{text}` is not an address such as \"127.0.0.1:9001\" or \"[::1]:9001\"")),
    }
}

/// Whether `text` looks like `name:port`, which endpoints cannot be but `dns` can.
pub(super) fn is_name_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(name, port)| {
        port.parse::<u16>().is_ok_and(|port| port > 0)
            && super::text::is_host(name)
            && name.parse::<IpAddr>().is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses() {
        for (text, local) in [
            ("127.0.0.1:8080", true),
            ("0.0.0.0:80", false),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("[::]:80", false),
            ("localhost:80", true),
            ("unix:/run/x.sock", true),
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.is_local(), local, "{text}");
        }
        for text in ["", ":80", "80", "127.0.0.1", "127.0.0.1:99999", "::1:80", "example.com:80", "unix:"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn names_are_told_from_addresses() {
        for (text, name) in [
            ("app:80", true),
            ("app.internal:8080", true),
            ("app", false),
            ("1.2.3.4:0", false),
            ("a b:1", false),
        ] {
            assert!(endpoint(text).is_err(), "{text}");
            assert_eq!(is_name_and_port(text), name, "{text}");
        }
        assert!(endpoint("127.0.0.1:9001").is_ok() && endpoint("[::1]:9001").is_ok());
    }
}
