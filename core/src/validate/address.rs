//! Addresses as written: where to listen, and where an endpoint is.
//!
//! What an address is, is [`Address`]'s to say; here is what each place takes of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::address::Address;

/// Where a listener or the admin API accepts connections; port 0 lets the system choose.
pub fn listen(text: &str) -> Result<Address, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).into());
    }
    parse(text, "\"127.0.0.1:8080\", \"[::]:8080\" or \"unix:PATH\"")
}

/// The address of an endpoint: an IP address and a port from 1, or a Unix socket.
pub fn endpoint(text: &str) -> Result<Address, String> {
    match parse(text, "\"127.0.0.1:9001\", \"[::1]:9001\" or \"unix:PATH\"")? {
        address if address.is_ephemeral() => Err(format!("`{text}` has port 0")),
        address => Ok(address),
    }
}

fn parse(text: &str, such_as: &str) -> Result<Address, String> {
    text.parse().map_err(|why| {
        if text.starts_with("unix:") {
            format!("`{text}` {why}")
        } else {
            format!("`{text}` is not an address such as {such_as}")
        }
    })
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
        for (text, shown) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::]:0", "[::]:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(listen(text).expect(text).to_string(), shown);
        }
        for text in ["", ":80", "80", "127.0.0.1", "::1:80", "example.com:80", "unix:"] {
            assert!(listen(text).is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn names_are_told_from_addresses() {
        for (text, name) in [
            ("app:80", true),
            ("app.internal:8080", true),
            ("localhost:80", true),
            ("app", false),
            ("1.2.3.4:0", false),
            ("a b:1", false),
            ("unix:", false),
        ] {
            assert!(endpoint(text).is_err(), "{text}");
            assert_eq!(is_name_and_port(text), name, "{text}");
        }
        for text in ["127.0.0.1:9001", "[::1]:9001", "unix:/run/app.sock", "unix:app.sock"] {
            assert!(endpoint(text).is_ok(), "{text}");
        }
    }
}
