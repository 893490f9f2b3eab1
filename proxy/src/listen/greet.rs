//! From an accepted socket to a client that can ask: PROXY header, TLS, and which HTTP it speaks.
//!
//! Each step has the listener's `header_timeout`, and of one listener so many handshakes are under way at
//! once that those who wait do so within their own time: a crowd that never finishes costs sockets, not
//! workers. Stage before: [`super`] accepts; next: [`super::connection`] or [`super::h2`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::config::Listener;
use tidegate_core::edge::Refusal;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::ClientStream;
use super::exchange::Exchange;
use super::transport::{Raw, Socket, Transport};
use super::{Door, Held, connection, h2, proxy_protocol};
use crate::listen::identity::TlsFacts;

/// TLS handshakes of one listener under way at once.
pub(super) const MAX_HANDSHAKES: usize = 1_024;

/// Serves a connection, from its first byte to its last.
pub(super) async fn serve(socket: Socket, mut peer: SocketAddr, held: Held, door: Arc<Door>) {
    let settings = door.settings();
    let patience = settings.header_timeout.0;
    let mut raw = Raw::new(socket);
    if settings.proxy_protocol {
        match apart(|| in_time(patience, proxy_protocol::read(&mut raw))).await {
            Ok(client) => peer = client.unwrap_or(peer),
            Err(error) => return refuse(&door, peer, Refusal::ProxyProtocol, &error),
        }
    }
    let (transport, tls) = match settings.tls {
        None => (Transport::Plain(raw), None),
        Some(_) => match apart(|| handshake(raw, patience, &door)).await {
            Ok((transport, facts)) => (transport, Some(Arc::new(facts))),
            Err(error) => return refuse(&door, peer, Refusal::TlsHandshake, &error),
        },
    };
    let speaks_h2 = tls.as_ref().is_some_and(|tls| tls.is_h2);
    let exchange = Exchange::new(peer, Arc::clone(&door.cell), door.control.clock(), tls);
    let client = Box::new(ClientStream::new(transport, Arc::new(exchange), held));
    if speaks_h2 {
        apart(|| h2::serve(*client, door)).await;
    } else {
        apart(|| connection::serve(client, door)).await;
    }
}

/// Begins a step in a place of its own: a connection that idles has no room for what is over, or never comes.
/// (A future that is made where it is awaited has room in the one around it, even if it is boxed.)
pub(super) fn apart<F: Future>(step: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(step())
}

async fn handshake(raw: Raw, patience: Duration, door: &Door) -> io::Result<(Transport, TlsFacts)> {
    let material = door.control.material();
    let config = material.listener(&door.cell.name).ok_or(io::ErrorKind::NotFound)?;
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let tls = in_time(patience, async {
        let _place = door.handshakes.acquire().await.map_err(io::Error::other)?;
        acceptor.accept(raw).await
    });
    let tls = Box::new(tls.await?);
    let facts = TlsFacts::of(tls.get_ref().1);
    Ok((Transport::Tls(tls), facts))
}

async fn in_time<T>(patience: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn refuse(door: &Door, peer: SocketAddr, reason: Refusal, error: &io::Error) {
    door.cell.refuse(reason);
    tracing::debug!(listener = door.cell.name, client = %peer, "{}: {error}", reason.as_str());
}

/// Whether a listener may be spoken to in HTTP/2 without saying so first (RFC 9113, 3.3).
pub(super) fn takes_prior_knowledge(settings: &Listener) -> bool {
    settings.http2 && settings.tls.is_none()
}
