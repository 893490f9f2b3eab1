//! As [`keepalive`], but what fails is counted and does not end the load.
//!
//! For loads during changes and reloads, where how many failed is the question. A connection on which a request
//! failed is made anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Load, Script, keepalive};

/// With more failures than these nothing works, and what is measured means nothing.
const MOST: u64 = 1_000;

/// A proxy that refuses connections is not asked in circles.
const PAUSE: Duration = Duration::from_millis(10);

/// Until the load is over. `offset` spreads connections over the script's requests.
pub(crate) async fn run(
    address: SocketAddr,
    script: Arc<Script>,
    load: Arc<Load>,
    offset: usize,
) -> Result<()> {
    loop {
        let Err(why) = keepalive::run(address, Arc::clone(&script), Arc::clone(&load), offset).await else {
            return Ok(());
        };
        if load.recorder.failed(&why) > MOST {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
}
