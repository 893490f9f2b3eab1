//! A request's head, from the client's bytes and to the upstream's.
//!
//! It is decided about, and nearly always sent on, from the bytes that came: no map of its fields is made, and
//! names keep their spelling. A map is made where the route does more with a head than to pass it on.

use std::convert::Infallible;
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora_core::Result;
use pingora_http::RequestHeader;
use tidegate_core::http1::head::Head;
use tidegate_core::request::fields::{Fields, Lines, place, text};

use super::wire::put;
use crate::gateway::Asked;
use crate::headers::{OWN, Own};

/// A target that is longer has no place in a map.
const MAX_TARGET_BYTES: usize = 32 << 10;
/// Room in a head for what Tidegate adds to it.
const ROOM_BYTES: usize = 512;
/// Room in a map for fields of Tidegate's own.
const ROOM_FIELDS: usize = 8;

/// A head as it came, and where its parts are in it.
pub(super) struct Came {
    bytes: Bytes,
    method: Method,
    target: Range<usize>,
    lines: Lines,
    /// The client asks for the connection's end.
    pub(super) closes: bool,
}

impl Came {
    /// Takes a head that has been checked; `None` = it is not plain.
    pub(super) fn read(bytes: &[u8], head: &Head) -> Option<Self> {
        let target = &bytes[head.target.clone()];
        let fits = head.is_http_11 && target.starts_with(b"/") && target.len() <= MAX_TARGET_BYTES;
        let mut closes = false;
        for line in head.lines.iter().filter(|_| fits) {
            match Wish::of(line.name(bytes), line.value(bytes)) {
                Wish::None => {}
                Wish::Close => closes = true,
                Wish::Unknown => return None,
            }
        }
        let method = Method::from_bytes(bytes[..head.target.start].trim_ascii_end()).ok().filter(|_| fits)?;
        Some(Self {
            bytes: Bytes::copy_from_slice(bytes),
            method,
            target: head.target.clone(),
            lines: head.lines.clone(),
            closes,
        })
    }

    /// The head as it came.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// What is asked for.
    pub(super) fn asked(&self) -> Asked<'_> {
        let target = text(&self.bytes[self.target.clone()]).unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let fields = Fields::Head { bytes: &self.bytes, lines: &self.lines };
        let authority = fields.first(&HOST).and_then(text).unwrap_or_default();
        // gRPC is spoken over HTTP/2 only.
        Asked { method: &self.method, authority, path, query, fields, is_grpc: false }
    }

    /// Its fields as a map, in lower case.
    pub(super) fn head(&self) -> Option<RequestHeader> {
        let target = &self.bytes[self.target.clone()];
        let room = self.lines.len() + ROOM_FIELDS;
        self.fill(RequestHeader::build_no_case(self.method.clone(), target, Some(room)).ok()?)
    }

    /// Its fields as a map that remembers how their names are spelt.
    fn head_with_case(&self) -> Option<RequestHeader> {
        let target = &self.bytes[self.target.clone()];
        let room = self.lines.len() + ROOM_FIELDS;
        self.fill(RequestHeader::build(self.method.clone(), target, Some(room)).ok()?)
    }

    fn fill(&self, mut head: RequestHeader) -> Option<RequestHeader> {
        head.set_version(Version::HTTP_11);
        let part = |part: &[u8]| self.bytes.slice(place(&self.bytes, part));
        for line in &self.lines {
            let value = HeaderValue::from_maybe_shared(part(line.value(&self.bytes))).ok()?;
            head.append_header(part(line.name(&self.bytes)), value).ok()?;
        }
        Some(head)
    }

    /// As it goes to the upstream, where nothing is done with it but what each head gets.
    pub(super) fn written(&self, own: &Own<'_>, is_chunked: bool) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(self.bytes.len() + ROOM_BYTES);
        bytes.put_slice(&self.bytes[..self.target.end]);
        bytes.put_slice(b" HTTP/1.1\r\n");
        for line in &self.lines {
            let name = line.name(&self.bytes);
            if !is_of_connection(name) && (!is_own(name) || own.passes(name)) {
                put(&mut bytes, name, line.value(&self.bytes));
            }
        }
        let Ok(()) = own.add(|name, value| {
            put(&mut bytes, name.as_str().as_bytes(), value);
            Ok::<_, Infallible>(())
        });
        if is_chunked {
            put(&mut bytes, b"transfer-encoding", b"chunked");
        }
        bytes.put_slice(b"\r\n");
        bytes
    }

    /// As [`Self::written`], where the route may change any field: `ready` readies the map.
    pub(super) fn written_with(
        &self,
        is_chunked: bool,
        ready: impl FnOnce(&mut RequestHeader) -> Result<()>,
    ) -> Result<Option<BytesMut>> {
        let Some(mut head) = self.head_with_case() else { return Ok(None) };
        for name in [CONNECTION, TRANSFER_ENCODING] {
            head.remove_header(&name);
        }
        ready(&mut head)?;
        if is_chunked {
            head.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        let mut bytes = BytesMut::with_capacity(self.bytes.len() + ROOM_BYTES);
        bytes.put_slice(head.method.as_str().as_bytes());
        bytes.put_u8(b' ');
        bytes.put_slice(head.raw_path());
        bytes.put_slice(b" HTTP/1.1\r\n");
        head.header_to_h1_wire(&mut bytes);
        bytes.put_slice(b"\r\n");
        Ok(Some(bytes))
    }
}

/// What a field asks of the connection.
enum Wish {
    None,
    Close,
    /// What the lane does not know.
    Unknown,
}

impl Wish {
    fn of(name: &[u8], value: &[u8]) -> Self {
        /// Fields that concern a connection, or ask for what the lane does not know.
        const UNKNOWN: [&[u8]; 9] = [
            b"upgrade",
            b"expect",
            b"te",
            b"trailer",
            b"keep-alive",
            b"proxy-connection",
            b"proxy-authorization",
            b"http2-settings",
            b"max-forwards",
        ];
        if name.eq_ignore_ascii_case(b"connection") {
            return match value {
                value if value.eq_ignore_ascii_case(b"keep-alive") => Self::None,
                value if value.eq_ignore_ascii_case(b"close") => Self::Close,
                _ => Self::Unknown,
            };
        }
        if UNKNOWN.iter().any(|own| own.eq_ignore_ascii_case(name)) { Self::Unknown } else { Self::None }
    }
}

/// Whether whoever sends a head says it anew.
fn is_of_connection(name: &[u8]) -> bool {
    [&b"connection"[..], b"transfer-encoding"].iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether Tidegate has the last word on it.
fn is_own(name: &[u8]) -> bool {
    OWN.iter().any(|own| own.as_str().as_bytes().eq_ignore_ascii_case(name))
}
