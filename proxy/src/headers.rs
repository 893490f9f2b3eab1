//! Forwarding: what is changed in heads on their way up and down (RFC 9110, 7.6; spec 3).
//!
//! pingora has already removed the hop-by-hop fields of a request when [`forward`] sees it; those
//! of answers are removed in [`back`].

mod edit;
mod open;

use std::io::Write as _;
use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;
use tidegate_core::config::{Assign, SameSite};
use tidegate_core::decide::VisitorId;
use tidegate_core::pick::Entropy;
use tidegate_core::request::fields::{Fields, text};

pub(crate) use edit::{edit_answer, edit_request};
pub(crate) use open::forget_case;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Told by some proxies; never by Tidegate, so an untrusted peer's are removed.
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Who the client of a TLS connection is, in Envoy's words.
static CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
static FORWARDED: HeaderName = header::FORWARDED;
static VIA: HeaderName = header::VIA;
static MAX_FORWARDS: HeaderName = header::MAX_FORWARDS;
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const MAX_REQUEST_ID: usize = 128;

/// All fields that Tidegate may add, change or remove on the way up.
pub(crate) static OWN: [&HeaderName; 13] = [
    &X_FORWARDED_FOR,
    &X_FORWARDED_PROTO,
    &X_FORWARDED_HOST,
    &X_FORWARDED_PORT,
    &X_FORWARDED_SERVER,
    &X_REAL_IP,
    &CLIENT_CERTIFICATE,
    &FORWARDED,
    &VIA,
    &MAX_FORWARDS,
    &X_REQUEST_ID,
    &TRACEPARENT,
    &TRACESTATE,
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
    request: Id,
    trace_parent: Id,
    /// Whether the client's `traceparent` was taken, so that its `tracestate` still fits.
    trace_kept: bool,
}

/// In visible ASCII.
type Id = SmallVec<[u8; 56]>;

impl Ids {
    /// The request's own ids where they are sound, else new ones.
    pub(crate) fn of(fields: Fields<'_>, entropy: &mut Entropy) -> Self {
        let kept = fields.first(&X_REQUEST_ID).filter(|value| is_request_id(value));
        let parent = fields.first(&TRACEPARENT).filter(|value| is_traceparent(value));
        let mut made = |begin: &[u8], numbers: &[(u64, &[u8])]| {
            let mut id = Id::from_slice(begin);
            for (set, end) in numbers {
                put_hex(&mut id, entropy.next_u64() | set);
                id.extend_from_slice(end);
            }
            id
        };
        let request = match kept {
            Some(kept) => Id::from_slice(kept),
            None => made(b"", &[(0, b""), (0, b"")]),
        };
        let trace_parent = match parent {
            Some(parent) => Id::from_slice(parent),
            // Neither of its ids may be zero.
            None => made(b"00-", &[(1, b""), (0, b"-"), (1, b"-01")]),
        };
        Self { request, trace_parent, trace_kept: parent.is_some() }
    }

    /// The request's id.
    pub(crate) fn request(&self) -> &str {
        std::str::from_utf8(&self.request).unwrap_or_default()
    }

    /// The trace's id, of 32 hexadecimal digits.
    pub(crate) fn trace(&self) -> &str {
        self.trace_parent.get(3..35).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }
}

/// Appends a number as 16 hexadecimal digits.
fn put_hex(out: &mut Id, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut written = [0; 16];
    for (pair, byte) in written.as_chunks_mut().0.iter_mut().zip(number.to_be_bytes()) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
    }
    out.extend_from_slice(&written);
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

/// What becomes of the fields of a request that Tidegate has the last word on ([`OWN`]): which pass as they
/// came, and what is added behind them. So a head can be readied as a map ([`forward`]) or as bytes.
pub(crate) struct Own<'a> {
    pub(crate) fields: Fields<'a>,
    pub(crate) method: &'a Method,
    pub(crate) origin: Origin<'a>,
    pub(crate) ids: &'a Ids,
}

/// A value that is put together.
type Joined = SmallVec<[u8; 128]>;

impl Own<'_> {
    /// Whether a field passes as it came; `name` is one of [`OWN`], in whatever case.
    pub(crate) fn passes(&self, name: &[u8]) -> bool {
        let trusted = self.origin.trusted;
        let is = |own: &HeaderName| own.as_str().as_bytes().eq_ignore_ascii_case(name);
        if [&X_FORWARDED_FOR, &FORWARDED, &X_REQUEST_ID, &TRACEPARENT].into_iter().any(is) {
            false
        } else if is(&CLIENT_CERTIFICATE) {
            trusted && self.origin.certificate.is_none()
        } else if is(&TRACESTATE) {
            self.ids.trace_kept
        } else if is(&MAX_FORWARDS) {
            max_forwards(self.method, self.fields).is_none()
        } else {
            trusted || is(&VIA)
        }
    }

    /// Says what is added, field by field.
    pub(crate) fn add<E>(
        &self,
        mut add: impl FnMut(&'static HeaderName, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Origin { peer, trusted, version, scheme, certificate } = self.origin;
        let host = self.fields.first(&HOST).unwrap_or_default();
        let mut value = Joined::new();
        if trusted {
            join(&mut value, self.fields, &X_FORWARDED_FOR);
        }
        say(&mut value, format_args!("{peer}"));
        add(&X_FORWARDED_FOR, &value)?;
        let lacks = |name| !trusted || !self.fields.contain(name);
        if lacks(&X_FORWARDED_PROTO) {
            add(&X_FORWARDED_PROTO, scheme.as_bytes())?;
        }
        if lacks(&X_FORWARDED_HOST) {
            add(&X_FORWARDED_HOST, host)?;
        }
        if let Some(certificate) = certificate {
            add(&CLIENT_CERTIFICATE, certificate.as_bytes())?;
        }
        if self.fields.contain(&FORWARDED) {
            value.clear();
            if trusted {
                join(&mut value, self.fields, &FORWARDED);
            }
            let host = text(host).unwrap_or_default();
            // An address of version 6 stands in brackets, and those within quotes (RFC 7239, 6).
            let (open, close) = if peer.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
            say(&mut value, format_args!("for={open}{peer}{close};host=\"{host}\";proto={scheme}"));
            add(&FORWARDED, &value)?;
        }
        let via = match version {
            http::Version::HTTP_10 => "1.0 tidegate",
            http::Version::HTTP_2 => "2.0 tidegate",
            _ => "1.1 tidegate",
        };
        add(&VIA, via.as_bytes())?;
        if let Some(left) = max_forwards(self.method, self.fields) {
            value.clear();
            say(&mut value, format_args!("{}", left.saturating_sub(1)));
            add(&MAX_FORWARDS, &value)?;
        }
        add(&X_REQUEST_ID, &self.ids.request)?;
        add(&TRACEPARENT, &self.ids.trace_parent)
    }
}

/// Appends the lines of a field that are text, each with a comma behind it.
fn join(out: &mut Joined, fields: Fields<'_>, name: &HeaderName) {
    for line in fields.all(name).filter_map(text) {
        say(out, format_args!("{line}, "));
    }
}

fn say(out: &mut Joined, words: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(words);
}

/// Readies a request's head for the upstream.
pub(crate) fn forward(request: &mut RequestHeader, origin: Origin<'_>, ids: &Ids) -> Result<()> {
    let own = Own { fields: (&request.headers).into(), method: &request.method, origin, ids };
    let is_dropped = |name: &&HeaderName| OWN.contains(name) && !own.passes(name.as_str().as_bytes());
    let dropped: SmallVec<[HeaderName; 4]> = request.headers.keys().filter(is_dropped).cloned().collect();
    // The values are cut from one piece.
    let mut values = BytesMut::with_capacity(512);
    let mut added = SmallVec::<[(&'static HeaderName, HeaderValue); 8]>::new();
    own.add(|name, value| {
        values.extend_from_slice(value);
        added.push((name, HeaderValue::from_maybe_shared(values.split().freeze())?));
        Ok::<_, InvalidHeaderValue>(())
    })
    .map_err(|e| Error::because(ErrorType::InternalError, "a field is no header value", e))?;
    open::change(request, |fields| {
        for name in dropped {
            fields.remove(name);
        }
        fields.reserve(added.len());
        for (name, value) in added {
            fields.append(name, value);
        }
    })
}

/// The length of the body, where the head says it.
pub(crate) fn content_length(fields: Fields<'_>) -> Option<u64> {
    text(fields.first(&CONTENT_LENGTH)?)?.parse().ok()
}

/// How many more proxies a request may pass, where it says so and that is for us to heed (RFC 9110, 7.6.2).
pub(crate) fn max_forwards(method: &Method, fields: Fields<'_>) -> Option<u64> {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return None;
    }
    let value = text(fields.first(&MAX_FORWARDS)?)?;
    value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok())?
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

/// The fields that are there and that `Connection` names, but for those that it may not.
fn nominated(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    let is = |name: &HeaderName, option: &[u8]| name.as_str().as_bytes().eq_ignore_ascii_case(option);
    connection_options(headers)
        .filter_map(|option| headers.keys().find(|name| is(name, option)))
        .filter(|name| !is_end_to_end(name))
        .cloned()
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
    let is_of_connection = |name: &&HeaderName| NEVER_BACK.contains(&name.as_str());
    let mut removed = nominated(&answer.headers);
    removed.extend(answer.headers.keys().filter(is_of_connection).cloned());
    for name in &removed {
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
