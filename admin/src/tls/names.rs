//! Which certificate a client gets: by the name that it asks for (SNI).
//!
//! An exact name before a wildcard, which stands for one label; an unknown or absent name gets the first
//! certificate of the listener. Of several for one name, the first whose key the client can check.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A listener's certificates by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Names {
    pub(super) fn add(&mut self, certified: Arc<CertifiedKey>) {
        for name in certified.cert.first().map(|leaf| names_of(leaf)).unwrap_or_default() {
            let (table, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            table.entry(name).or_default().push(Arc::clone(&certified));
        }
        self.all.push(certified);
    }

    /// The certificates for a name, the preferred one first.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase()) else {
            return &self.all;
        };
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let found = self.exact.get(&name).or_else(|| self.wildcard.get(parent?));
        found.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.of(hello.server_name());
        let schemes = hello.signature_schemes();
        let fits = candidates.iter().find(|one| one.key.choose_scheme(schemes).is_some());
        fits.or(candidates.first()).cloned()
    }
}

/// The names that a certificate is for, in lower case: those of its `subjectAltName`, or else its common
/// name.
fn names_of(leaf: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = match &alternative {
        Some(names) => names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        None => parsed
            .subject()
            .iter_common_name()
            .filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase()))
            .collect(),
    };
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::certified;

    #[test]
    fn exact_then_wildcard_then_the_first() {
        let mut names = Names::default();
        let kinds = [&["first.test"][..], &["*.shop.test", "shop.test"], &["pay.shop.test"]];
        let all: Vec<_> = kinds.iter().map(|kind| certified(kind)).collect();
        all.iter().cloned().for_each(|one| names.add(one));
        for (asked, wanted) in [
            (Some("first.test"), 0),
            (Some("shop.test"), 1),
            (Some("a.shop.test"), 1),
            (Some("A.Shop.Test."), 1),
            (Some("pay.shop.test"), 2),
            (Some("a.b.shop.test"), 0),
            (Some("other.test"), 0),
            (None, 0),
        ] {
            let got = names.of(asked).first().expect("a certificate");
            assert!(Arc::ptr_eq(got, &all[wanted]), "{asked:?}");
        }
    }
}
