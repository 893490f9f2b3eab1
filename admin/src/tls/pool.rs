//! A pool's side of TLS: whom its endpoints must be, and who Tidegate is to them.
//!
//! The endpoint's certificate is verified against `sni`, whatever the Host that is sent. Without `ca` the
//! system's authorities are trusted; they are read once, with the pool.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use tidegate_core::config::{PoolTls, Protocol};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::files::{Files, provider};

/// Whom a pool's endpoints are to be, and what they are shown.
#[derive(Debug)]
pub struct PoolTrust {
    /// The name that is sent and verified.
    pub name: ServerName<'static>,
    /// Handshakes with the pool's endpoints; of connections of Tidegate's own, such as checks.
    pub client: Arc<ClientConfig>,
    /// Trusted in place of the system's authorities.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// The chain and the key (PKCS #8, PKCS #1 or SEC 1) that endpoints are shown.
    pub shown: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    /// Differs whenever anything of the above does.
    pub identity: u64,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl PoolTrust {
    /// What the data plane makes of this, of a type that is its own business.
    pub fn attachment(&self, make: impl FnOnce() -> Box<dyn Any + Send + Sync>) -> &(dyn Any + Send + Sync) {
        self.attachment.get_or_init(make).as_ref()
    }
}

/// What the pool's handshakes are made of; `None` when a problem was found.
pub(super) fn compile(
    tls: &PoolTls,
    protocol: Protocol,
    at: &str,
    files: &mut Files<'_>,
) -> Option<PoolTrust> {
    let name = ServerName::try_from(tls.sni.clone());
    let name = name
        .map_err(|_| files.problem(&format!("{at}.sni"), format!("no certificate can be for `{}`", tls.sni)));
    let (roots, authorities) = roots(tls, at, files)?;
    let shown = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            Some((files.certified(cert, key, at)?, files.key(key, &format!("{at}.key"))?))
        }
        _ => None,
    };
    let name = name.ok()?;
    let certified = shown.as_ref().map(|(certified, _)| Arc::clone(certified));
    let client = client(roots, certified, protocol, tls.verify);
    let client = Arc::new(client.map_err(|error| files.problem(at, error.to_string())).ok()?);
    let shown = shown.map(|(certified, key)| (certified.cert.clone(), key.secret_der().to_vec()));
    let identity = identity(tls, authorities.as_deref(), shown.as_ref());
    Some(PoolTrust { name, client, authorities, shown, identity, attachment: OnceLock::new() })
}

/// Whether the system has certificate authorities. Without any, pools that name none trust nobody.
pub fn system_has_authorities() -> bool {
    rustls_native_certs::load_native_certs().is_ok_and(|certificates| !certificates.is_empty())
}

type Roots = (RootCertStore, Option<Vec<CertificateDer<'static>>>);

/// The authorities trusted, and those that stand in place of the system's.
fn roots(tls: &PoolTls, at: &str, files: &mut Files<'_>) -> Option<Roots> {
    if let Some(file) = &tls.ca {
        let at = format!("{at}.ca");
        return Some((files.authorities(file, &at)?, files.certificates(file, &at)));
    }
    let mut store = RootCertStore::empty();
    // Without any, every handshake fails and says why; with `verify = false` none is needed.
    if let Ok(certificates) = rustls_native_certs::load_native_certs() {
        store.add_parsable_certificates(certificates);
    }
    Some((store, None))
}

fn client(
    roots: RootCertStore,
    certified: Option<Arc<CertifiedKey>>,
    protocol: Protocol,
    verify: bool,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if verify {
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody))
    };
    let mut config = match certified {
        Some(certified) => builder.with_client_cert_resolver(Arc::new(
            tokio_rustls::rustls::sign::SingleCertAndKey::from(certified),
        )),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec!["http/1.1".into()],
        Protocol::H2 => vec!["h2".into()],
        Protocol::Auto => vec!["h2".into(), "http/1.1".into()],
    };
    Ok(config)
}

fn identity(
    tls: &PoolTls,
    authorities: Option<&[CertificateDer<'static>]>,
    shown: Option<&(Vec<CertificateDer<'static>>, Vec<u8>)>,
) -> u64 {
    let words = format!("{} {}", tls.sni, tls.verify);
    let mut hash = xxh3_64_with_seed(words.as_bytes(), u64::from(authorities.is_some()));
    for certificate in authorities.unwrap_or_default() {
        hash = xxh3_64_with_seed(certificate, hash);
    }
    for certificate in shown.map(|(chain, _)| chain.as_slice()).unwrap_or_default() {
        hash = xxh3_64_with_seed(certificate, hash.wrapping_add(1));
    }
    hash
}

/// Takes any certificate, as `verify = false` asks for; signatures are still checked, so that the other
/// end has the key of what it shows.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
