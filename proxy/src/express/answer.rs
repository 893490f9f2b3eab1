//! An answer's head, from the upstream's bytes and to the client's.

use std::mem::MaybeUninit;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;
use tidegate_core::http1::framing::{Chunks, Framing};
use tidegate_core::http1::head::parse_length;
use tidegate_core::request::fields::place;

use super::wire::put;
use crate::headers::{NEVER_BACK, asks_to_close};

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

/// A head that goes to the client as it came, but for the fields of a connection.
pub(super) struct Simple<'a> {
    pub(super) status: u16,
    /// In bytes, as it came.
    pub(super) length: usize,
    reason: &'a str,
    /// Those that are passed on.
    fields: Fields<'a>,
    framing: Framing,
    has_date: bool,
    is_kept: bool,
}

type Fields<'a> = SmallVec<[httparse::Header<'a>; 16]>;

impl<'a> Simple<'a> {
    /// Reads a head; `None` while it is not complete, and for each that is in any way out of the ordinary, so that
    /// [`parse`] says what is to become of it.
    pub(super) fn read(bytes: &'a [u8], answers_head: bool) -> Option<Self> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields).ok()?;
        let httparse::Status::Complete(length) = status else { return None };
        let (code, version) = (parsed.code.filter(|code| (200..600).contains(code))?, parsed.version?);
        let mut simple = Self {
            status: code,
            length,
            reason: parsed.reason?,
            fields: Fields::new(),
            framing: Framing::Rest,
            has_date: false,
            is_kept: version == 1,
        };
        let (mut content_length, mut coding) = (None, None);
        for field in parsed.headers.iter() {
            match Meaning::of(field.name) {
                Meaning::Connection if field.value.eq_ignore_ascii_case(b"close") => {
                    simple.is_kept = false;
                    continue;
                }
                Meaning::Connection if field.value.eq_ignore_ascii_case(b"keep-alive") => continue,
                Meaning::OfConnection => continue,
                // One that is no number is an error, whether it frames something or not.
                Meaning::Length if content_length.is_none() => {
                    content_length = Some(parse_length(field.value)?);
                }
                Meaning::Coding if coding.is_none() => coding = Some(field.value),
                // A connection's may name fields that are not to be passed on.
                Meaning::Connection | Meaning::Length | Meaning::Coding => return None,
                Meaning::Date => simple.has_date = true,
                Meaning::Other => {}
            }
            simple.fields.push(*field);
        }
        simple.framing = match (content_length, coding) {
            _ if answers_head || matches!(code, 204 | 304) => Framing::Done,
            (None, None) => Framing::Rest,
            (Some(0), None) => Framing::Done,
            (Some(length), None) => Framing::Length(length),
            (None, Some(coding)) if version == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
                Framing::Chunked(Chunks::new())
            }
            (_, Some(_)) => return None,
        };
        // What frames nothing there is not passed on.
        let is_odd = (code == 204 && content_length.is_some()) || coding.is_some() && !simple.is_chunked();
        (!is_odd).then_some(simple)
    }

    fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked(_))
    }

    /// As the client gets it.
    pub(super) fn ready(&self, closes: bool) -> Begun {
        let mut bytes = BytesMut::with_capacity(self.length + 256);
        bytes.put_slice(b"HTTP/1.1 ");
        let digits = [self.status / 100, self.status / 10 % 10, self.status % 10];
        bytes.extend(digits.map(|digit| b'0' + digit.to_le_bytes()[0]));
        bytes.put_u8(b' ');
        bytes.put_slice(self.reason.as_bytes());
        bytes.put_slice(b"\r\n");
        for field in &self.fields {
            put(&mut bytes, field.name.as_bytes(), field.value);
        }
        if matches!(self.framing, Framing::Rest) {
            bytes.put_slice(b"transfer-encoding: chunked\r\n");
        }
        if !self.has_date {
            put(&mut bytes, b"date", get_cached_date().as_bytes());
        }
        bytes.put_slice(if closes {
            b"connection: close\r\n\r\n"
        } else {
            b"connection: keep-alive\r\n\r\n"
        });
        Begun { bytes, framing: self.framing, is_kept: self.is_kept }
    }
}

/// What a field of an answer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Connection,
    /// It concerns a connection, and is never passed on.
    OfConnection,
    Length,
    Coding,
    Date,
    Other,
}

impl Meaning {
    fn of(name: &str) -> Self {
        const OTHERS: [(&str, Meaning); 4] = [
            ("date", Meaning::Date),
            ("connection", Meaning::Connection),
            ("content-length", Meaning::Length),
            ("transfer-encoding", Meaning::Coding),
        ];
        let is = |own: &&str| own.eq_ignore_ascii_case(name);
        match OTHERS.iter().find(|(own, _)| is(own)) {
            Some((_, meaning)) => *meaning,
            None if NEVER_BACK.iter().any(is) => Self::OfConnection,
            None => Self::Other,
        }
    }
}

/// Reads a head; `None` while it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // What is no danger to whoever reads what we write; pingora reads it so, too.
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            let shown = bytes[..bytes.len().min(200)].escape_ascii().to_string();
            return Err(Error::because(ErrorType::InvalidHTTPHeader, shown, error));
        }
    };
    let shared = Bytes::copy_from_slice(&bytes[..length]);
    let slice = |part: &[u8]| shared.slice(place(bytes, part));
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
    head.version == Version::HTTP_11 && !asks_to_close(&head.headers)
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
