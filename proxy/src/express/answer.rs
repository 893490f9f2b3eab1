//! An answer's head, from the upstream's bytes and to the client's.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tidegate_core::http1::framing::{Chunks, Framing};
use tidegate_core::http1::head::parse_length;

/// An answer may have this many fields.
const MAX_FIELDS: usize = 256;

/// A head that is complete.
pub(super) struct Parsed {
    pub(super) head: ResponseHeader,
    /// In bytes, as it came.
    pub(super) length: usize,
}

/// A head that is ready for the client.
pub(super) struct Begun {
    pub(super) bytes: BytesMut,
    pub(super) framing: Framing,
    /// The upstream keeps its connection.
    pub(super) is_kept: bool,
}

/// Reads a head; `None` while it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let mut config = httparse::ParserConfig::default();
    // What is no danger to whoever reads what we write; pingora reads it so, too.
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let length = match config.parse_response(&mut parsed, bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            let shown = bytes[..bytes.len().min(200)].escape_ascii().to_string();
            return Err(Error::because(ErrorType::InvalidHTTPHeader, shown, error));
        }
    };
    let shared = Bytes::copy_from_slice(&bytes[..length]);
    let slice = |part: &[u8]| {
        if part.is_empty() {
            return Bytes::new();
        }
        let at = part.as_ptr() as usize - bytes.as_ptr() as usize;
        shared.slice(at..at + part.len())
    };
    let mut head = ResponseHeader::build(parsed.code.unwrap_or_default(), Some(parsed.headers.len() + 4))?;
    head.set_version(if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 });
    head.set_reason_phrase(parsed.reason)?;
    for field in parsed.headers.iter() {
        let name = slice(field.name.as_bytes());
        head.append_header(name, pingora_http::header_value_from_raw(slice(field.value)))?;
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        // It stands above a length (RFC 9112, 6.3).
        head.remove_header(&CONTENT_LENGTH);
    }
    Ok(Some(Parsed { head, length }))
}

/// Whether the upstream keeps its connection (RFC 9112, 9.3).
pub(super) fn keeps_connection(head: &ResponseHeader) -> bool {
    let mut options = head.headers.get_all(CONNECTION).iter();
    head.version == Version::HTTP_11
        && !options.any(|line| {
            line.as_bytes()
                .split(|b| *b == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        })
}

/// How the upstream frames an answer's body (RFC 9112, 6.3).
pub(super) fn framing(head: &ResponseHeader, answers_head: bool) -> Framing {
    if answers_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Framing::Done;
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Framing::Chunked(Chunks::new());
    }
    match head.headers.get(CONTENT_LENGTH).and_then(|length| parse_length(length.as_bytes())) {
        Some(0) => Framing::Done,
        Some(length) => Framing::Length(length),
        None => Framing::Rest,
    }
}

/// Tells whether the connection stays, and what only the sender knows.
pub(super) fn tell(head: &mut ResponseHeader, framing: &Framing, closes: bool) -> Result<()> {
    if matches!(framing, Framing::Rest) {
        // The end of the upstream's connection ends the body, and here a chunk does.
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    if !head.headers.contains_key(DATE) {
        // RFC 9110, 6.6.1: whoever passes an answer on adds what it lacks.
        head.insert_header(DATE, get_cached_date())?;
    }
    head.insert_header(CONNECTION, if closes { "close" } else { "keep-alive" })
}

/// As it goes over the wire.
pub(super) fn written(head: &ResponseHeader) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(1024);
    bytes.put_slice(b"HTTP/1.1 ");
    bytes.put_slice(head.status.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    bytes.put_slice(b"\r\n");
    head.header_to_h1_wire(&mut bytes);
    bytes.put_slice(b"\r\n");
    bytes
}
