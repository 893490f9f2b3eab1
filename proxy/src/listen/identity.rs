//! What a TLS handshake told of a client: the name it asked for, and who it is.

use std::fmt::Write as _;

use tokio_rustls::rustls::ServerConnection;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Facts of a TLS connection.
#[derive(Debug)]
pub(crate) struct TlsFacts {
    /// The name that the client asked for, in lower case.
    pub(crate) server_name: Option<String>,
    /// Whether HTTP/2 was agreed on.
    pub(crate) is_h2: bool,
    /// The certificate that the client showed and that was found good, as it is told upstream.
    pub(crate) client: Option<String>,
}

impl TlsFacts {
    pub(super) fn of(connection: &ServerConnection) -> Self {
        let leaf = connection.peer_certificates().and_then(|chain| chain.first());
        Self {
            server_name: connection.server_name().map(str::to_ascii_lowercase),
            is_h2: connection.alpn_protocol() == Some(b"h2"),
            client: leaf.and_then(|leaf| describe(leaf)),
        }
    }
}

/// A certificate in the words of Envoy's `x-forwarded-client-cert`: `Subject="…"`, then each of its URIs and
/// DNS names.
fn describe(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut text = String::new();
    let mut tell = |key: &str, value: &str| {
        let apart = if text.is_empty() { "" } else { ";" };
        let _ = write!(text, "{apart}{key}=\"{}\"", quoted(value));
    };
    tell("Subject", &parsed.subject().to_string());
    let alternative = parsed.subject_alternative_name().ok().flatten();
    for name in alternative.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => tell("URI", uri),
            GeneralName::DNSName(name) => tell("DNS", name),
            _ => {}
        }
    }
    Some(text)
}

/// Fit for a quoted string in a header: what is not visible ASCII is told as `?`.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_subject_can_end_the_value_or_the_line() {
        for (subject, told) in [
            ("CN=app, O=Shop", "CN=app, O=Shop"),
            ("CN=a\"b\\c", "CN=a\\\"b\\\\c"),
            ("CN=a\r\nhost: evil", "CN=a??host: evil"),
            ("CN=ü", "CN=?"),
        ] {
            assert_eq!(quoted(subject), told);
        }
    }
}
