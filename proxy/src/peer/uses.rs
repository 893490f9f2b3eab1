//! How many exchanges use a connection, and its end when there are none.
//!
//! A connection that an exchange is about to take from the kept ones must not be closed under it to make
//! room for another. pingora does not tell which ones it keeps, but it says when an exchange has got a
//! connection, before anything is sent; the count travels with the connection for that. It is one atomic
//! number: whoever comes second, to use or to close, sees what the first did. An exchange that finds its
//! connection closed has sent nothing, and is repeated on a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, GetProxyDigest as _};
use pingora_http::ResponseHeader;

/// What the count is once the connection is closed, or is to be.
const CLOSED: u32 = u32::MAX;

/// The exchanges that use a connection.
#[derive(Debug)]
pub(super) struct Uses(AtomicU32);

/// The connection was closed before it was used.
#[derive(Debug)]
pub(crate) struct GaveWay;

impl Uses {
    /// Of a connection that is being made for an exchange.
    pub(super) fn first() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(1)))
    }

    pub(super) fn begin(&self) -> Result<(), GaveWay> {
        // There is nothing beyond CLOSED.
        let more = |uses: u32| uses.checked_add(1);
        self.0.fetch_update(Relaxed, Relaxed, more).map(drop).map_err(|_| GaveWay)
    }

    fn end(&self) {
        let fewer = |uses: u32| (uses != CLOSED).then(|| uses - 1);
        // One that broke is closed before its exchange ends.
        let _ = self.0.fetch_update(Relaxed, Relaxed, fewer);
    }

    /// Closes it, unless it is used.
    pub(super) fn close_unused(&self) -> bool {
        self.0.compare_exchange(0, CLOSED, Relaxed, Relaxed).is_ok()
    }

    /// It is closed; false when [`Self::close_unused`] had closed it.
    pub(super) fn close(&self) -> bool {
        self.0.swap(CLOSED, Relaxed) != CLOSED
    }
}

/// A use of a connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Uses>);

impl InUse {
    /// A use that has been counted.
    pub(super) fn of(uses: &Arc<Uses>) -> Self {
        Self(Arc::clone(uses))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Has the connection carry its count: what pingora keeps for proxies in between, of which there are none,
/// it hands back with each use.
pub(super) fn attach(stream: &mut Stream, uses: &Arc<Uses>) {
    // One that does not carry it counts as used for as long as it is open.
    if let Ok(no_head) = ResponseHeader::build(200, None) {
        stream.set_proxy_digest(ProxyDigest::new(Box::new(no_head), Some(Box::new(Arc::clone(uses)))));
    }
}

/// Counts an exchange as using the connection that it has got, a new one or one that was kept.
pub(crate) fn begin_use(digest: Option<&Digest>, was_kept: bool) -> Result<Option<InUse>, GaveWay> {
    let carried = digest.and_then(|digest| digest.proxy_digest.as_ref()?.user_data.as_ref());
    let Some(uses) = carried.and_then(|data| data.downcast_ref::<Arc<Uses>>()) else { return Ok(None) };
    if was_kept {
        uses.begin()?;
    }
    Ok(Some(InUse(Arc::clone(uses))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_closed() {
        let uses = Uses::first();
        let first = InUse(Arc::clone(&uses));
        assert!(!uses.close_unused(), "its first exchange has it");
        drop(first);
        assert!(uses.begin().is_ok());
        let second = InUse(Arc::clone(&uses));
        assert!(!uses.close_unused());
        drop(second);
        assert!(uses.close_unused());
        assert!(uses.begin().is_err(), "what is closed is not used again");
        assert!(!uses.close(), "its place is another's by now");
    }

    #[test]
    fn a_connection_that_breaks_under_its_exchange_is_closed_once() {
        let uses = Uses::first();
        let exchange = InUse(Arc::clone(&uses));
        assert!(uses.close());
        drop(exchange);
        assert!(!uses.close_unused() && !uses.close());
    }
}
