//! Buffers to read into, kept by each thread for its next exchange: an idle connection holds none, and a busy one
//! need not ask the allocator for one with each request.

use std::cell::RefCell;

use bytes::BytesMut;

/// Kept at most, by each thread.
const MAX_KEPT: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, of whatever capacity.
pub(crate) fn take() -> BytesMut {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a buffer that is not needed any more. What is in it is forgotten.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    // A thread that ends has no use for it.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < MAX_KEPT && buffer.capacity() > 0 {
            kept.push(buffer);
        }
    });
}
