//! A new connection for each request.
//!
//! The request says that it is the last, so the proxy closes first, as a server does; the client waits for that
//! outside of what it measures. Whoever closes first keeps the connection's port for a minute: this way the
//! generator does not run out of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::{Load, Script, exchange};
use crate::wire::Reader;

/// Until the load is over.
pub(crate) async fn run(address: SocketAddr, script: Arc<Script>, load: Arc<Load>) -> Result<()> {
    let mut stream;
    while let Some(due) = load.pacer.turn().await {
        load.recorder.sent();
        stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let mut reader = Reader::new(4 * 1024);
        exchange(&mut stream, &mut reader, &script.requests[0], script.length).await?;
        load.recorder.answered(due);
        await_end(&mut stream).await;
    }
    Ok(())
}

/// Waits for the other side to close, but not for long: how it does that is not what is measured.
pub(super) async fn await_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    let ended = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
}
