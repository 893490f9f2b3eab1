//! One HTTP/1 connection, to its end: head after head, each handed to the gateway.
//!
//! pingora reads heads without a deadline for the whole of one, and idles without end between two;
//! here both have one. A head that is refused is answered here and never reaches the gateway.
//! A listener in plain text may be spoken to in HTTP/2 as well: its preface is recognised here, however
//! slowly it comes. Stage before: [`super::greet`]; next: [`crate::gateway`], or [`super::h2`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use tidegate_core::config::Listener;
use tidegate_core::edge::Refusal;
use tokio::time::{Instant, timeout_at};

use super::client::ClientStream;
use super::deadlines::Alarm;
use super::greet::{apart, takes_prior_knowledge};
use super::head::{self, Head, Refused};
use super::{Door, h2};
use crate::express::{self, Served};
use crate::failure::{code_of, raw_answer};
use crate::shutdown::Active;

/// How the wait for a head ended.
#[expect(clippy::large_enum_variant, reason = "nearly always it is the head, which is moved once")]
enum Waited {
    Head(Head),
    /// The connection speaks HTTP/2.
    Preface,
    /// Nothing to answer: the client closed, or idled for too long.
    Over,
    Refused(Refused, Refusal),
}

/// Serves a connection until either side closes it.
pub(super) async fn serve(mut client: Box<ClientStream>, door: Arc<Door>) {
    let mut is_first = true;
    let drain = Arc::clone(&door.drain);
    let mut idle = Idle { alarm: Alarm::default(), closing: pin!(drain.no_more_requests()) };
    loop {
        let settings = door.settings();
        let waited = wait_for_head(&mut client, &settings, &mut idle, is_first).await;
        let (head, active) = match waited {
            Ok(Waited::Head(head)) => (head, door.drain.begin_exchange()),
            Ok(Waited::Preface) => return apart(|| h2::serve(*client, door)).await,
            Ok(Waited::Refused(refused, reason)) => {
                door.cell.refuse(reason);
                tracing::debug!(
                    listener = door.cell.name,
                    client = %client.exchange().peer,
                    status = refused.status,
                    "refused a request: {}",
                    refused.why
                );
                let (peer, code) = (client.exchange().peer, code_of(refused.status));
                door.access.refused(&door.control.live().peek(), peer, refused.status, code);
                let answer = raw_answer(refused.status, code, refused.why);
                return apart(|| client.send_last(&answer)).await;
            }
            Ok(Waited::Over) | Err(_) => return,
        };
        match exchange(client, &head, &settings, &door, active).await {
            Some(next) => client = next,
            None => return,
        }
        is_first = false;
        tokio::task::consume_budget().await;
    }
}

/// What ends the wait for a request; kept from one wait to the next, so that a wait costs little to begin.
struct Idle<F> {
    alarm: Alarm,
    /// Resolves when no more requests are waited for.
    closing: F,
}

/// Serves one request; the connection comes back if it may be used again.
async fn exchange(
    mut client: Box<ClientStream>,
    head: &Head,
    settings: &Listener,
    door: &Door,
    active: Active,
) -> Option<Box<ClientStream>> {
    client.framing = head.body;
    client.exchange().begin();
    client.write_timeout = settings.idle_timeout.0;
    if door.control.live().peek().settings.express {
        match apart(|| express::serve(&mut client, head, &door.gateway, settings.idle_timeout.0)).await {
            Served::Kept => return Some(client),
            Served::Over => return None,
            Served::Handed(begun) => client.exchange().hand_over(begun),
        }
    }
    let served = apart(|| by_gateway(client, head.length, settings, door)).await;
    drop(active);
    served
}

/// Hands one request to the gateway.
async fn by_gateway(
    mut client: Box<ClientStream>,
    head_length: usize,
    settings: &Listener,
    door: &Door,
) -> Option<Box<ClientStream>> {
    let bytes: BytesMut = client.unread.split_to(head_length);
    let current = Arc::clone(client.exchange());
    let mut session = ServerSession::new_http1(client);
    session.set_keepalive(Some(0));
    session.set_read_timeout(Some(settings.idle_timeout.0));
    session.set_write_timeout(Some(settings.idle_timeout.0));
    session.set_total_drain_timeout(Some(settings.header_timeout.0));
    session.set_pipelined_prefix(bytes);
    let reusable = Arc::clone(&current).serve(door.proxy.process_new_http(session, door.drain.told())).await;
    current.hand_over(None);
    let (stream, _) = reusable?.consume();
    let client = stream.into_any().downcast::<ClientStream>().ok()?;
    client.framing.is_done().then_some(client)
}

/// Reads until a whole head is there.
///
/// Its deadline runs from accept for a connection's first head, from the first byte for others.
async fn wait_for_head(
    client: &mut ClientStream,
    settings: &Listener,
    idle: &mut Idle<Pin<&mut impl Future<Output = ()>>>,
    is_first: bool,
) -> io::Result<Waited> {
    let limit = usize::try_from(settings.max_header_size.0).unwrap_or(usize::MAX);
    let mut deadline = is_first.then(|| Instant::now() + settings.header_timeout.0);
    if client.unread.is_empty() {
        let limit = if is_first { settings.header_timeout.0 } else { settings.idle_timeout.0 };
        if !wait_for_first_byte(client, idle, limit).await? {
            return Ok(Waited::Over);
        }
    }
    let mut seen = 0;
    loop {
        while client.unread.starts_with(b"\r\n") && seen == 0 {
            // RFC 9112, 2.2: empty lines before a request line are skipped.
            let _ = client.unread.split_to(2);
        }
        let may_be_h2 = is_first && takes_prior_knowledge(settings) && begins_h2(&client.unread);
        if may_be_h2 && client.unread.len() >= h2::PREFACE.len() {
            return Ok(Waited::Preface);
        }
        if !may_be_h2 && let Some(verdict) = look(&client.unread, seen, limit) {
            return Ok(verdict);
        }
        seen = client.unread.len();
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + settings.header_timeout.0);
        match timeout_at(deadline, client.fill()).await {
            Ok(Ok(0)) => return Ok(Waited::Over),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if seen == 0 => return Ok(Waited::Over),
            Err(_) => {
                let refused = Refused { status: 408, why: "the request head did not arrive in time" };
                return Ok(Waited::Refused(refused, Refusal::HeaderTimeout));
            }
        }
    }
}

/// Whether these may be the first bytes of HTTP/2, however few they are.
fn begins_h2(bytes: &[u8]) -> bool {
    let seen = bytes.len().min(h2::PREFACE.len());
    seen > 0 && bytes[..seen] == h2::PREFACE[..seen]
}

/// Waits for a byte; false when the connection is to be closed without one.
async fn wait_for_first_byte(
    client: &mut ClientStream,
    idle: &mut Idle<Pin<&mut impl Future<Output = ()>>>,
    limit: Duration,
) -> io::Result<bool> {
    let clock = client.exchange().clock();
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let end_ms = clock.mono_ms().saturating_add(limit_ms);
    let mut first_bytes = pin!(async {
        client.readable().await?;
        client.fill().await
    });
    poll_fn(|cx| {
        if let Poll::Ready(read) = first_bytes.as_mut().poll(cx) {
            return Poll::Ready(read.map(|read| read > 0));
        }
        let is_over =
            idle.alarm.poll_until(end_ms, clock, cx).is_ready() || idle.closing.as_mut().poll(cx).is_ready();
        if is_over { Poll::Ready(Ok(false)) } else { Poll::Pending }
    })
    .await
}

/// What can be said of the bytes so far; `None` = more are needed.
fn look(bytes: &[u8], seen: usize, limit: usize) -> Option<Waited> {
    let refuse = |refused| Some(Waited::Refused(refused, Refusal::BadRequest));
    let end = head::find_end(bytes, seen);
    let head_so_far = &bytes[..end.unwrap_or(bytes.len())];
    if head_so_far.len() > limit {
        let (status, why) = if head_so_far[..limit].contains(&b'\n') {
            (431, "the request head is larger than the listener allows")
        } else {
            (414, "the request target is larger than the listener allows")
        };
        return Some(Waited::Refused(Refused { status, why }, Refusal::HeaderTooLarge));
    }
    if head::has_bare_lf(head_so_far, seen.min(head_so_far.len())) {
        return refuse(Refused { status: 400, why: "a header line ends without a carriage return" });
    }
    let end = end?;
    match head::check(&bytes[..end]) {
        // A body that already breaks the grammar must not reach an upstream at all.
        Ok(head) => match { head.body }.take(&bytes[end..]) {
            Ok(_) => Some(Waited::Head(head)),
            Err(_) => refuse(Refused { status: 400, why: "the request's chunked body is malformed" }),
        },
        Err(refused) => refuse(refused),
    }
}
