//! What a connection and the gateway tell each other about the exchange under way.
//!
//! The gateway's hooks see the byte stream only by shared reference, and the stream runs inside the
//! gateway's own machinery; these few atomics are the one thing that both can reach. Each has one
//! writer, and they guard no other memory, so relaxed order is enough.
//!
//! The gateway makes a request's state before it is given anything of the request. So that it has the
//! exchange from the beginning, whatever the protocol, the task that serves a request says which it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_admin::clock::Clock;
use tidegate_core::edge::ListenerCell;

use super::identity::TlsFacts;
use super::tunnel::Opened;
use crate::context::Context;

tokio::task_local! {
    static CURRENT: Arc<Exchange>;
}

/// Facts of a connection, and of the exchange on it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The client's end.
    pub(crate) peer: SocketAddr,
    /// The listener.
    pub(crate) listener: Arc<ListenerCell>,
    /// What the TLS handshake told; `None` = in plain text.
    pub(crate) tls: Option<Arc<TlsFacts>>,
    clock: Clock,
    deadline_ms: AtomicU64,
    timed_out: AtomicBool,
    /// How long the upstream may take for its head once it has the whole request; 0 = no limit.
    try_timeout_ms: AtomicU64,
    try_timed_out: AtomicBool,
    bad_body: AtomicBool,
    awaits_request: AtomicBool,
    awaits_reader: AtomicBool,
    /// A tunnel that the gateway has opened and the stream has yet to take.
    tunnel: Mutex<Option<Opened>>,
    /// The request's state, where the express lane has begun with it and the gateway goes on.
    begun: Mutex<Option<Box<Context>>>,
}

impl Exchange {
    pub(super) fn new(
        peer: SocketAddr,
        listener: Arc<ListenerCell>,
        clock: Clock,
        tls: Option<Arc<TlsFacts>>,
    ) -> Self {
        Self {
            peer,
            listener,
            tls,
            clock,
            deadline_ms: AtomicU64::new(0),
            timed_out: AtomicBool::new(false),
            try_timeout_ms: AtomicU64::new(0),
            try_timed_out: AtomicBool::new(false),
            bad_body: AtomicBool::new(false),
            awaits_request: AtomicBool::new(false),
            awaits_reader: AtomicBool::new(false),
            tunnel: Mutex::new(None),
            begun: Mutex::new(None),
        }
    }

    /// That of a request which came out of nowhere.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Arc<Self> {
        let address: SocketAddr = ([127, 0, 0, 1], 8080).into();
        let listener = Arc::new(ListenerCell::new("web".into(), address.into()));
        Arc::new(Self::new(address, listener, Clock::start(), None))
    }

    /// Serves a request as this exchange: within `serving`, [`Self::current`] is this.
    pub(super) async fn serve<T>(self: Arc<Self>, serving: impl Future<Output = T>) -> T {
        CURRENT.scope(self, serving).await
    }

    /// The exchange of the request that the current task serves.
    pub(crate) fn current() -> Arc<Self> {
        CURRENT.with(Arc::clone)
    }

    /// An exchange on the same connection, beside this one.
    pub(super) fn beside(&self) -> Self {
        Self::new(self.peer, Arc::clone(&self.listener), self.clock, self.tls.clone())
    }

    /// The scheme of the URL that the client asked for.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.mono_ms()
    }

    /// Forgets the last exchange.
    pub(super) fn begin(&self) {
        self.deadline_ms.store(0, Relaxed);
        self.timed_out.store(false, Relaxed);
        self.begin_try(None);
        self.bad_body.store(false, Relaxed);
        self.awaits_request.store(false, Relaxed);
        self.awaits_reader.store(false, Relaxed);
        *self.tunnel.lock() = None;
    }

    /// Leaves a request that was begun to the gateway; `None` takes back what it did not take.
    pub(super) fn hand_over(&self, begun: Option<Box<Context>>) {
        drop(std::mem::replace(&mut *self.begun.lock(), begun));
    }

    /// The state of the request, if it was begun.
    pub(crate) fn take_begun(&self) -> Option<Context> {
        self.begun.lock().take().map(|begun| *begun)
    }

    /// What follows is no longer HTTP.
    pub(crate) fn open_tunnel(&self, opened: Opened) {
        *self.tunnel.lock() = Some(opened);
    }

    /// The tunnel that was opened since this was last asked.
    pub(super) fn take_tunnel(&self) -> Option<Opened> {
        self.tunnel.lock().take()
    }

    /// The exchange must be over at this time of the monotonic clock.
    pub(crate) fn set_deadline_ms(&self, at_ms: u64) {
        self.deadline_ms.store(at_ms, Relaxed);
    }

    /// Lets the exchange go on without a deadline, so that an answer can be written after one.
    pub(crate) fn clear_deadlines(&self) {
        self.deadline_ms.store(0, Relaxed);
        self.try_timeout_ms.store(0, Relaxed);
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.deadline_ms.load(Relaxed)
    }

    pub(crate) fn set_timed_out(&self) {
        self.timed_out.store(true, Relaxed);
    }

    /// Whether the exchange was ended by its deadline.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out.load(Relaxed)
    }

    /// A try begins, which may take so long.
    pub(crate) fn begin_try(&self, timeout: Option<Duration>) {
        let ms = timeout.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        self.try_timeout_ms.store(ms, Relaxed);
        self.try_timed_out.store(false, Relaxed);
    }

    /// The upstream's head is there: the try takes as long as it takes.
    pub(crate) fn answered(&self) {
        self.try_timeout_ms.store(0, Relaxed);
    }

    pub(super) fn try_timeout_ms(&self) -> u64 {
        self.try_timeout_ms.load(Relaxed)
    }

    pub(crate) fn set_try_timed_out(&self) {
        self.try_timed_out.store(true, Relaxed);
    }

    /// Whether the try was ended by its own limit.
    pub(crate) fn try_timed_out(&self) -> bool {
        self.try_timed_out.load(Relaxed)
    }

    pub(crate) fn set_bad_body(&self) {
        self.bad_body.store(true, Relaxed);
    }

    /// Whether the request's body broke the grammar.
    pub(crate) fn bad_body(&self) -> bool {
        self.bad_body.load(Relaxed)
    }

    pub(crate) fn set_awaits_request(&self, awaits: bool) {
        self.awaits_request.store(awaits, Relaxed);
    }

    pub(super) fn set_awaits_reader(&self, awaits: bool) {
        self.awaits_reader.store(awaits, Relaxed);
    }

    /// Whether it is the client that is waited for, to send on or to take what it is sent: a timeout
    /// is then no fault of the upstream.
    pub(crate) fn awaits_client(&self) -> bool {
        self.awaits_request.load(Relaxed) || self.awaits_reader.load(Relaxed)
    }
}
