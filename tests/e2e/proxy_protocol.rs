//! The PROXY protocol in front of plain text, TLS and HTTP/2.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::authority::{Authority, name};
use crate::harness::client::raw;
use crate::harness::{Tidegate, Upstream, config};

const PATIENCE: Duration = Duration::from_secs(10);
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 80\r\n";
const GET: &[u8] = b"GET /?do=echo HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";

fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 8, 192, 0, 2, 1, 0xc3, 0x50, 0, 80]);
    header
}

async fn start(keys: &str, folder: &TempDir) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let keys = format!("proxy_protocol = true\n{keys}");
    let text = config::with_listener(&keys, "", &rest);
    (upstream, Tidegate::start_in(folder.path(), &text).await)
}

#[tokio::test]
async fn the_client_is_who_the_header_says() {
    let folder = TempDir::new().unwrap();
    let (_upstream, tidegate) = start("", &folder).await;
    for (header, client) in [
        (V1.to_vec(), "192.0.2.7"),
        (v2(), "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "2001:db8::7"),
    ] {
        let got = raw(tidegate.web(), &[&header, GET].concat(), PATIENCE).await;
        let text = String::from_utf8_lossy(&got.bytes).into_owned();
        assert!(text.contains(&format!("[\"x-forwarded-for\",\"{client}\"]")), "{text}");
    }
}

#[tokio::test]
async fn without_the_header_nobody_is_served() {
    let folder = TempDir::new().unwrap();
    let (upstream, tidegate) = start("header_timeout = \"500ms\"", &folder).await;
    for bytes in [GET, b"PROXY TCP4 192.0.2.7", b"", b"PROXY TCP4 nonsense\r\nGET / HTTP/1.1\r\n\r\n"] {
        let got = raw(tidegate.web(), bytes, PATIENCE).await;
        assert!(got.closed && got.bytes.is_empty(), "{:?}", String::from_utf8_lossy(&got.bytes));
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn before_a_tls_handshake() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    let tls = "tls = { certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }] }";
    let (_upstream, tidegate) = start(tls, &folder).await;
    for (header, client) in [(V1.to_vec(), "192.0.2.7"), (v2(), "192.0.2.8")] {
        let mut stream = TcpStream::connect(tidegate.web()).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let mut tls = authority.client(&[], None).connect(name("shop.test"), stream).await.unwrap();
        tls.write_all(GET).await.unwrap();
        let mut text = String::new();
        tls.read_to_string(&mut text).await.unwrap();
        assert!(text.contains(&format!("[\"x-forwarded-for\",\"{client}\"]")), "{text}");
    }
}
