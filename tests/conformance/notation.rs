//! How bytes are written in the case files, so that a person can read a request as it goes over the wire.
//!
//! A line break of the text is CRLF. `\r`, `\n`, `\t`, `\\` and `\xHH` are single bytes, a backslash at the
//! end of a line is nothing, and `\{piece*1000}` is a piece a thousand times over. The rest is itself, in
//! UTF-8.

/// The bytes that a text stands for.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\n' => out.extend_from_slice(b"\r\n"),
            '\\' => rest = escape(rest, &mut out)?,
            _ => out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}

/// What follows a backslash; the text behind it.
fn escape<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut chars = rest.chars();
    let byte = match chars.next() {
        Some('\n') => return Ok(chars.as_str()),
        Some('{') => return repeat(chars.as_str(), out),
        Some('x') => {
            let digits = chars.as_str().get(..2).ok_or("\\x needs two digits")?;
            out.push(u8::from_str_radix(digits, 16).map_err(|_| format!("\\x{digits}"))?);
            return Ok(&chars.as_str()[2..]);
        }
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('\\') => b'\\',
        other => return Err(format!("unknown escape: \\{}", other.map_or(String::new(), String::from))),
    };
    out.push(byte);
    Ok(chars.as_str())
}

fn repeat<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let (inside, after) = rest.split_once('}').ok_or("\\{ without }")?;
    let (piece, times) = inside.rsplit_once('*').ok_or("\\{ without *")?;
    let times = times.parse().map_err(|_| format!("{times} times"))?;
    out.extend(bytes(piece)?.repeat(times));
    Ok(after)
}

/// Bytes as a report shows them, on one line and not too long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 400;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

#[test]
fn texts_become_bytes() {
    assert_eq!(bytes("a\nb"), Ok(b"a\r\nb".to_vec()));
    assert_eq!(bytes("a\\\nb\\r\\n\\t\\\\\\x00\\xfF"), Ok(b"ab\r\n\t\\\x00\xff".to_vec()));
    assert_eq!(bytes("<\\{ab\n*2}>"), Ok(b"<ab\r\nab\r\n>".to_vec()));
    for wrong in ["\\q", "\\x1", "\\xgg", "\\{a", "\\{a}", "\\{a*b}", "\\"] {
        assert!(bytes(wrong).is_err(), "{wrong}");
    }
}
