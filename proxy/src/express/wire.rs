//! Messages as bytes: how fields and chunks are written.

use std::io::Write as _;

use bytes::{BufMut as _, BytesMut};
use tidegate_core::http1::framing::Framing;

/// What ends a body of chunks without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes a field.
pub(super) fn put(bytes: &mut BytesMut, name: &[u8], value: &[u8]) {
    bytes.put_slice(name);
    bytes.put_slice(b": ");
    bytes.put_slice(value);
    bytes.put_slice(b"\r\n");
}

/// Decodes chunks and writes what they hold as one chunk, and the last one behind it if it has come; how much
/// was taken, and how much of it is content. `None` = they break the grammar.
pub(super) fn chunk(framing: &mut Framing, bytes: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    let mut content = 0;
    let mut counted = *framing;
    let taken = counted.take_data(bytes, |part| content += part.len()).ok()?;
    out.reserve(content + 32);
    if content > 0 {
        // Memory does not fail to be written to.
        let _ = write!(out.writer(), "{content:x}\r\n");
        framing.take_data(&bytes[..taken], |part| out.extend_from_slice(part)).ok()?;
        out.extend_from_slice(b"\r\n");
    }
    *framing = counted;
    if framing.is_done() {
        out.extend_from_slice(LAST_CHUNK);
    }
    Some((taken, content))
}
