//! A listener's side of TLS: its certificates, which versions it speaks, and whether clients show who
//! they are.

use std::sync::Arc;

use tidegate_core::config::{ClientCert, Listener, ListenerTls, TlsVersion};
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::files::{Files, provider};
use super::names::Names;

/// What the listener's handshakes are made of; `None` when a problem was found.
pub(super) fn compile(
    listener: &Listener,
    tls: &ListenerTls,
    at: &str,
    files: &mut Files<'_>,
) -> Option<ServerConfig> {
    let mut names = Names::default();
    let mut is_sound = true;
    for (index, certificate) in tls.certificates.iter().enumerate() {
        let at = format!("{at}.certificates[{index}]");
        match files.certified(&certificate.cert, &certificate.key, &at) {
            Some(certified) => names.add(certified),
            None => is_sound = false,
        }
    }
    let verifier = match (&tls.client_ca, tls.client_cert) {
        (Some(file), Some(asked)) => Some(verifier(file, asked, &format!("{at}.client_ca"), files)?),
        _ => None,
    };
    if !is_sound {
        return None;
    }
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(tls));
    let config = config.map_err(|error| files.problem(at, error.to_string())).ok()?;
    let config = match verifier {
        Some(verifier) => config.with_client_cert_verifier(verifier),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(names));
    config.alpn_protocols =
        if listener.http2 { vec!["h2".into(), "http/1.1".into()] } else { vec!["http/1.1".into()] };
    config.ticketer = Ticketer::new().map_err(|error| files.problem(at, error.to_string())).ok()?;
    Some(config)
}

const FROM_1_2: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const FROM_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

fn versions(tls: &ListenerTls) -> &'static [&'static SupportedProtocolVersion] {
    match tls.min_version {
        TlsVersion::V1_2 => FROM_1_2,
        TlsVersion::V1_3 => FROM_1_3,
    }
}

/// Checks what clients show, and whether they show anything.
fn verifier(
    file: &str,
    asked: ClientCert,
    at: &str,
    files: &mut Files<'_>,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let authorities = Arc::new(files.authorities(file, at)?);
    let builder = WebPkiClientVerifier::builder_with_provider(authorities, provider());
    let builder = match asked {
        ClientCert::Required => builder,
        ClientCert::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| files.problem(at, format!("{file} cannot be used: {error}"))).ok()
}
