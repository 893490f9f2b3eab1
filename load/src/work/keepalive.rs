//! Requests one after another over a connection that is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::{Load, Script, exchange};
use crate::wire::Reader;

/// Until the load is over. `offset` spreads connections over the script's requests.
pub(crate) async fn run(
    address: SocketAddr,
    script: Arc<Script>,
    load: Arc<Load>,
    offset: usize,
) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(64 * 1024);
    let mut requests = script.requests.iter().cycle().skip(offset % script.requests.len());
    while let Some(due) = load.pacer.turn().await {
        let Some(request) = requests.next() else { break };
        load.recorder.sent();
        exchange(&mut stream, &mut reader, request, script.length).await?;
        load.recorder.answered(due);
    }
    Ok(())
}
