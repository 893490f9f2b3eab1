//! Clients that stay: calls of gRPC that stream, and WebSockets.
//!
//! Both may be told to go, the one by GOAWAY, the other by a Close frame, and then come again. An end of which
//! nobody was told is a failure, and so is a message that does not come.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tonic::Status;

use super::clients::is_untouched;
use super::echo::{Socket, connect};
use super::grpc::{Caller, ask};
use super::load::Tally;
use super::{PATIENCE, within};

/// Messages of one call, ten milliseconds apart.
const MESSAGES: i32 = 20;
/// Between two messages on a WebSocket.
const PAUSE: Duration = Duration::from_millis(20);

/// One call after the other on a channel, which is made again when it has been told to go away.
pub(super) async fn calls(
    stop: watch::Receiver<bool>,
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
) -> Tally {
    let mut tally = Tally::default();
    while !*stop.borrow() {
        let caller = Caller::connect(address).await;
        tally.connects += 1;
        while !*stop.borrow() {
            match within(PATIENCE, "a call ends", call(&caller)).await {
                Ok(MESSAGES) => {
                    *tally.answers.entry("shop".to_owned()).or_default() += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(count) => tally.failures.push(format!("a call with {count} messages of {MESSAGES}")),
                Err(status) if was_untouched(&status) => break,
                Err(status) => {
                    tally.failures.push(format!("{status:?}"));
                    break;
                }
            }
        }
    }
    tally
}

async fn call(caller: &Caller) -> Result<i32, Status> {
    let mut answers = caller.many(ask("many", MESSAGES)).await?;
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Whether the server never looked at the call, as it or the client's own library said.
fn was_untouched(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        let by_server = error.downcast_ref::<h2::Error>().is_some_and(is_untouched);
        if by_server || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Messages on a WebSocket, each of which must come back; a new one after a goodbye.
pub(super) async fn sockets(
    stop: watch::Receiver<bool>,
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
) -> Tally {
    let mut tally = Tally::default();
    while !*stop.borrow() {
        tally.connects += 1;
        let socket = match connect(address).await {
            Ok(socket) => socket,
            Err(error) => {
                tally.failures.push(format!("no WebSocket: {error}"));
                continue;
            }
        };
        if let Err(why) = talk(socket, &stop, &mut tally, &answered).await {
            tally.failures.push(why);
        }
    }
    tally
}

/// Until the server says goodbye, or the test is over.
async fn talk(
    mut socket: Socket,
    stop: &watch::Receiver<bool>,
    tally: &mut Tally,
    answered: &AtomicUsize,
) -> Result<(), String> {
    while !*stop.borrow() {
        tokio::time::sleep(PAUSE).await;
        // Whether it can be sent shows in what comes back: a goodbye may have crossed it.
        let _ = socket.send(Message::text("hello")).await;
        match within(PATIENCE, "an echo", socket.next()).await {
            Some(Ok(Message::Text(_))) => {
                *tally.answers.entry("chat".to_owned()).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1_001 => return Ok(()),
            other => return Err(format!("a WebSocket was cut without a word: {other:?}")),
        }
    }
    Ok(())
}
