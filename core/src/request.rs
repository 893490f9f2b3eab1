//! What a decision may know of a request: borrowed parts, already normalised.
//!
//! The proxy and `explain` both make a [`RequestView`]; nothing downstream of it looks at raw bytes
//! again, so the path that is matched is the path that is sent on. Next stage: [`crate::route`].

pub mod fields;

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{COOKIE, HeaderName};
use ipnet::IpNet;
use smallvec::SmallVec;

use fields::{Fields, text};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static COOKIES: HeaderName = COOKIE;

/// A key or a value taken from a request; short ones live on the stack.
pub type Bytes = SmallVec<[u8; 128]>;

/// A request as decisions see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The host, from [`normalise_host`].
    pub host: &'a str,
    /// The path, from [`normalise_path`].
    pub path: &'a str,
    /// What follows the `?`, undecoded.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: Fields<'a>,
    /// The client's address, from [`client_address`].
    pub client: IpAddr,
    /// Whether the connection comes from `server.trusted_proxies`.
    pub trusted: bool,
}

/// The scheme that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme of this name.
    pub fn of(name: &str) -> Self {
        if name == "https" { Self::Https } else { Self::Http }
    }

    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that it implies.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A path that no upstream must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `%` without two hexadecimal digits behind it.
    #[error("a percent sign in the path is not followed by two hexadecimal digits")]
    MalformedPercent,
    /// `%00`.
    #[error("the path contains %00")]
    Nul,
}

/// The host without port and trailing dot, in lower case.
pub fn normalise_host(host: &str) -> Cow<'_, str> {
    let bare = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(bare.to_ascii_lowercase())
    } else {
        Cow::Borrowed(bare)
    }
}

/// The path with dot segments removed (RFC 3986, 5.2.4; `%2e` is a dot), nothing else decoded.
pub fn normalise_path(path: &str) -> Result<Cow<'_, str>, BadPath> {
    check_percents(path)?;
    if !path.starts_with('/') || !path.split('/').any(|s| dots(s).is_some()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Some(2) => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            Some(_) if last => kept.push(""),
            Some(_) => {}
            None => kept.push(segment),
        }
    }
    let mut clean = String::with_capacity(path.len());
    for segment in kept {
        clean.push('/');
        clean.push_str(segment);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Ok(Cow::Owned(clean))
}

fn check_percents(path: &str) -> Result<(), BadPath> {
    let bytes = path.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        match hex_pair(bytes.get(at + 1..at + 3)) {
            None => return Err(BadPath::MalformedPercent),
            Some(0) => return Err(BadPath::Nul),
            Some(_) => {}
        }
    }
    Ok(())
}

/// 1 for a segment that is `.`, 2 for `..`, with any dot written `%2e`.
fn dots(segment: &str) -> Option<u8> {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(after) => after,
            None if rest.len() >= 3 && rest.as_bytes()[..3].eq_ignore_ascii_case(b"%2e") => &rest[3..],
            None => return None,
        };
        count += 1;
        if count > 2 {
            return None;
        }
    }
    (count > 0).then_some(count)
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let pair = pair?;
    let high = char::from(*pair.first()?).to_digit(16)?;
    let low = char::from(*pair.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// The client's address and whether the connection is from a trusted proxy.
///
/// From a trusted peer it is the last address of `X-Forwarded-For` that is not itself a trusted
/// proxy's; when all are trusted, or an entry cannot be read, the nearest one that could be.
pub fn client_address(peer: IpAddr, headers: Fields<'_>, trusted_proxies: &[IpNet]) -> (IpAddr, bool) {
    let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|net| net.contains(&address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return (peer, false);
    }
    let mut client = peer;
    for line in headers.all(&X_FORWARDED_FOR).rev() {
        for entry in text(line).unwrap_or_default().rsplit(',') {
            let Some(address) = forwarded_address(entry.trim()) else { return (client, true) };
            client = address;
            if !is_trusted(address) {
                return (client, true);
            }
        }
    }
    (client, true)
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

/// All lines of a header, joined with `,` as RFC 9110 (5.3) has it.
pub fn header_joined<'a>(headers: Fields<'a>, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.all(name);
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.push(b',');
        joined.extend_from_slice(line);
    }
    Some(Cow::Owned(joined))
}

/// The first cookie of that name, without enclosing quotes.
pub fn cookie<'a>(headers: Fields<'a>, name: &str) -> Option<&'a [u8]> {
    let crumbs = headers.all(&COOKIES).flat_map(|line| line.split(|b| *b == b';'));
    for crumb in crumbs {
        let crumb = crumb.trim_ascii();
        let Some(equals) = crumb.iter().position(|b| *b == b'=') else { continue };
        if &crumb[..equals] == name.as_bytes() {
            let value = &crumb[equals + 1..];
            let unquoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
            return Some(unquoted.unwrap_or(value));
        }
    }
    None
}

/// The first query parameter of that name, decoded; a parameter without `=` is empty.
pub fn query_parameter(query: &str, name: &str) -> Option<Bytes> {
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        decodes_to(key, name).then(|| decoded(value).collect())
    })
}

fn decodes_to(encoded: &str, name: &str) -> bool {
    decoded(encoded).eq(name.bytes())
}

/// Percent-decoding with `+` as a space; a malformed percent stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        if byte == b'%'
            && let Some(value) = hex_pair(bytes.get(at + 1..at + 3))
        {
            at += 3;
            return Some(value);
        }
        at += 1;
        Some(if byte == b'+' { b' ' } else { byte })
    })
}

#[cfg(test)]
mod tests;
