//! pingora's head of a request, opened to be changed as the map that it is.
//!
//! Its own ways of adding a field copy the name twice and find it in two maps: that of the values, and that
//! of the case in which each name was written. HTTP knows no such case, so a head that was opened has only the
//! first, and its names are sent on in lower case, but for a few that pingora knows how to write.

use http::{HeaderMap, Request};
use pingora_core::Result;
use pingora_http::RequestHeader;

/// Changes the fields of a head.
pub(super) fn change(head: &mut RequestHeader, edit: impl FnOnce(&mut HeaderMap)) -> Result<()> {
    // What the parts do not keep, see `RequestHeader`'s conversions.
    let ends_stream = head.send_end_stream();
    let is_in_uri = matches!(head.raw_path(), [b'/', ..] | b"*") && head.raw_path_is_utf8();
    let target = (!is_in_uri).then(|| head.raw_path().to_vec());
    let nothing = Request::new(()).into_parts().0;
    let mut parts = http::request::Parts::from(std::mem::replace(head, nothing.into()));
    edit(&mut parts.headers);
    *head = parts.into();
    if let Some(ends) = ends_stream {
        head.set_send_end_stream(ends);
    }
    match target {
        Some(target) => head.set_raw_path(&target),
        None => Ok(()),
    }
}

/// Forgets the case of names, so that whatever follows with this head costs less.
pub(crate) fn forget_case(head: &mut RequestHeader) -> Result<()> {
    if head.has_case() { change(head, |_| ()) } else { Ok(()) }
}
