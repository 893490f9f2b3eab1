//! HTTP/1.1 messages as both ends of a case read them: strictly, and to the byte.
//!
//! What the proxy sends in either direction must be framed in one way only, so a reader that could be
//! fooled would hide just what the cases are for: two lengths, a length beside chunks, a folded line or a
//! bare line end make a message [`Parsed::Broken`].

use std::fmt;

use crate::notation::shown;

/// What bytes come to.
pub(crate) enum Parsed {
    /// A message, and how many bytes it has.
    Whole(Message, usize),
    /// The beginning of one, with its status (0 for a request) when its head is there.
    Part(Option<u16>),
    /// No message, and none with more bytes either.
    Broken(String),
}

/// What is read, for what the message itself does not say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    /// The answer to a HEAD request.
    HeadAnswer,
    /// Any other answer; true when the connection has ended.
    Answer(bool),
}

/// A message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The first line, without its end.
    pub(crate) line: String,
    /// In the order and spelling of the wire.
    pub(crate) fields: Vec<(String, String)>,
    /// Without chunks.
    pub(crate) body: Vec<u8>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.line)?;
        for (name, value) in &self.fields {
            write!(f, " {name}: {value:?}")?;
        }
        write!(f, " and {:?}", shown(&self.body))
    }
}

impl Message {
    /// The values of all fields of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let own = self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// The status of an answer; 0 for anything else.
    pub(crate) fn status(&self) -> u16 {
        let word = self.line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// Reads the first message of `bytes`.
pub(crate) fn parse(bytes: &[u8], kind: Kind) -> Parsed {
    let Some(at) = find(bytes, b"\r\n\r\n") else { return Parsed::Part(None) };
    let mut message = match head(&bytes[..at]) {
        Ok(message) => message,
        Err(why) => return Parsed::Broken(why),
    };
    let start = at + 4;
    let body = &bytes[start..];
    let taken = match framing(&message, kind) {
        Err(why) => return Parsed::Broken(why),
        Ok(Framing::Length(length)) if body.len() < length => None,
        Ok(Framing::Length(length)) => Some((body[..length].to_vec(), length)),
        Ok(Framing::UntilClose) if kind == Kind::Answer(true) => Some((body.to_vec(), body.len())),
        Ok(Framing::UntilClose) => None,
        Ok(Framing::Chunked) => match chunks(body) {
            Ok(taken) => taken,
            Err(why) => return Parsed::Broken(why),
        },
    };
    let Some((body, length)) = taken else { return Parsed::Part(Some(message.status())) };
    message.body = body;
    Parsed::Whole(message, start + length)
}

fn head(bytes: &[u8]) -> Result<Message, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("a line without a colon: {line:?}"))?;
        let of_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(of_token) || value.contains(['\r', '\n', '\0']) {
            return Err(format!("not a header line: {line:?}"));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Message { line, fields, body: Vec::new() })
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

fn framing(message: &Message, kind: Kind) -> Result<Framing, String> {
    let (lengths, codings) = (message.all("content-length"), message.all("transfer-encoding"));
    let status = message.status();
    let bodiless = kind == Kind::HeadAnswer || matches!(status, 100..200 | 204 | 304);
    match (lengths.as_slice(), codings.as_slice()) {
        ([_, ..], [_, ..]) => Err("both Content-Length and Transfer-Encoding".to_owned()),
        ([_, _, ..], _) | (_, [_, _, ..]) => Err("a repeated length or coding".to_owned()),
        ([], [coding]) if !coding.eq_ignore_ascii_case("chunked") => Err(format!("coding {coding:?}")),
        ([], [_]) if kind != Kind::HeadAnswer && bodiless => Err(format!("a coding in a {status}")),
        _ if kind != Kind::Request && bodiless => Ok(Framing::Length(0)),
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| format!("length {length:?}"))
        }
        ([length], []) => Err(format!("length {length:?}")),
        ([], [_]) => Ok(Framing::Chunked),
        ([], []) if kind == Kind::Request => Ok(Framing::Length(0)),
        ([], []) => Ok(Framing::UntilClose),
    }
}

/// The data of a chunked body and the body's length on the wire; none while it is not complete.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let size = usize::from_str_radix(&line, 16).map_err(|_| format!("chunk size {line:?}"))?;
        at += end + 2;
        if size == 0 {
            return trailers(bytes, at).map(|end| end.map(|end| (data, end)));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end".to_owned());
        }
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

/// Where the trailer section ends; there is to be nothing in it.
fn trailers(bytes: &[u8], at: usize) -> Result<Option<usize>, String> {
    match bytes[at..].get(..2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(at + 2)),
        Some(_) => Err("trailers, which are dropped on the way from or to HTTP/1.1".to_owned()),
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
