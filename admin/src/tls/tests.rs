//! What is read, what is refused, and that refusing names the file and the key.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tidegate_core::config::Config;
use tidegate_core::config::read::read;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{Expired, Material};

const NOW_S: i64 = 1_795_000_000;

/// A certificate for these names, and its key.
fn pair(names: &[&str], expires: i32) -> (rcgen::Certificate, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_after = date_time_ymd(expires, 1, 1);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate"), key)
}

pub(super) fn certified(names: &[&str]) -> Arc<CertifiedKey> {
    let (certificate, key) = pair(names, 2090);
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &ring::default_provider());
    Arc::new(certified.expect("a sound pair"))
}

fn write(folder: &Path, name: &str, expires: i32) {
    let (certificate, key) = pair(&["shop.test"], expires);
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
}

fn config(tls: &str) -> Config {
    let text = format!(
        "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ntls = {{ {tls} }}\n\
         [pools.app]\nendpoints = ['127.0.0.1:1']\ntls = {{ sni = 'app.test', ca = 'a.pem' }}\n"
    );
    read(&text, &|_| None).expect("a good file").into_inner()
}

fn material(folder: &Path, tls: &str, expired: Expired) -> Result<Material, Vec<String>> {
    let read = Material::read(&config(tls), &|file| folder.join(file), expired, NOW_S);
    read.map_err(|problems| problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect())
}

#[test]
fn good_files_are_read_and_compared_by_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a", 2090);
    let tls =
        "certificates = [{ cert = 'a.pem', key = 'a.key' }], client_ca = 'a.pem', client_cert = 'optional'";
    let first = material(folder.path(), tls, Expired::Refuse).expect("good files");
    assert!(first.listener("web").is_some_and(|config| config.alpn_protocols.len() == 2));
    assert!(first.pool("app").is_some_and(|trust| trust.authorities.is_some()));
    assert!(first.says_what(&material(folder.path(), tls, Expired::Refuse).expect("good files")));
    write(folder.path(), "a", 2091);
    let second = material(folder.path(), tls, Expired::Refuse).expect("good files");
    assert!(!first.says_what(&second), "another certificate");
    assert_ne!(first.pool("app").map(|t| t.identity), second.pool("app").map(|t| t.identity));
}

#[test]
fn each_problem_names_its_key_and_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, expires) in [("a", 2090), ("b", 2090), ("old", 2020)] {
        write(folder.path(), name, expires);
    }
    std::fs::write(folder.path().join("empty.pem"), "").expect("written");
    for (tls, wanted) in [
        (
            "certificates = [{ cert = 'a.pem', key = 'b.key' }]",
            "certificates[0].key: b.key is not the key of the certificate in a.pem",
        ),
        (
            "certificates = [{ cert = 'no.pem', key = 'a.key' }]",
            "certificates[0].cert: no.pem cannot be read",
        ),
        (
            "certificates = [{ cert = 'empty.pem', key = 'a.key' }]",
            "certificates[0].cert: empty.pem is not a PEM file of certificates: it holds no certificate",
        ),
        (
            "certificates = [{ cert = 'a.pem', key = 'a.pem' }]",
            "certificates[0].key: a.pem is not a PEM file of a private key",
        ),
        (
            "certificates = [{ cert = 'old.pem', key = 'old.key' }]",
            "certificates[0].cert: the certificate in old.pem has expired",
        ),
        (
            "certificates = [{ cert = 'a.pem', key = 'a.key' }], client_ca = '.', client_cert = 'required'",
            "client_ca: . is not a file",
        ),
    ] {
        let problems = material(folder.path(), tls, Expired::Refuse).expect_err(tls);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&format!("listeners[0].tls.{wanted}")), "{problems:?}");
    }
}

#[test]
fn an_expired_certificate_is_used_where_there_is_nothing_better() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a", 2090);
    write(folder.path(), "old", 2020);
    let tls = "certificates = [{ cert = 'old.pem', key = 'old.key' }]";
    assert!(material(folder.path(), tls, Expired::Warn).is_ok());
}
