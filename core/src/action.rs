//! What a route does with a request: send it to a split, redirect it, or answer it.
//!
//! Compiled once, so that on a request's way nothing is parsed. Stage before: [`crate::route`] finds
//! the route; next: [`crate::split`], or the proxy answers.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::config;
use crate::request::Scheme;
use crate::rewrite::NewPath;
use crate::snapshot::SplitId;

/// What a route does with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends it to a pool of this split.
    Split(SplitId),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers with something fixed.
    Respond(Respond),
}

/// Where the client is sent; absent parts stay as they were.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Scheme>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Option<NewPath>,
}

/// What a redirect starts from.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// The scheme that the request came by.
    pub scheme: Scheme,
    /// The host, from [`crate::request::normalise_host`].
    pub host: &'a str,
    /// The listener's port.
    pub port: u16,
    /// The path, from [`crate::request::normalise_path`].
    pub path: &'a str,
    /// Length of the prefix in `path` that the route matched.
    pub prefix_bytes: usize,
    /// What follows the `?`, undecoded.
    pub query: Option<&'a str>,
}

impl Redirect {
    /// Compiles what was written.
    pub fn compile(written: &config::Redirect) -> Self {
        Self {
            status: written.status,
            scheme: written.scheme.as_deref().map(Scheme::of),
            host: written.host.as_deref().map(Into::into),
            port: written.port,
            path: written.path.as_ref().map(NewPath::compile),
        }
    }

    /// The absolute URL of the `Location`; `None` when neither the route nor the request has a host.
    ///
    /// A new scheme without a port means that scheme's own port, else the listener's stays; a port
    /// that the scheme implies is not written.
    pub fn location(&self, came: &Came<'_>) -> Option<String> {
        let scheme = self.scheme.unwrap_or(came.scheme);
        let kept_port = if self.scheme.is_some() { scheme.port() } else { came.port };
        let port = self.port.unwrap_or(kept_port);
        let path = self.path.as_ref().map_or(came.path.into(), |new| new.of(came.path, came.prefix_bytes));
        let host = match &self.host {
            Some(host) => host.to_string(),
            None if came.host.is_empty() => return None,
            // The brackets were taken off when it was normalised.
            None if came.host.contains(':') => format!("[{}]", came.host),
            None => came.host.to_owned(),
        };
        let port = if port == scheme.port() { String::new() } else { format!(":{port}") };
        let mut location = format!("{}://{host}{port}", scheme.as_str());
        // The one request whose path is none is `OPTIONS *`.
        push_visible(&mut location, if path.starts_with('/') { &path } else { "/" });
        if let Some(query) = came.query {
            location.push('?');
            push_visible(&mut location, query);
        }
        Some(location)
    }
}

/// Appends a path or query, with what a URL cannot hold percent-encoded.
fn push_visible(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e if !matches!(byte, b'"' | b'<' | b'>') => url.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct Respond {
    /// The status, 200 to 599.
    pub status: u16,
    /// Headers, but for those that frame the body.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Respond {
    /// Compiles what was written; a body is plain text unless a header says what it is.
    pub fn compile(written: &config::Respond) -> Self {
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            written.headers.iter().map(|(name, value)| field(name, value)).collect();
        if !written.body.is_empty() && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")));
        }
        Self { status: written.status, headers, body: Bytes::copy_from_slice(written.body.as_bytes()) }
    }

    /// Whether an answer of this status says how long its body is (RFC 9110, 8.6).
    pub fn has_length(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// A header's name and value as they were written.
pub(crate) fn field(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    let name = name.parse().expect("validated: a header name");
    // Not `from_str`: it refuses what is not ASCII, which a value may hold.
    (name, HeaderValue::from_bytes(value.as_bytes()).expect("validated: a header value"))
}

#[cfg(test)]
mod tests;
