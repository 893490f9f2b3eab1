//! Forwarding: what is changed in heads on their way up and down (RFC 9110, 7.6; spec 3).
//!
//! pingora has already removed the hop-by-hop fields of a request when [`forward`] sees it; those
//! of answers are removed in [`back`].

mod edit;

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Method, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::config::{Assign, SameSite};
use tidegate_core::decide::VisitorId;
use tidegate_core::pick::Entropy;

pub(crate) use edit::{edit_answer, edit_request};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Who the client of a TLS connection is, in Envoy's words.
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// Told by some proxies; never by Tidegate, so an untrusted peer's are removed.
const SPOOFABLE: [&str; 3] = ["x-forwarded-port", "x-real-ip", "x-forwarded-server"];
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;

/// All fields that [`forward`] may add, change or remove.
pub(crate) static OWN: [HeaderName; 13] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static(SPOOFABLE[0]),
    HeaderName::from_static(SPOOFABLE[1]),
    HeaderName::from_static(SPOOFABLE[2]),
    CLIENT_CERTIFICATE,
    FORWARDED,
    VIA,
    MAX_FORWARDS,
    X_REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
];

/// Where a request comes from, and how it is told upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
    /// Whether it is a trusted proxy.
    pub(crate) trusted: bool,
    /// What the request came as.
    pub(crate) version: http::Version,
    /// The scheme of the URL that was asked for.
    pub(crate) scheme: &'static str,
    /// The certificate that the client showed.
    pub(crate) certificate: Option<&'a str>,
}

/// The ids that follow a request through the system.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) request: HeaderValue,
    pub(crate) trace_parent: HeaderValue,
    /// Whether the client's `traceparent` was taken, so that its `tracestate` still fits.
    trace_kept: bool,
}

impl Ids {
    /// The request's own ids where they are sound, else new ones.
    pub(crate) fn of(request: &RequestHeader, entropy: &mut Entropy) -> Self {
        let kept = request.headers.get(X_REQUEST_ID).filter(|v| is_request_id(v.as_bytes()));
        let parent = request.headers.get(TRACEPARENT).filter(|v| is_traceparent(v.as_bytes()));
        let made = |text: String| HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
        let fallback = HeaderValue::from_static("unknown");
        Self {
            request: kept.cloned().unwrap_or_else(|| {
                made(format!("{:016x}{:016x}", entropy.next_u64(), entropy.next_u64()))
                    .unwrap_or(fallback.clone())
            }),
            trace_parent: parent.cloned().unwrap_or_else(|| {
                let id = (entropy.next_u64() | 1, entropy.next_u64(), entropy.next_u64() | 1);
                made(format!("00-{:016x}{:016x}-{:016x}-01", id.0, id.1, id.2)).unwrap_or(fallback)
            }),
            trace_kept: parent.is_some(),
        }
    }

    /// The trace's id, of 32 hexadecimal digits.
    pub(crate) fn trace(&self) -> &str {
        self.trace_parent.to_str().ok().and_then(|t| t.get(3..35)).unwrap_or_default()
    }
}

fn is_request_id(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len()) && value.iter().all(|b| (0x21..=0x7e).contains(b))
}

/// Version 00 of W3C Trace Context, or a later one that begins alike.
fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |range: std::ops::Range<usize>| {
        value[range].iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
    };
    let is_zero = |range: std::ops::Range<usize>| value[range].iter().all(|b| *b == b'0');
    value.len() >= 55
        && (value.len() == 55 || (!is_zero(0..2) && value[55] == b'-'))
        && [2, 35, 52].iter().all(|at| value[*at] == b'-')
        && [0..2, 3..35, 36..52, 53..55].into_iter().all(is_hex)
        && !is_zero(3..35)
        && !is_zero(36..52)
        && &value[0..2] != b"ff"
}

/// Readies a request's head for the upstream.
pub(crate) fn forward(request: &mut RequestHeader, origin: Origin<'_>, ids: &Ids) -> Result<()> {
    let host = request.headers.get(HOST).cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    let peer = origin.peer.to_string();
    let chain = match (origin.trusted, joined(request, &X_FORWARDED_FOR)) {
        (true, Some(before)) => format!("{before}, {peer}"),
        _ => peer.clone(),
    };
    request.insert_header(X_FORWARDED_FOR, chain)?;
    if !origin.trusted || !request.headers.contains_key(X_FORWARDED_PROTO) {
        request.insert_header(X_FORWARDED_PROTO, origin.scheme)?;
    }
    if !origin.trusted || !request.headers.contains_key(X_FORWARDED_HOST) {
        request.insert_header(X_FORWARDED_HOST, host.clone())?;
    }
    if !origin.trusted {
        for name in SPOOFABLE {
            request.remove_header(name);
        }
    }
    if let Some(certificate) = origin.certificate {
        request.insert_header(CLIENT_CERTIFICATE, certificate)?;
    } else if !origin.trusted {
        request.remove_header(&CLIENT_CERTIFICATE);
    }
    forward_rfc7239(request, origin, &peer, &host)?;
    let via = match origin.version {
        http::Version::HTTP_10 => "1.0 tidegate",
        http::Version::HTTP_2 => "2.0 tidegate",
        _ => "1.1 tidegate",
    };
    request.append_header(VIA, via)?;
    if let Some(left) = max_forwards(request) {
        request.insert_header(MAX_FORWARDS, left.saturating_sub(1))?;
    }
    request.insert_header(X_REQUEST_ID, ids.request.clone())?;
    request.insert_header(TRACEPARENT, ids.trace_parent.clone())?;
    if !ids.trace_kept {
        request.remove_header(&TRACESTATE);
    }
    Ok(())
}

/// The length of the body, where the head says it.
pub(crate) fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How many more proxies a request may pass, where it says so and that is for us to heed (RFC 9110, 7.6.2).
pub(crate) fn max_forwards(request: &RequestHeader) -> Option<u64> {
    if !matches!(request.method, Method::OPTIONS | Method::TRACE) {
        return None;
    }
    let value = request.headers.get(MAX_FORWARDS)?.to_str().ok()?;
    value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok())?
}

/// `Forwarded`, where the client sent one: appended to when it is trusted, else replaced.
fn forward_rfc7239(
    request: &mut RequestHeader,
    origin: Origin<'_>,
    peer: &str,
    host: &HeaderValue,
) -> Result<()> {
    let Some(before) = joined(request, &FORWARDED) else { return Ok(()) };
    let node = if origin.peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_owned() };
    let host = host.to_str().unwrap_or_default();
    let ours = format!("for={node};host=\"{host}\";proto={}", origin.scheme);
    let value = if origin.trusted { format!("{before}, {ours}") } else { ours };
    request.insert_header(FORWARDED, value)
}

fn joined(request: &RequestHeader, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = request.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Tells an HTTP/2 upstream that the client takes trailers, which gRPC insists on. The field is one of the
/// connection, so it does not pass by itself.
pub(crate) fn trailers(request: &mut RequestHeader, asked: &HeaderMap) -> Result<()> {
    let takes = |line: &HeaderValue| {
        line.as_bytes().split(|b| *b == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    if request.version == http::Version::HTTP_2 && asked.get_all(TE).iter().any(takes) {
        request.insert_header(TE, "trailers")?;
    }
    Ok(())
}

/// Asks the upstream for an upgrade, in place of what the client asked of us.
pub(crate) fn upgrade(request: &mut RequestHeader, protocol: &HeaderValue) -> Result<()> {
    for name in nominated(&request.headers) {
        request.remove_header(&name);
    }
    for name in [&TE, &TRAILER, &PROXY_AUTHORIZATION] {
        request.remove_header(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        request.remove_header(name);
    }
    request.insert_header(CONNECTION, "upgrade")?;
    request.insert_header(UPGRADE, protocol.clone())
}

/// Whether a message asks for the connection's end, on whatever line (RFC 9112, 9.6).
pub(crate) fn asks_to_close(fields: &HeaderMap) -> bool {
    connection_options(fields).any(|option| option.eq_ignore_ascii_case(b"close"))
}

fn connection_options(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(CONNECTION).iter();
    lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// The fields that `Connection` names, but for those that it may not.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !is_end_to_end(name))
        .collect()
}

/// Fields of an answer that concern a connection, whatever `Connection` says; it is told anew by whoever sends.
pub(crate) const NEVER_BACK: [&str; 7] = [
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
];

/// Removes from an answer what concerns only the connection it came over.
pub(crate) fn back(answer: &mut ResponseHeader) -> Result<()> {
    let protocol = answer.headers.get(UPGRADE).filter(|_| answer.status == StatusCode::SWITCHING_PROTOCOLS);
    let protocol = protocol.cloned();
    for name in nominated(&answer.headers) {
        answer.remove_header(&name);
    }
    for name in NEVER_BACK {
        answer.remove_header(name);
    }
    if let Some(protocol) = protocol {
        answer.insert_header(CONNECTION, "upgrade")?;
        answer.insert_header(UPGRADE, protocol)?;
    }
    frame_by_status(answer);
    Ok(())
}

/// Removes what would frame a body where there is none (RFC 9110, 8.6; RFC 9112, 6.1). A 304 keeps the
/// length of what it stands for.
fn frame_by_status(answer: &mut ResponseHeader) {
    let bodiless = answer.status.is_informational() || answer.status == StatusCode::NO_CONTENT;
    if bodiless {
        answer.remove_header(&CONTENT_LENGTH);
    }
    if bodiless || answer.status == StatusCode::NOT_MODIFIED {
        answer.remove_header(&TRANSFER_ENCODING);
    }
}

/// Fields that frame or date the message: naming them in `Connection` is a fault, not a wish.
fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length" | "transfer-encoding" | "date" | "content-type" | "close" | "host"
    )
}

/// The cookie that gives a visitor an id.
pub(crate) fn assign(answer: &mut ResponseHeader, assign: &Assign, id: VisitorId) -> Result<()> {
    let same_site = match assign.same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let secure = if assign.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{}={}; Max-Age={}; Path={}; SameSite={same_site}; HttpOnly{secure}",
        assign.cookie,
        id.as_str(),
        assign.max_age.0.as_secs(),
        assign.path
    );
    let value = HeaderValue::from_str(&cookie).map_err(|e| {
        Error::because(ErrorType::InternalError, "an assigned cookie is not a header value", e)
    })?;
    answer.append_header(SET_COOKIE, value)?;
    Ok(())
}

#[cfg(test)]
mod tests;
