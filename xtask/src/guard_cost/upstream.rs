//! An upstream that answers every request alike and keeps its connections.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use super::http::Connection;
use crate::exec::Result;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nhello there\n";

/// Starts one, which ends with this program.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("an upstream: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("an upstream: {error}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // A connection that breaks is Tidegate's to report; here it only ends.
                let Ok(mut connection) = Connection::of(stream) else { return };
                while matches!(connection.receive(), Ok(Some(_))) && connection.send(ANSWER).is_ok() {}
            });
        }
    });
    Ok(address)
}
