//! A version of the shop: a small HTTP/1.1 server that takes a few milliseconds and says who it is.
//!
//! On its own port it can be broken, `/break?rate=0.2`, and mended, `/mend`: a part of its answers is then
//! an error, while its health checks stay good, as with a bad release.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tidegate_core::pick::Entropy;
use tokio::net::{TcpListener, TcpStream};

use crate::cli::words::percent;

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

/// The part of its answers that fails when it is broken and nobody says how much.
pub(super) const BROKEN: f64 = 0.2;

/// A version that serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// Its name.
    pub(super) name: &'static str,
    /// Where.
    pub(super) address: SocketAddr,
}

/// How it is at the moment.
struct Mood {
    entropy: Mutex<Entropy>,
    /// So many of a thousand answers are errors.
    failing_per_mille: AtomicU64,
}

impl Mood {
    fn next_u64(&self) -> u64 {
        self.entropy.lock().next_u64()
    }

    fn fails(&self) -> bool {
        self.next_u64() % 1_000 < self.failing_per_mille.load(Ordering::Relaxed)
    }
}

impl Version {
    /// Opens on a free port, and serves for as long as the runtime lives.
    pub(super) async fn open(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mood = Arc::new(Mood {
            entropy: Mutex::new(Entropy::new(u64::from(address.port()))),
            failing_per_mille: AtomicU64::new(0),
        });
        tokio::spawn(async move {
            loop {
                // Out of file descriptors, say: the next moment may be better.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                tokio::spawn(serve(stream, manner, Arc::clone(&mood)));
            }
        });
        Ok(Self { name: manner.name, address })
    }
}

async fn serve(stream: TcpStream, manner: Manner, mood: Arc<Mood>) {
    let service = service_fn(move |request| answer(request, manner, Arc::clone(&mood)));
    // How a connection ends is the proxy's business.
    let _ = stream.set_nodelay(true);
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    mood: Arc<Mood>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/healthz" => return Ok(text("ok\n".to_owned())),
        "/break" => return Ok(text(set_rate(manner, &mood, rate(request.uri().query())))),
        "/mend" => return Ok(text(set_rate(manner, &mood, 0.0))),
        _ => {}
    }
    let (least, most) = manner.answers_in_us;
    let pause = least + mood.next_u64() % (most - least);
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
    if mood.fails() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

fn text(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text)))
}

/// What `rate=` says, a fraction of 1; what cannot be read is as if it were not there.
fn rate(query: Option<&str>) -> f64 {
    let said = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("rate=")));
    said.and_then(|rate| rate.parse().ok()).filter(|rate: &f64| rate.is_finite()).unwrap_or(BROKEN)
}

fn set_rate(manner: Manner, mood: &Mood, rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1,000")]
    let per_mille = (rate.clamp(0.0, 1.0) * 1_000.0).round() as u64;
    mood.failing_per_mille.store(per_mille, Ordering::Relaxed);
    format!("{} of {}'s answers fail from now on\n", percent(per_mille as f64 / 1e3), manner.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_broken_it_is_can_be_said() {
        for (query, expected) in [
            (None, 0.2),
            (Some(""), 0.2),
            (Some("rate=0.5"), 0.5),
            (Some("a=1&rate=1"), 1.0),
            (Some("rate=x"), 0.2),
        ] {
            assert!((rate(query) - expected).abs() < 1e-9, "{query:?}");
        }
        let mood = Mood { entropy: Mutex::new(Entropy::new(1)), failing_per_mille: AtomicU64::new(0) };
        assert!((0..1_000).all(|_| !mood.fails()));
        assert_eq!(set_rate(CANARY, &mood, 0.2), "20.0 % of canary's answers fail from now on\n");
        let failed = (0..10_000).filter(|_| mood.fails()).count();
        assert!((1_700..2_300).contains(&failed), "{failed}");
        assert_eq!(set_rate(CANARY, &mood, 7.0), "100.0 % of canary's answers fail from now on\n");
        assert!((0..1_000).all(|_| mood.fails()));
    }
}
