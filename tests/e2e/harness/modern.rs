//! An upstream that speaks HTTP/1.1 and HTTP/2, in plain text or over TLS: hyper, as many services have it.
//!
//! It answers `GET` with what it saw of the request and of the connection, as JSON; `POST` with the body,
//! piece by piece as it comes. `?trailer=VALUE` adds the trailer `x-end`; `?reset` ends the stream without an
//! answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, hyper::Error>;

/// A running upstream. Dropping it ends it.
pub(crate) struct Modern {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// What a connection is known by.
#[derive(Clone, Default)]
struct Known {
    server_name: Option<String>,
    client: Option<String>,
}

impl Modern {
    /// In plain text; HTTP/2 by prior knowledge.
    pub(crate) async fn plain() -> Self {
        Self::start(None).await
    }

    pub(crate) async fn tls(acceptor: TlsAcceptor) -> Self {
        Self::start(Some(acceptor)).await
    }

    async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, Known::default(), asked).await,
                        Some(acceptor) => {
                            // A client that does not trust us is gone by then.
                            let Ok(tls) = acceptor.accept(stream).await else { return };
                            let session = tls.get_ref().1;
                            let client = session.peer_certificates().map(|chain| {
                                let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
                                leaf.subject().to_string()
                            });
                            let server_name = session.server_name().map(str::to_owned);
                            serve(tls, Known { server_name, client }, asked).await;
                        }
                    }
                });
            }
        });
        Self { address, connections, requests, accepting }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Modern {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    known: Known,
    requests: Arc<AtomicUsize>,
) {
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::SeqCst);
        let known = known.clone();
        async move { answer(request, &known) }
    });
    // How it ended is the client's to notice.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
}

fn answer(request: Request<Incoming>, known: &Known) -> Result<Response<Body>, std::io::Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if query == "reset" {
        return Err(std::io::Error::other("as told"));
    }
    if request.method() == "POST" {
        let pieces =
            request.into_body().map_frame(|frame| Frame::data(frame.into_data().unwrap_or_default()));
        return Ok(Response::new(pieces.boxed()));
    }
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let seen = json!({
        "version": format!("{:?}", request.version()),
        "authority": request.uri().authority().map(ToString::to_string),
        "target": request.uri().path_and_query().map(ToString::to_string),
        "headers": headers,
        "server_name": known.server_name,
        "client": known.client,
    });
    let body = Full::new(Bytes::from(seen.to_string())).map_err(never);
    let Some(value) = query.strip_prefix("trailer=") else { return Ok(Response::new(body.boxed())) };
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", value.parse().unwrap());
    let trailers = async move { Some(Ok(trailers)) };
    Ok(Response::new(body.with_trailers(trailers).boxed()))
}

fn never(error: Infallible) -> hyper::Error {
    match error {}
}
