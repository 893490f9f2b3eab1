//! Who may call: the token, or else only programs on this host.
//!
//! With a token, a call without it is refused (`401`). Without one, the API listens on loopback or
//! on a Unix socket only, and the danger is a web page in a browser on the same host: so a `Host`
//! that is not a loopback name (DNS rebinding) and a foreign `Origin` are refused (`403`). `/livez`,
//! `/readyz` and `/metrics` are open: they say nothing that has to be hidden.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq as _;
use tidegate_core::request::normalise_host;

use crate::error::Failure;
use crate::router::App;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The paths that need neither a token nor a known host.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The bearer token. Its value is in no log and no answer.
pub(crate) struct Token(Box<[u8]>);

impl Token {
    /// A token from its file's text; what is wrong with it, if it cannot be one.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds more than one token of printable ASCII characters");
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Whether the headers carry it. Takes the same time wherever a wrong one differs.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let Some((scheme, token)) = line.as_bytes().split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(token.trim_ascii().ct_eq(&self.0))
    }
}

/// Who may call whom without a token.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Hosts accepted besides loopback names, in lower case.
    allowed: Vec<String>,
    /// Whether calls come through a Unix socket, where no browser is.
    is_socket: bool,
}

impl Hosts {
    pub(crate) fn new(allowed: &[String], is_socket: bool) -> Self {
        Self { allowed: allowed.iter().map(|host| normalise_host(host).into_owned()).collect(), is_socket }
    }

    fn knows(&self, host: &str) -> bool {
        let host = normalise_host(host);
        is_loopback(&host) || self.allowed.iter().any(|allowed| *allowed == *host)
    }

    /// What speaks against a call, if anything does.
    fn objection(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let host = match host_of(uri, headers) {
            Ok(host) => host,
            Err(why) => return Some(why),
        };
        if !self.is_socket && !host.as_ref().is_some_and(|host| self.knows(host.host())) {
            return Some("the Host is not a loopback name, nor in admin.allowed_hosts");
        }
        if headers.get_all(ORIGIN).iter().any(|origin| !self.is_own(origin, host.as_ref())) {
            return Some("the Origin is another site");
        }
        let says = |name, value| headers.get(name).is_some_and(|v: &HeaderValue| v == value);
        if says(SEC_FETCH_SITE, "cross-site") {
            return Some("the call comes from another site");
        }
        if says(SEC_FETCH_MODE, "no-cors") && uri.path().starts_with("/v1") {
            return Some("the call comes from a page that may not read the answer");
        }
        None
    }

    /// Whether an `Origin` is the API's own: the same host and port, under whatever known name.
    fn is_own(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else {
            return false;
        };
        let default_port = if origin.scheme_str() == Some("https") { 443 } else { 80 };
        let (Some(from), Some(host)) = (origin.authority(), host) else { return false };
        let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
        self.knows(from.host()) && port(from) == port(host)
    }
}

/// The host that a call is for: of an absolute target, else of the one `Host` line.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, &'static str> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let authority = line.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            let plain = authority.filter(|authority| !authority.as_str().contains('@'));
            plain.map(Some).ok_or("the Host cannot be read")
        }
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err("there is more than one Host"),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Lets a call through, or refuses it.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let refused = match app.control.token() {
        Some(token) if !token.is_in(request.headers()) => Some(Failure::unauthorized()),
        Some(_) => None,
        None => app.hosts.objection(request.uri(), request.headers()).map(Failure::forbidden),
    };
    let Some(failure) = refused else { return next.run(request).await };
    app.refusals.log(app.control.clock().mono_ms(), request.uri().path(), &failure);
    failure.into_response()
}

/// Tells of refused calls once a second at most, so that whoever guesses tokens cannot fill the log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    next_ms: AtomicU64,
    untold: AtomicU64,
}

impl Refusals {
    fn log(&self, mono_ms: u64, path: &str, failure: &Failure) {
        let count = self.untold.fetch_add(1, Relaxed) + 1;
        let due_ms = self.next_ms.load(Relaxed);
        let is_mine = mono_ms >= due_ms
            && self.next_ms.compare_exchange(due_ms, mono_ms + 1_000, Relaxed, Relaxed).is_ok();
        if !is_mine {
            return;
        }
        self.untold.fetch_sub(count, Relaxed);
        let path: String = path.chars().take(200).collect();
        tracing::warn!(
            path,
            status = failure.status().as_u16(),
            count,
            "calls of the admin API were refused"
        );
    }
}

#[cfg(test)]
mod tests;
