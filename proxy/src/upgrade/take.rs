//! The new process's part: it waits for the old one, takes what it gives, and tells how that went.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tidegate_core::handover::Handover;
use tidegate_core::state::Entry;
use tokio::net::UnixListener;

use super::channel::{Channel, in_words};
use super::place::Waiting;
use super::{Estate, Farewell, Greeting, Hello, Inherited, Outcome, PATIENCE, PROTOCOL, Place};

/// So long a process waits for one that hands over.
const WAIT: Duration = Duration::from_mins(1);

/// The process that hands over, and the place where nobody else may wait meanwhile.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
    _waiting: Waiting,
}

impl Predecessor {
    /// Waits at this place for a process that hands over.
    pub(crate) async fn wait(place: &Place) -> anyhow::Result<Self> {
        let waiting = place.wait().map_err(|why| anyhow!("cannot wait for the running process: {why}"))?;
        tracing::info!(
            socket = %place.path().display(),
            "the configuration is good: send SIGQUIT to the running process, and this one takes over"
        );
        match tokio::time::timeout(WAIT, next(&waiting)).await {
            Ok(channel) => Ok(Self { channel: channel?, _waiting: waiting }),
            Err(_) => bail!(
                "no running process has handed over within {} s: send it SIGQUIT while this one waits; both \
                 must have been given the same --config, or the same --upgrade-socket",
                WAIT.as_secs()
            ),
        }
    }

    /// Takes everything.
    pub(crate) fn receive(&mut self) -> anyhow::Result<(Handover, Inherited)> {
        let Estate { sockets: names, handover } = self.hear("what is handed over")?;
        let sockets = self.channel.receive_sockets(names.len());
        let sockets = sockets.map_err(|error| anyhow!("the sockets: {}", in_words(&error)))?;
        Ok((handover, Inherited::of(names, sockets)))
    }

    /// Tells that this process serves; aborts to be made again, when the old one has let go.
    pub(crate) fn serving(&mut self, taken: Vec<usize>) -> anyhow::Result<Vec<Arc<Entry>>> {
        let told = self.channel.send(&Outcome::Serving { taken });
        told.map_err(|error| anyhow!("the running process goes on: {}", in_words(&error)))?;
        let farewell: Farewell = self.hear("the farewell")?;
        Ok(farewell.aborts)
    }

    /// Tells that this process does not serve.
    pub(crate) fn failed(&mut self, why: &anyhow::Error) {
        // If it is gone, it goes on anyway.
        let _ = self.channel.send(&Outcome::Failed { why: format!("{why:#}") });
    }

    fn hear<T: serde::de::DeserializeOwned>(&mut self, what: &'static str) -> anyhow::Result<T> {
        self.channel.receive().map_err(|error| {
            anyhow!("the running process goes on: {what} did not come: {}", in_words(&error))
        })
    }
}

/// The next process that says hello in our way.
async fn next(waiting: &Waiting) -> anyhow::Result<Channel> {
    let listener = waiting.listener.try_clone().and_then(|listener| {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    });
    let listener = listener.context("cannot wait for the running process")?;
    loop {
        let (stream, _) = listener.accept().await.context("cannot wait for the running process")?;
        let stream = stream.into_std().context("cannot talk to the running process")?;
        let greeted = tokio::task::spawn_blocking(move || greet(stream)).await?;
        match greeted {
            Ok(channel) => return Ok(channel),
            Err(error) => tracing::warn!("a process that wanted to hand over did not: {}", in_words(&error)),
        }
    }
}

fn greet(stream: UnixStream) -> io::Result<Channel> {
    let mut channel = Channel::new(stream, PATIENCE)?;
    let hello: Hello = channel.receive()?;
    if hello.protocol != PROTOCOL {
        let why = format!(
            "version {} speaks form {PROTOCOL} of the handover, version {} form {}: restart instead",
            env!("CARGO_PKG_VERSION"),
            hello.version,
            hello.protocol
        );
        channel.send(&Greeting::Refused { why: why.clone() })?;
        return Err(io::Error::other(why));
    }
    channel.send(&Greeting::Welcome(Hello::ours()))?;
    tracing::info!(pid = hello.pid, version = hello.version, "taking over");
    Ok(channel)
}
