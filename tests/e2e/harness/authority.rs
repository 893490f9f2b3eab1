//! An authority of the test's own: certificates for any name, in files and in memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Whoever trusts it trusts what it has signed.
pub(crate) struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the test's authority");
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for these names; the first is its common name, too.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, 2090)
    }

    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(owned).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        Pair { cert: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts this authority and shows `pair`, if there is one.
    pub(crate) fn client(&self, protocols: &[&str], pair: Option<&Pair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match pair {
            Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.secret()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A server that shows `pair`, and asks for certificates of this authority if it is to.
    pub(crate) fn server(&self, pair: &Pair, protocols: &[&str], asks: bool) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = if asks {
            let provider = Arc::new(ring::default_provider());
            let verifier = tokio_rustls::rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(pair.chain(), pair.secret()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key`, each in one step.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        for (ending, text) in [("pem", &self.cert), ("key", &self.key)] {
            let beside = folder.join(format!("{name}.{ending}.next"));
            fs::write(&beside, text).unwrap();
            fs::rename(beside, folder.join(format!("{name}.{ending}"))).unwrap();
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect()
    }

    fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

pub(crate) fn name(of: &str) -> ServerName<'static> {
    ServerName::try_from(of.to_owned()).unwrap()
}
