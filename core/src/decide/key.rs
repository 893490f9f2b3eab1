//! What identifies the user of a request: the first of a split's key sources that has something.
//!
//! Keys are borrowed from the request where they stand in it as they are, so that neither a long
//! cookie nor a long header is copied. The stage around it is [`super::decide`].

use std::fmt::Write as _;

use smallvec::SmallVec;

use crate::pick::Entropy;
use crate::request::{Bytes, RequestView, cookie, query_parameter};
use crate::snapshot::{Key, Split};

/// A key's bytes.
#[derive(Clone, Debug)]
pub enum KeyBytes<'r> {
    /// As they stand in the request.
    Borrowed(&'r [u8]),
    /// Decoded, or made.
    Owned(Bytes),
}

impl std::ops::Deref for KeyBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// The id given to a visitor without a key: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitorId([u8; 32]);

impl VisitorId {
    pub(super) fn new(entropy: &mut Entropy) -> Self {
        let (high, low) = (entropy.next_u64(), entropy.next_u64());
        let digit = |at: u32| {
            let word = if at < 16 { high } else { low };
            let nibble = u32::try_from((word >> ((at % 16) * 4)) & 0xf).unwrap_or(0);
            char::from_digit(nibble, 16).map_or(b'0', |c| c as u8)
        };
        let mut at = 0;
        Self([(); 32].map(|()| {
            at += 1;
            digit(at - 1)
        }))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Where a request's key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The split's key source of this place.
    Source(usize),
    /// The cookie of an id given before.
    AssignedBefore,
    /// An id given with this answer.
    Assigned(VisitorId),
}

/// The request's key under a split, and where it came from.
pub(super) fn find_key<'r>(
    split: &Split,
    request: &RequestView<'r>,
    entropy: &mut Entropy,
) -> (Option<KeyBytes<'r>>, Option<KeyOrigin>) {
    for (place, source) in split.key.iter().enumerate() {
        if let Some(key) = key_from(source, request) {
            return (Some(key), Some(KeyOrigin::Source(place)));
        }
    }
    let Some(assign) = &split.assign else { return (None, None) };
    match cookie(request.headers, &assign.cookie) {
        Some(id) if !id.is_empty() => (Some(KeyBytes::Borrowed(id)), Some(KeyOrigin::AssignedBefore)),
        _ => {
            let id = VisitorId::new(entropy);
            (
                Some(KeyBytes::Owned(SmallVec::from_slice(id.as_str().as_bytes()))),
                Some(KeyOrigin::Assigned(id)),
            )
        }
    }
}

/// The key that a source has, unless it is empty.
pub fn key_from<'r>(source: &Key, request: &RequestView<'r>) -> Option<KeyBytes<'r>> {
    let key = match source {
        Key::Header(name) => KeyBytes::Borrowed(request.headers.first(name)?),
        Key::Cookie(name) => KeyBytes::Borrowed(cookie(request.headers, name)?),
        Key::Query(name) => KeyBytes::Owned(query_parameter(request.query?, name)?),
        Key::ClientIp => KeyBytes::Owned(address_text(request.client)),
    };
    (!key.is_empty()).then_some(key)
}

/// An address as text, without an allocation.
fn address_text(address: std::net::IpAddr) -> Bytes {
    struct Text(Bytes);
    impl std::fmt::Write for Text {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let mut text = Text(Bytes::new());
    // Writing to memory does not fail.
    let _ = write!(text, "{}", address.to_canonical());
    text.0
}
