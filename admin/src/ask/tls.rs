//! TLS as a client: whom to trust, and the handshake.
//!
//! The system's roots are read for each handshake: it is a few milliseconds, calls are rare, and roots
//! that the operator renewed count at once. There is no way to trust just anybody.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::AskError;

/// Whose certificates are good.
#[derive(Clone, Debug, Default)]
pub(crate) enum Trust {
    /// Those of the authorities that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` may say which.
    #[default]
    System,
    /// Those of these authorities.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests have an authority of their own"))]
    Only(Vec<CertificateDer<'static>>),
}

/// Makes sure that `host` is at the other end.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, AskError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| AskError::Untrusted(format!("no certificate can be for `{host}`")))?;
    let trust = trust.clone();
    let config = tokio::task::spawn_blocking(move || config(trust)).await;
    let config = config.unwrap_or_else(|error| Err(error.to_string())).map_err(AskError::Untrusted)?;
    handshake_with(stream, Arc::new(config), name).await
}

/// Makes sure that whom `config` and `name` are about is at the other end.
pub(super) async fn handshake_with<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream<S>, AskError> {
    let stream = TlsConnector::from(config).connect(name, stream).await;
    stream.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => AskError::Untrusted("it does not speak TLS".into()),
        Some(error) => AskError::Untrusted(error.to_string()),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => AskError::Closed,
        None => AskError::Broken(error.to_string()),
    })
}

fn config(trust: Trust) -> Result<ClientConfig, String> {
    let roots = match trust {
        Trust::System => rustls_native_certs::load_native_certs()
            .map_err(|error| format!("the system's certificates cannot be read: {error}"))?,
        Trust::Only(roots) => roots,
    };
    let mut store = RootCertStore::empty();
    let (good, _) = store.add_parsable_certificates(roots);
    if good == 0 {
        return Err("this machine trusts no authority: it has no root certificates, \
                    or SSL_CERT_FILE names none"
            .into());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
