//! The PROXY protocol, versions 1 and 2: who the client is, as a proxy in front says.
//!
//! A listener that expects the header takes no connection without one: whoever could leave it out could
//! also forge it, so such a listener belongs behind a firewall. What follows the header is given back to
//! the transport. Next: [`super::greet`].

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use ppp::{PartialResult as _, v1, v2};
use tokio::io::AsyncReadExt as _;

use super::transport::Raw;

/// The signature of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A header of version 1 may have this many bytes.
const MAX_V1: usize = 107;
/// A header of version 2 may have this many bytes; its extensions are not looked at.
const MAX_V2: usize = 4 * 1024;

/// What can be said of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// More are needed.
    Incomplete,
    /// They are no header.
    Bad,
    /// A header of so many bytes, and the client that it names, if it names one.
    Header(usize, Option<SocketAddr>),
}

/// Reads the header; the client that it names, if it names one.
///
/// A connection of the proxy's own (a health check, `LOCAL` or `UNKNOWN`) names none.
pub(super) async fn read(raw: &mut Raw) -> io::Result<Option<SocketAddr>> {
    let mut bytes = BytesMut::with_capacity(256);
    loop {
        match parse(&bytes) {
            Parsed::Header(length, client) => {
                let rest = bytes.split_off(length);
                if !rest.is_empty() {
                    raw.unread(rest.freeze());
                }
                return Ok(client);
            }
            Parsed::Bad => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no PROXY protocol header"));
            }
            Parsed::Incomplete => {}
        }
        if raw.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    let seen = bytes.len().min(V2.len());
    if bytes.get(..seen) == V2.get(..seen) {
        return if seen < V2.len() { Parsed::Incomplete } else { parse_v2(bytes) };
    }
    parse_v1(bytes)
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let start = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        let seen = start.len().min(5);
        let may_be = start.len() < MAX_V1 && start[..seen] == b"PROXY"[..seen];
        return if may_be { Parsed::Incomplete } else { Parsed::Bad };
    };
    let length = end + 2;
    match v1::Header::try_from(&start[..length]) {
        Ok(header) => Parsed::Header(
            length,
            match header.addresses {
                v1::Addresses::Tcp4(four) => {
                    Some(SocketAddr::new(four.source_address.into(), four.source_port))
                }
                v1::Addresses::Tcp6(six) => Some(SocketAddr::new(six.source_address.into(), six.source_port)),
                v1::Addresses::Unknown => None,
            },
        ),
        Err(_) => Parsed::Bad,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let header = v2::Header::try_from(bytes);
    if header.is_incomplete() {
        return if bytes.len() < MAX_V2 { Parsed::Incomplete } else { Parsed::Bad };
    }
    let Ok(header) = header else { return Parsed::Bad };
    let client = match (header.command, &header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(four)) => {
            Some(SocketAddr::new(four.source_address.into(), four.source_port))
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(six)) => {
            Some(SocketAddr::new(six.source_address.into(), six.source_port))
        }
        _ => None,
    };
    Parsed::Header(header.len(), client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(addresses.len()).expect("short").to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn headers() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 80];
        let with_extensions = [&four[..], &[4, 0, 1, 0]].concat();
        for (bytes, length, named) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 12345 80\r\nGET /".to_vec(),
                41,
                Some(client("192.0.2.1:12345")),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n\x16\x03\x01\xff".to_vec(),
                32,
                Some(client("[2001:db8::1]:1")),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), 15, None),
            (v2(0x21, 0x11, &four), 28, Some(client("192.0.2.1:12345"))),
            (v2(0x21, 0x11, &with_extensions), 32, Some(client("192.0.2.1:12345"))),
            (v2(0x20, 0x11, &four), 28, None),
            (v2(0x20, 0x00, &[]), 16, None),
        ] {
            assert_eq!(parse(&bytes), Parsed::Header(length, named), "{bytes:?}");
            for end in 0..length {
                assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{end} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn no_headers() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXZ".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 123456 80\r\n".to_vec(),
            b"PROXY TCP4 fe80::1 192.0.2.2 1 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat(),
            b"\r\n\r\n\0\r\nQUIT\x0b".to_vec(),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 3]),
            b"\x16\x03\x01".to_vec(),
        ] {
            assert_eq!(parse(&bytes), Parsed::Bad, "{bytes:?}");
        }
    }
}
