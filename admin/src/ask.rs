//! One request over a connection of its own, with a limit on everything: what health checks, smoke checks
//! and hooks are made of.
//!
//! Endpoints are spoken to as their pool's traffic is: in plain text or over TLS, in HTTP/1.1 or HTTP/2.
//!
//! Nothing outlives the call: no task is started, no connection is kept, and a future that is dropped
//! takes its socket with it. The answer is not believed: of its body no more is read than is asked
//! for, [`printable`] makes text of it, and a redirect is an answer like any other.
//!
//! What a status means, when to ask again and what to do about it are the caller's.

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_core::address::Address;
use tidegate_core::config::Protocol;
use tidegate_core::units::Span;
use tidegate_core::validate::url::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

pub(crate) use tls::Trust;

use crate::tls::PoolTrust;

/// A head is read up to this; nobody who means well sends more.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// How long an answer may take, and how much of it is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From looking up the name to the end of the body.
    pub within: Duration,
    /// Of the body; the rest is left unread.
    pub body_bytes: usize,
}

/// How the endpoints of a pool are spoken to.
#[derive(Clone, Debug, Default)]
pub struct Speech {
    /// Whom they must be; `None` = in plain text.
    pub trust: Option<Arc<PoolTrust>>,
    /// What they speak.
    pub protocol: Protocol,
}

/// A connection that has been made.
pub struct Opened {
    /// Its bytes.
    pub stream: Pin<Box<dyn Stream>>,
    /// Whether it is to be spoken to in HTTP/2.
    pub is_h2: bool,
}

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// An answer.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its status.
    pub status: StatusCode,
    /// The beginning of its body: as much as may be read, came in time, and before it broke off.
    pub body: Vec<u8>,
    /// Why the body is not whole, if something kept it from coming.
    pub broken: Option<AskError>,
}

/// Why there is no answer, as the end of a sentence that begins with who was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// No connection came about.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// A connection, but nobody to be trusted at its other end.
    #[error("cannot be trusted: {0}")]
    Untrusted(String),
    /// An answer in another language.
    #[error("did not answer in HTTP: {0}")]
    NotHttp(String),
    /// The connection ended before the answer did.
    #[error("closed the connection before the end of an answer")]
    Closed,
    /// Something else went wrong on the way.
    #[error("broke off: {0}")]
    Broken(String),
    /// Time was up.
    #[error("did not answer within {}", Span(*.0))]
    Late(Duration),
}

/// A connection, and nothing more.
pub async fn connect(address: &Address, within: Duration) -> Result<(), AskError> {
    let dialled = tokio::time::timeout(within, dial(address)).await;
    dialled.unwrap_or(Err(AskError::Late(within))).map(drop)
}

/// A connection to an endpoint, ready to be asked.
pub async fn open(address: &Address, speech: &Speech) -> Result<Opened, AskError> {
    let stream = dial(address).await?;
    let Some(trust) = &speech.trust else {
        return Ok(Opened { stream, is_h2: speech.protocol == Protocol::H2 });
    };
    let stream = tls::handshake_with(stream, Arc::clone(&trust.client), trust.name.clone()).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Opened { stream: Box::pin(stream), is_h2 })
}

async fn dial(address: &Address) -> Result<Pin<Box<dyn Stream>>, AskError> {
    Ok(match address {
        Address::Tcp(address) => {
            Box::pin(TcpStream::connect(address).await.map_err(|error| unreachable(&error))?)
        }
        Address::Unix(path) => {
            Box::pin(UnixStream::connect(path).await.map_err(|error| unreachable(&error))?)
        }
    })
}

/// Asks an endpoint.
pub async fn at(
    address: &Address,
    speech: &Speech,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Seen, AskError> {
    let deadline = Instant::now() + limits.within;
    let asked = async {
        let Opened { stream, is_h2 } = open(address, speech).await?;
        if is_h2 {
            exchange_h2(stream, request, deadline, limits).await
        } else {
            exchange(stream, request, deadline, limits).await
        }
    };
    by(deadline, limits, asked).await
}

/// Asks at a URL, whose target the request already has.
pub(crate) async fn url(
    url: &Url,
    trust: &Trust,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Seen, AskError> {
    let deadline = Instant::now() + limits.within;
    let asked = async {
        let stream =
            TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| unreachable(&error))?;
        if url.is_tls {
            let stream = tls::handshake(stream, &url.host, trust).await?;
            exchange(stream, request, deadline, limits).await
        } else {
            exchange(stream, request, deadline, limits).await
        }
    };
    by(deadline, limits, asked).await
}

async fn by<T>(
    deadline: Instant,
    limits: Limits,
    work: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(AskError::Late(limits.within)))
}

/// As [`exchange`], in HTTP/2, where the Host and whether the connection stays are no fields.
async fn exchange_h2(
    stream: Pin<Box<dyn Stream>>,
    mut request: Request<Bytes>,
    deadline: Instant,
    limits: Limits,
) -> Result<Seen, AskError> {
    request.headers_mut().remove(CONNECTION);
    if let Some(host) = request.headers_mut().remove(HOST) {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Authority::try_from(host.as_bytes()).ok();
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| AskError::Broken(error.to_string()))?;
    }
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let asked = pin!(async {
        let answer = sender.send_request(request.map(Full::new)).await.map_err(|error| broken(&error))?;
        Ok(read(answer, deadline, limits).await)
    });
    match select(asked, pin!(connection)).await {
        Either::Left((seen, _)) => seen,
        Either::Right((_, asked)) => asked.await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Bytes>,
    deadline: Instant,
    limits: Limits,
) -> Result<Seen, AskError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let asked = pin!(async {
        let answer = sender.send_request(request.map(Full::new)).await.map_err(|error| broken(&error))?;
        Ok(read(answer, deadline, limits).await)
    });
    match select(asked, pin!(connection)).await {
        Either::Left((seen, _)) => seen,
        // The connection is over, but may have brought the answer with its end.
        Either::Right((_, asked)) => asked.await,
    }
}

/// The status is known: what is wrong with the body from here on does not take it back.
async fn read(answer: Response<Incoming>, deadline: Instant, limits: Limits) -> Seen {
    let mut seen = Seen { status: answer.status(), body: Vec::new(), broken: None };
    let mut coming = answer.into_body();
    while seen.body.len() < limits.body_bytes {
        match tokio::time::timeout_at(deadline, coming.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                let room = limits.body_bytes - seen.body.len();
                seen.body.extend_from_slice(&data[..data.len().min(room)]);
            }
            Ok(Some(Err(error))) => {
                seen.broken = Some(broken(&error));
                break;
            }
            Ok(None) => break,
            Err(_) => {
                seen.broken = Some(AskError::Late(limits.within));
                break;
            }
        }
    }
    seen
}

/// The system's message without its number, which helps nobody.
fn unreachable(error: &io::Error) -> AskError {
    AskError::Unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::NotFound => "no such socket".into(),
        _ => error.to_string(),
    })
}

fn broken(error: &hyper::Error) -> AskError {
    if error.is_parse() || error.is_parse_too_large() {
        return AskError::NotHttp(error.to_string());
    }
    let was_reset = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        });
    // `is_canceled`: the connection ended before the request was on its way.
    if error.is_incomplete_message() || error.is_canceled() || was_reset {
        return AskError::Closed;
    }
    AskError::Broken(error.to_string())
}

/// The first `most_chars` of what somebody else sent, fit for a log line or a sentence.
///
/// Control characters would forge lines or drive a terminal, and marks of direction would turn what
/// follows around: they are left out, and any white space is one space.
pub(crate) fn printable(bytes: &[u8], most_chars: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (mut shown, mut is_apart) = (String::new(), false);
    for c in text.chars() {
        if c.is_whitespace() {
            is_apart = !shown.is_empty();
        } else if is_plain(c) {
            if std::mem::take(&mut is_apart) {
                shown.push(' ');
            }
            shown.push(c);
        }
    }
    match shown.char_indices().nth(most_chars) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
