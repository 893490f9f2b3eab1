//! A request's head, from the client's bytes and to the upstream's.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Version;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use pingora_core::Result;
use pingora_http::RequestHeader;
use tidegate_core::http1::head::MAX_FIELDS;

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

/// Reads a head that has been checked; `None` = it is not plain.
pub(super) fn parse(bytes: &Bytes) -> Option<RequestHeader> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let is_complete =
        parsed.parse_with_uninit_headers(bytes, &mut fields).is_ok_and(|status| status.is_complete());
    if !is_complete || parsed.version != Some(1) || !parsed.headers.iter().all(is_plain) {
        return None;
    }
    let count = Some(parsed.headers.len() + 8);
    let mut head = RequestHeader::build(parsed.method?, parsed.path?.as_bytes(), count).ok()?;
    head.set_version(Version::HTTP_11);
    for field in parsed.headers.iter() {
        let name = bytes.slice_ref(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        head.append_header(name, value).ok()?;
    }
    Some(head)
}

fn is_plain(field: &httparse::Header<'_>) -> bool {
    if field.name.eq_ignore_ascii_case("connection") {
        let value = field.value.trim_ascii();
        return value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close");
    }
    !NOT_PLAIN.iter().any(|name| field.name.eq_ignore_ascii_case(name))
}

/// Removes what concerns the client's connection.
pub(super) fn strip(head: &mut RequestHeader) {
    head.remove_header(&CONNECTION);
    head.remove_header(&TRANSFER_ENCODING);
}

/// As it goes over the wire.
pub(super) fn written(head: &mut RequestHeader, is_chunked: bool) -> Result<BytesMut> {
    if is_chunked {
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    let mut bytes = BytesMut::with_capacity(1024);
    bytes.put_slice(head.method.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(head.raw_path());
    bytes.put_slice(b" HTTP/1.1\r\n");
    head.header_to_h1_wire(&mut bytes);
    bytes.put_slice(b"\r\n");
    Ok(bytes)
}
