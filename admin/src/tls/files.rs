//! PEM files: read with a bound, parsed, and every problem with them collected.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::validate::Problem;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use xxhash_rust::xxh3::xxh3_64;

use super::Expired;

/// A file may have this many bytes; a bundle of all public authorities has a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The files of one reading.
pub(super) struct Files<'a> {
    resolve: &'a dyn Fn(&str) -> PathBuf,
    expired: Expired,
    now_s: i64,
    read: BTreeMap<PathBuf, u64>,
    problems: Vec<Problem>,
}

impl<'a> Files<'a> {
    pub(super) fn new(resolve: &'a dyn Fn(&str) -> PathBuf, expired: Expired, now_s: i64) -> Self {
        Self { resolve, expired, now_s, read: BTreeMap::new(), problems: Vec::new() }
    }

    pub(super) fn into_parts(self) -> (BTreeMap<PathBuf, u64>, Vec<Problem>) {
        (self.read, self.problems)
    }

    pub(super) fn problem(&mut self, at: &str, message: String) {
        self.problems.push(Problem { path: at.to_owned(), line: None, message, hint: None });
    }

    /// A chain of certificates and the key of its first, as `cert` and `key` at `at` name them.
    pub(super) fn certified(&mut self, cert: &str, key: &str, at: &str) -> Option<Arc<CertifiedKey>> {
        let chain = self.certificates(cert, &format!("{at}.cert"));
        let key_at = format!("{at}.key");
        let secret = self.key(key, &key_at);
        let (chain, secret) = (chain?, secret?);
        if let Some(first) = chain.first() {
            self.check_time(first, cert, &format!("{at}.cert"));
        }
        match CertifiedKey::from_der(chain, secret, &provider()) {
            Ok(certified) => Some(Arc::new(certified)),
            Err(Error::InconsistentKeys(_)) => {
                self.problem(&key_at, format!("{key} is not the key of the certificate in {cert}"));
                None
            }
            Err(error) => {
                self.problem(&key_at, format!("{key} cannot be used: {error}"));
                None
            }
        }
    }

    /// The certificates in a file, one at least.
    pub(super) fn certificates(&mut self, file: &str, at: &str) -> Option<Vec<CertificateDer<'static>>> {
        let bytes = self.bytes(file, at)?;
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let parsed = parsed.map_err(|error| error.to_string()).and_then(|certificates| {
            let all_parse = certificates.iter().all(|one| X509Certificate::from_der(one).is_ok());
            match certificates.len() {
                0 => Err("it holds no certificate".to_owned()),
                _ if !all_parse => Err("a certificate in it is damaged".to_owned()),
                _ => Ok(certificates),
            }
        });
        parsed
            .map_err(|why| self.problem(at, format!("{file} is not a PEM file of certificates: {why}")))
            .ok()
    }

    /// The private key in a file.
    pub(super) fn key(&mut self, file: &str, at: &str) -> Option<PrivateKeyDer<'static>> {
        let bytes = self.bytes(file, at)?;
        let parsed = PrivateKeyDer::from_pem_slice(&bytes);
        parsed
            .map_err(|error| self.problem(at, format!("{file} is not a PEM file of a private key: {error}")))
            .ok()
    }

    /// The authorities in a file.
    pub(super) fn authorities(&mut self, file: &str, at: &str) -> Option<RootCertStore> {
        let mut store = RootCertStore::empty();
        for certificate in self.certificates(file, at)? {
            if let Err(error) = store.add(certificate) {
                self.problem(at, format!("{file} holds a certificate that is no authority: {error}"));
                return None;
            }
        }
        Some(store)
    }

    fn bytes(&mut self, file: &str, at: &str) -> Option<Vec<u8>> {
        let path = (self.resolve)(file);
        match read(&path) {
            Ok(bytes) => {
                self.read.insert(path, xxh3_64(&bytes));
                Some(bytes)
            }
            Err(why) => {
                // To be looked at again when it is there.
                self.read.insert(path, 0);
                self.problem(at, format!("{file} {why}"));
                None
            }
        }
    }

    /// A certificate whose time is not now.
    fn check_time(&mut self, certificate: &CertificateDer<'_>, file: &str, at: &str) {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return };
        let end = parsed.validity().not_after;
        if end.timestamp() >= self.now_s {
            return;
        }
        let message = format!("the certificate in {file} has expired on {end}");
        match self.expired {
            Expired::Refuse => self.problem(at, message),
            Expired::Warn => tracing::warn!(path = at, "{message}; clients that check it will not connect"),
        }
    }
}

/// The one set of algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}
