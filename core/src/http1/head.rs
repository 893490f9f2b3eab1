//! A request head, checked before anything else looks at it.
//!
//! Pure: bytes in, verdict out. The rules are RFC 9112's, taken strictly: what two parsers could
//! read in two ways is refused here with a 400, so that no upstream ever sees it. The gateway
//! parses the same bytes again; the two cannot disagree on what is let through. Next: the data
//! plane's connection hands the head to the gateway.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr_iter, memchr2_iter, memmem};

use super::framing::{Chunks, Framing};
use crate::request::fields::{Line, Lines, place};

/// A head may have this many fields.
pub const MAX_FIELDS: usize = 128;
const MAX_METHOD: usize = 32;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status to answer.
    pub status: u16,
    /// What is wrong, for the client and the log.
    pub why: &'static str,
}

/// Refused with a 400.
pub const fn bad(why: &'static str) -> Refused {
    Refused { status: 400, why }
}

/// What the connection must know of a good head.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its length in bytes, with the empty line.
    pub length: usize,
    /// Where in it the target is.
    pub target: Range<usize>,
    /// Whether it is of HTTP/1.1, and not of 1.0.
    pub is_http_11: bool,
    /// Its fields.
    pub lines: Lines,
    /// What follows it.
    pub body: Framing,
}

/// The end of the head in `bytes`, if it is there; `from` is how far earlier calls have looked.
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    /// Made once: a head is shorter than what it takes to make a finder.
    static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));
    let from = from.saturating_sub(3);
    END.find(&bytes[from..]).map(|at| from + at + 4)
}

/// Whether a line in `bytes` ends with a bare LF: such a head is refused at once, complete or not.
pub fn has_bare_lf(bytes: &[u8], from: usize) -> bool {
    memchr_iter(b'\n', &bytes[from..])
        .any(|at| (from + at).checked_sub(1).is_none_or(|at| bytes[at] != b'\r'))
}

/// Checks a head that ends at `bytes.len()`.
pub fn check(bytes: &[u8]) -> Result<Head, Refused> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the request head is not complete")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused { status: 431, why: "the request has too many header fields" });
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            return Err(Refused { status: 505, why: "the HTTP version is not supported" });
        }
        Err(_) => return Err(bad("the request head is malformed")),
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let is_http_11 = request.version == Some(1);
    check_lines(bytes)?;
    check_method(method)?;
    check_target(method, target)?;
    check_host(request.headers, target, is_http_11)?;
    let body = body_of(request.headers, is_http_11)?;
    if method == "TRACE" && !body.is_done() {
        return Err(bad("TRACE has no body"));
    }
    let line = |field: &httparse::Header<'_>| Line::of(bytes, field.name.as_bytes(), field.value);
    let lines = request.headers.iter().map(line).collect();
    Ok(Head { length: bytes.len(), target: place(bytes, target.as_bytes()), is_http_11, lines, body })
}

/// Whether the request line has three parts, the last of them an HTTP version, known or not.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|b| *b == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(_), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// No line folding, and no CR but before LF. (LF alone was refused while reading.)
fn check_lines(bytes: &[u8]) -> Result<(), Refused> {
    for at in memchr2_iter(b'\r', b'\n', bytes) {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(after)) if *after != b'\n' => return Err(bad("a carriage return stands alone")),
            (b'\n', Some(b' ' | b'\t')) => return Err(bad("a header line is folded")),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the method is one that can be served; any token is.
pub fn check_method(method: &str) -> Result<(), Refused> {
    if method.len() > MAX_METHOD {
        return Err(Refused { status: 501, why: "the method is not known" });
    }
    if method == "CONNECT" {
        return Err(Refused { status: 405, why: "CONNECT is not served here" });
    }
    Ok(())
}

/// Whether the target is a path, a whole URL, or `*` where that may be.
pub fn check_target(method: &str, target: &str) -> Result<(), Refused> {
    if !target.bytes().all(|b| {
        (0x21..=0x7e).contains(&b)
            && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    }) {
        return Err(bad("the request target has a character that must be percent-encoded"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    match authority(target) {
        Some(authority) if is_host(authority) && !authority.is_empty() => Ok(()),
        _ => Err(bad("the request target is neither a path nor a whole URL")),
    }
}

/// The authority of a target in absolute form.
pub fn authority(target: &str) -> Option<&str> {
    let scheme = if target.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://")) {
        7
    } else if target.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("https://")) {
        8
    } else {
        return None;
    };
    let rest = &target[scheme..];
    Some(&rest[..rest.find(['/', '?']).unwrap_or(rest.len())])
}

fn check_host(fields: &[httparse::Header<'_>], target: &str, is_http_11: bool) -> Result<(), Refused> {
    let mut hosts = named(fields, "host");
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("the request has more than one Host"));
    }
    let Some(host) = first else {
        return if is_http_11 { Err(bad("the request has no Host")) } else { Ok(()) };
    };
    let host = std::str::from_utf8(host).ok().filter(|h| is_host(h)).ok_or(bad("the Host is malformed"))?;
    match authority(target) {
        // To the letter: a parser behind this one that compares them does so, too.
        Some(authority) if authority != host => Err(bad("the Host differs from the request target's")),
        _ => Ok(()),
    }
}

/// Whether `text` is a host with an optional port (RFC 3986, 3.2.2), without user information.
pub fn is_host(text: &str) -> bool {
    let (host, port) = if let Some(v6) = text.strip_prefix('[') {
        let Some((inside, after)) = v6.split_once(']') else { return false };
        if inside.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => ("", port),
            None => return after.is_empty(),
        }
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let host_fits = host.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    });
    let port_fits =
        port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    host_fits && host.len() <= 255 && port_fits
}

/// How the body is framed; what could be read in two ways is refused.
fn body_of(fields: &[httparse::Header<'_>], is_http_11: bool) -> Result<Framing, Refused> {
    let mut lengths = named(fields, "content-length");
    let mut codings = named(fields, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if length.is_some() && coding.is_some() {
        return Err(bad("the request has both Content-Length and Transfer-Encoding"));
    }
    if lengths.next().is_some() || codings.next().is_some() {
        return Err(bad("Content-Length or Transfer-Encoding is repeated"));
    }
    if let Some(coding) = coding {
        if !is_http_11 {
            return Err(bad("Transfer-Encoding needs HTTP/1.1"));
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Refused { status: 501, why: "the only transfer coding known is chunked" });
        }
        return Ok(Framing::Chunked(Chunks::new()));
    }
    match length.map(parse_length) {
        Some(None) => Err(bad("the Content-Length is not a number")),
        Some(Some(length)) if length > 0 => Ok(Framing::Length(length)),
        _ => Ok(Framing::Done),
    }
}

/// A Content-Length: digits, and at most 18 of them, so that no sum of two overflows.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

fn named<'a>(fields: &'a [httparse::Header<'_>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
}

#[cfg(test)]
mod tests;
