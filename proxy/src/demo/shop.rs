//! A version of the shop: a small HTTP/1.1 server that takes a few milliseconds and says who it is.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tidegate_core::pick::Entropy;
use tokio::net::{TcpListener, TcpStream};

use super::setup::VISITOR_HEADER;

/// The header in which an answer says which version made it.
pub(super) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-shop-version");

/// What a version is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Its name, and its pool's.
    pub(super) name: &'static str,
    /// The shortest and the longest time that an answer takes.
    answers_in_us: (u64, u64),
}

/// The version that most visitors have.
pub(super) const STABLE: Manner = Manner { name: "stable", answers_in_us: (2_000, 5_000) };
/// The new one, a little slower.
pub(super) const CANARY: Manner = Manner { name: "canary", answers_in_us: (3_000, 8_000) };

/// A version that serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// Its name.
    pub(super) name: &'static str,
    /// Where.
    pub(super) address: SocketAddr,
}

impl Version {
    /// Opens on a free port, and serves for as long as the runtime lives.
    pub(super) async fn open(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let moods = Arc::new(Mutex::new(Entropy::new(u64::from(address.port()))));
        tokio::spawn(async move {
            loop {
                // Out of file descriptors, say: the next moment may be better.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                tokio::spawn(serve(stream, manner, Arc::clone(&moods)));
            }
        });
        Ok(Self { name: manner.name, address })
    }
}

async fn serve(stream: TcpStream, manner: Manner, moods: Arc<Mutex<Entropy>>) {
    let service = service_fn(move |request| answer(request, manner, Arc::clone(&moods)));
    // How a connection ends is the proxy's business.
    let _ = stream.set_nodelay(true);
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    moods: Arc<Mutex<Entropy>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/healthz" {
        return Ok(Response::new(Full::new(Bytes::from_static(b"ok\n"))));
    }
    let (least, most) = manner.answers_in_us;
    let pause = least + moods.lock().next_u64() % (most - least);
    tokio::time::sleep(Duration::from_micros(pause)).await;
    let visitor = request.headers().get(VISITOR_HEADER).and_then(|id| id.to_str().ok());
    let body = serde_json::json!({
        "shop": manner.name,
        "path": request.uri().path(),
        "visitor": visitor,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    let headers = response.headers_mut();
    headers.insert(VERSION_HEADER, HeaderValue::from_static(manner.name));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
