//! A request's head, from the client's bytes and to the upstream's.
//!
//! For deciding it becomes a map of its fields. What goes to the upstream is written from the bytes that came,
//! as far as they are passed on, so that names keep their spelling without a second map of it.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Version;
use http::header::{CONNECTION, HeaderName, HeaderValue, TRANSFER_ENCODING};
use pingora_core::Result;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use tidegate_core::http1::head::MAX_FIELDS;

use super::wire::{place, put};
use crate::headers::OWN;

/// Fields that concern a connection, or ask for what the lane does not know.
const NOT_PLAIN: [&str; 9] = [
    "upgrade",
    "expect",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
    "max-forwards",
];

/// A head as it came, and where its fields are in it.
pub(super) struct Came {
    bytes: Bytes,
    fields: SmallVec<[Field; 16]>,
}

/// Where a field's name and value are.
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Came {
    /// Reads a head that has been checked; `None` = it is not plain.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let is_complete = parsed.parse_with_uninit_headers(bytes, &mut fields).is_ok_and(|s| s.is_complete());
        if !is_complete || parsed.version != Some(1) || !parsed.headers.iter().all(is_plain) {
            return None;
        }
        let place_of = |field: &httparse::Header<'_>| Field {
            name: place(bytes, field.name.as_bytes()),
            value: place(bytes, field.value),
        };
        let fields = parsed.headers.iter().map(place_of).collect();
        Some(Self { bytes: Bytes::copy_from_slice(bytes), fields })
    }

    /// The head as it came.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its first line's method and target.
    fn line(&self) -> Option<(&[u8], &[u8])> {
        let mut words = self.bytes.split(|byte| *byte == b' ');
        Some((words.next()?, words.next()?))
    }

    /// Its fields as a map, in lower case.
    pub(super) fn head(&self) -> Option<RequestHeader> {
        let (method, target) = self.line()?;
        self.fill(RequestHeader::build_no_case(method, target, Some(self.fields.len() + ROOM)).ok()?)
    }

    /// Its fields as a map that remembers how their names are spelt.
    fn head_with_case(&self) -> Option<RequestHeader> {
        let (method, target) = self.line()?;
        self.fill(RequestHeader::build(method, target, Some(self.fields.len() + ROOM)).ok()?)
    }

    fn fill(&self, mut head: RequestHeader) -> Option<RequestHeader> {
        head.set_version(Version::HTTP_11);
        for field in &self.fields {
            let value = HeaderValue::from_maybe_shared(self.bytes.slice(field.value.clone())).ok()?;
            head.append_header(self.bytes.slice(field.name.clone()), value).ok()?;
        }
        Some(head)
    }

    /// As it goes to the upstream: `head` is its map as it is readied, whose other fields are as they came.
    pub(super) fn written(&self, head: &RequestHeader, is_chunked: bool) -> BytesMut {
        let mut bytes = begun(head, self.bytes.len() + 512);
        for Field { name, value } in &self.fields {
            let (name, value) = (&self.bytes[name.clone()], &self.bytes[value.clone()]);
            if !is_ours(name) {
                put(&mut bytes, name, value);
            }
        }
        for name in &OWN {
            for value in head.headers.get_all(name) {
                put(&mut bytes, name.as_str().as_bytes(), value.as_bytes());
            }
        }
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
        let mut bytes = begun(&head, self.bytes.len() + 512);
        head.header_to_h1_wire(&mut bytes);
        bytes.put_slice(b"\r\n");
        Ok(Some(bytes))
    }
}

/// Room in a map for fields of Tidegate's own.
const ROOM: usize = 8;

fn is_plain(field: &httparse::Header<'_>) -> bool {
    if field.name.eq_ignore_ascii_case("connection") {
        let value = field.value.trim_ascii();
        return value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close");
    }
    !NOT_PLAIN.iter().any(|name| field.name.eq_ignore_ascii_case(name))
}

/// Whether a field is not passed on as it came: it concerns the connection, or Tidegate has the last word on it.
fn is_ours(name: &[u8]) -> bool {
    let is = |own: &HeaderName| own.as_str().as_bytes().eq_ignore_ascii_case(name);
    is(&CONNECTION) || is(&TRANSFER_ENCODING) || OWN.iter().any(is)
}

fn begun(head: &RequestHeader, room: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(room);
    bytes.put_slice(head.method.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(head.raw_path());
    bytes.put_slice(b" HTTP/1.1\r\n");
    bytes
}
