//! How frames are written in the case files.
//!
//! A line is a frame: its name (or its type in hexadecimal), its stream, its flags. Indented lines below it
//! are its payload:
//!
//! ```text
//! HEADERS 1 end_stream end_headers
//!   :method: GET
//!   hex 82 be
//! repeat 1000
//!   PING 0
//!     zeros 8
//! ```
//!
//! `name: value` is a header field, as an HPACK literal that is never indexed; `hex`, `u8`, `u16`, `u32`,
//! `zeros` and `text` (in the notation of the other cases) are bytes. `length N` claims another length than
//! the payload has. Frames indented below `repeat` are sent so often, and `+` as their stream is a new odd
//! one in each round. `request` stands for the four fields of an ordinary GET.

use crate::notation;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NAMES: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];
/// The fields of `request`.
const REQUEST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// The bytes of a script; with the preface and an empty SETTINGS in front unless it is `bare`.
pub(super) fn bytes(text: &str, bare: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    if !bare {
        out.extend_from_slice(PREFACE);
        out.extend_from_slice(&frame(4, 0, 0, &[], None));
    }
    let mut next_stream = 1;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    block(&lines, 0, &mut next_stream, &mut out)?;
    Ok(out)
}

/// Lines indented by `depth`, and what is below them.
fn block(lines: &[&str], depth: usize, next_stream: &mut u32, out: &mut Vec<u8>) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let below = lines[at + 1..].iter().take_while(|line| indent(line) > depth).count();
        let inside = &lines[at + 1..at + 1 + below];
        let words: Vec<&str> = lines[at].split_whitespace().collect();
        match words.as_slice() {
            ["repeat", times] => {
                for _ in 0..number(times)? {
                    block(inside, depth + 2, next_stream, out)?;
                    *next_stream += 2;
                }
            }
            ["text", ..] => out.extend(notation::bytes(&lines[at].trim_start()[5..])?),
            ["preface"] => out.extend_from_slice(PREFACE),
            [name, stream, flags @ ..] => {
                let stream = if *stream == "+" { *next_stream } else { number(stream)? };
                out.extend(written(name, stream, flags, inside)?);
            }
            _ => return Err(format!("not a frame: {}", lines[at])),
        }
        at += 1 + below;
    }
    Ok(())
}

fn written(name: &str, stream: u32, flags: &[&str], inside: &[&str]) -> Result<Vec<u8>, String> {
    let kind = match NAMES.iter().position(|one| *one == name) {
        Some(kind) => u8::try_from(kind).unwrap(),
        None => u8::from_str_radix(name, 16).map_err(|_| format!("not a frame: {name}"))?,
    };
    let (mut payload, mut length) = (Vec::new(), None);
    for line in inside {
        match line.trim().split_once(' ') {
            Some(("length", claimed)) => length = Some(number(claimed)?),
            _ => payload.extend(piece(line.trim())?),
        }
    }
    let flags = flags.iter().map(|flag| bit(flag)).collect::<Result<Vec<u8>, String>>()?;
    Ok(frame(kind, flags.iter().fold(0, |all, one| all | one), stream, &payload, length))
}

fn bit(flag: &str) -> Result<u8, String> {
    match flag {
        "end_stream" | "ack" => Ok(0x1),
        "end_headers" => Ok(0x4),
        "padded" => Ok(0x8),
        "priority" => Ok(0x20),
        _ => Err(format!("not a flag: {flag}")),
    }
}

/// A piece of a payload.
fn piece(line: &str) -> Result<Vec<u8>, String> {
    match line.split_once(' ') {
        Some(("hex", digits)) => digits
            .split_whitespace()
            .map(|pair| u8::from_str_radix(pair, 16).map_err(|_| format!("not hexadecimal: {pair}")))
            .collect(),
        Some(("u8", value)) => Ok(vec![u8::try_from(number(value)?).map_err(|e| e.to_string())?]),
        Some(("u16", value)) => {
            Ok(u16::try_from(number(value)?).map_err(|e| e.to_string())?.to_be_bytes().to_vec())
        }
        Some(("u32", value)) => Ok(number(value)?.to_be_bytes().to_vec()),
        Some(("zeros", count)) => Ok(vec![0; number(count)? as usize]),
        Some(("text", text)) => notation::bytes(text),
        _ if line == "request" => {
            Ok(REQUEST.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect())
        }
        _ => {
            // The colon of a pseudo-header is no end of its name; an empty value needs no space.
            let at = line
                .get(1..)
                .and_then(|rest| rest.find(": ").or_else(|| rest.strip_suffix(':').map(str::len)));
            let at = at.ok_or_else(|| format!("not a payload: {line}"))?;
            let (name, value) = (&line[..=at], line[at + 2..].trim_start());
            Ok(field(&notation::bytes(name)?, &notation::bytes(value)?))
        }
    }
}

/// A field that is never indexed, its strings as they are (RFC 7541, 6.2.3).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0x10];
    for string in [name, value] {
        length(string.len(), &mut out);
        out.extend_from_slice(string);
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(mut value: usize, out: &mut Vec<u8>) {
    const MOST: usize = 127;
    if value < MOST {
        return out.push(u8::try_from(value).unwrap());
    }
    out.push(127);
    value -= MOST;
    while value >= 128 {
        out.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap());
}

/// A frame (RFC 9113, 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], length: Option<u32>) -> Vec<u8> {
    let length = length.unwrap_or_else(|| u32::try_from(payload.len()).unwrap());
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The frame of an ordinary GET of this path.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = REQUEST.iter().flat_map(|(name, value)| {
        let value = if *name == ":path" { path } else { value };
        field(name.as_bytes(), value.as_bytes())
    });
    frame(1, 0x5, stream, &fields.collect::<Vec<u8>>(), None)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("not a number: {text}"))
}

#[test]
fn scripts_become_frames() {
    let script =
        "WINDOW_UPDATE 0\n  u32 5\nHEADERS 3 end_headers\n  a: b\n  hex 82\nrepeat 2\n  PING +\n    zeros 1";
    let expected = [
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5][..],
        &[0, 0, 6, 1, 4, 0, 0, 0, 3, 0x10, 1, b'a', 1, b'b', 0x82],
        &[0, 0, 1, 6, 0, 0, 0, 0, 1, 0],
        &[0, 0, 1, 6, 0, 0, 0, 0, 3, 0],
    ];
    assert_eq!(bytes(script, true), Ok(expected.concat()));
    for wrong in ["NOTHING 1", "PING", "PING 0 loud", "PING 0\n  nothing", "PING 0\n  u8 256"] {
        assert!(bytes(wrong, true).is_err(), "{wrong}");
    }
}
