//! The rows: each a kind of work that means the same in every proxy.

/// A row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Small,
    Large,
    Post,
    Fresh,
    TlsFull,
    TlsResumed,
    Http2,
    Grpc,
    Idle,
    Features,
}

impl Row {
    pub(crate) const ALL: [Self; 10] = [
        Self::Small,
        Self::Large,
        Self::Post,
        Self::Fresh,
        Self::TlsFull,
        Self::TlsResumed,
        Self::Http2,
        Self::Grpc,
        Self::Idle,
        Self::Features,
    ];

    /// Its name in options and in the JSON.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::Post => "post",
            Self::Fresh => "fresh",
            Self::TlsFull => "tls-full",
            Self::TlsResumed => "tls-resumed",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Idle => "idle",
            Self::Features => "features",
        }
    }

    pub(crate) fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.id() == id)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "Small GET",
            Self::Large => "64 KiB response",
            Self::Post => "64 KiB POST",
            Self::Fresh => "New connection each",
            Self::TlsFull => "TLS, full handshake each",
            Self::TlsResumed => "TLS, resumed handshake each",
            Self::Http2 => "HTTP/2 to clients",
            Self::Grpc => "gRPC unary",
            Self::Idle => "Idle connections",
            Self::Features => "All features",
        }
    }

    /// What it is, for the page.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Small => "64 kept HTTP/1.1 connections, `GET`, an answer of 100 bytes",
            Self::Large => "the same with an answer of 64 KiB",
            Self::Post => {
                "the same with a body of 64 KiB, which the upstream reads to its end before it answers 2 bytes"
            }
            Self::Fresh => {
                "a new client connection for each small `GET`, 64 at once; connections to the upstream are kept"
            }
            Self::TlsFull => {
                "as before over TLS 1.3 (X25519, AES-128-GCM, a P-256 certificate), a full handshake each"
            }
            Self::TlsResumed => "the same, each handshake resumed with a ticket of the one before",
            Self::Http2 => {
                "one client connection of plain-text HTTP/2 with 100 streams at once, small `GET`s; HTTP/1.1 to the upstream"
            }
            Self::Grpc => "the same with unary gRPC calls of 100 bytes each way; HTTP/2 to the upstream, too",
            Self::Idle => {
                "client connections that do nothing: memory that is the process's own, for each of them"
            }
            Self::Features => {
                "the small `GET` by 2,000 users through a split of 90 to 10 over two pools, sticky by `x-user-id`, on a \
                 route that asks for a header, with a request id and a structured access log"
            }
        }
    }

    /// Which of a proxy's listeners it goes to.
    pub(crate) fn door(self) -> Door {
        match self {
            Self::TlsFull | Self::TlsResumed => Door::Tls,
            Self::Http2 => Door::H2,
            Self::Grpc => Door::Grpc,
            _ => Door::Plain,
        }
    }
}

/// A kind of listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Plain,
    Tls,
    H2,
    Grpc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for row in Row::ALL {
            assert_eq!(Row::of(row.id()), Some(row));
        }
        assert_eq!(Row::of("nothing"), None);
    }
}
