//! Heads as bytes: where their parts are, and how they are written.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

/// Where a part of a head is in it. An empty part may be a slice of nowhere, and has no place.
pub(super) fn place(head: &[u8], part: &[u8]) -> Range<usize> {
    let at = if part.is_empty() { 0 } else { part.as_ptr().addr() - head.as_ptr().addr() };
    at..at + part.len()
}

/// Writes a field.
pub(super) fn put(bytes: &mut BytesMut, name: &[u8], value: &[u8]) {
    bytes.put_slice(name);
    bytes.put_slice(b": ");
    bytes.put_slice(value);
    bytes.put_slice(b"\r\n");
}
