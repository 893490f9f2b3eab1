//! Many client connections that do nothing, or have done one request and wait for the next.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::{PATIENCE, Script, exchange};
use crate::wire::Reader;

/// Connections are made in groups of this size, below any proxy's queue of new ones.
const GROUP: usize = 100;

/// The connections, all of them open.
pub(crate) struct Crowd(Vec<TcpStream>);

impl Crowd {
    pub(crate) async fn connect(address: SocketAddr, size: usize) -> Result<Self> {
        let mut crowd = Vec::with_capacity(size);
        while crowd.len() < size {
            let group: Vec<_> = (crowd.len()..size.min(crowd.len() + GROUP))
                .map(|_| tokio::spawn(tokio::time::timeout(PATIENCE, TcpStream::connect(address))))
                .collect();
            for connecting in group {
                crowd.push(connecting.await?.context("connecting took too long")??);
            }
        }
        Ok(Self(crowd))
    }

    /// One request on each, one after another, so that none stands for many at once.
    pub(crate) async fn ask_each(&mut self, script: &Script) -> Result<()> {
        for stream in &mut self.0 {
            let mut reader = Reader::new(4 * 1024);
            let asked = exchange(stream, &mut reader, &script.requests[0], script.length);
            tokio::time::timeout(PATIENCE, asked).await.context("an answer took too long")??;
        }
        Ok(())
    }
}
