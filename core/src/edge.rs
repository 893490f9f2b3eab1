//! What is counted at a listener, before a request is a request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::address::Address;

/// Why a connection or a request was turned away before it was routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More connections than `max_connections`.
    MaxConnections,
    /// The request head was not there within `header_timeout`.
    HeaderTimeout,
    /// The request head was larger than `max_header_size`.
    HeaderTooLarge,
    /// The request broke the rules of HTTP.
    BadRequest,
    /// The PROXY protocol's header was not there, or not in time.
    ProxyProtocol,
    /// The TLS handshake failed, or was not done in time.
    TlsHandshake,
    /// An HTTP/2 connection made work and nothing else.
    Http2Flood,
}

impl Refusal {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::MaxConnections,
        Self::HeaderTimeout,
        Self::HeaderTooLarge,
        Self::BadRequest,
        Self::ProxyProtocol,
        Self::TlsHandshake,
        Self::Http2Flood,
    ];

    /// The word used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::HeaderTimeout => "header_timeout",
            Self::HeaderTooLarge => "header_too_large",
            Self::BadRequest => "bad_request",
            Self::ProxyProtocol => "proxy_protocol",
            Self::TlsHandshake => "tls_handshake",
            Self::Http2Flood => "http2_flood",
        }
    }
}

/// A listener's counters.
#[derive(Debug)]
pub struct ListenerCell {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: Address,
    connections: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl ListenerCell {
    /// A listener that has just been bound.
    pub fn new(name: String, address: Address) -> Self {
        Self { name, address, connections: AtomicU64::new(0), refused: Default::default() }
    }

    /// Client connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// A client connected; how many there are now.
    pub fn connected(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }

    /// A client is gone.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: Refusal) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    /// Refusals for one reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].load(Relaxed)
    }
}
