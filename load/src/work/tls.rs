//! A new TLS connection for each request: with a full handshake, or resumed with the ticket of the one before.
//!
//! All proxies get the same: TLS 1.3, X25519, AES-128-GCM, and a P-256 certificate. The client believes whatever
//! certificate it is shown and checks no signature: that is its own work and would be taken from the proxy's.
//! Each connection checks that its handshake was of the kind that the row is about.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, version,
};

use super::fresh::await_end;
use super::{Load, Script, exchange};
use crate::wire::Reader;

/// Until the load is over.
pub(crate) async fn run(
    address: SocketAddr,
    script: Arc<Script>,
    load: Arc<Load>,
    is_resumed: bool,
) -> Result<()> {
    // Each task has tickets of its own: they are for one use.
    let connector = TlsConnector::from(Arc::new(config(is_resumed)?));
    let name = ServerName::try_from("shop.test")?;
    let mut has_ticket = false;
    while let Some(due) = load.pacer.turn().await {
        load.recorder.sent();
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let mut stream = connector.connect(name.clone(), stream).await.context("a handshake")?;
        let kind = stream.get_ref().1.handshake_kind();
        if has_ticket || !is_resumed {
            let wanted = if is_resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
            ensure!(kind == Some(wanted), "a handshake was {kind:?} in place of {wanted:?}");
        }
        let mut reader = Reader::new(4 * 1024);
        exchange(&mut stream, &mut reader, &script.requests[0], script.length).await?;
        load.recorder.answered(due);
        has_ticket = true;
        await_end(&mut stream).await;
    }
    Ok(())
}

fn config(is_resumed: bool) -> Result<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer));
    let mut config = builder.with_no_client_auth();
    config.resumption = if is_resumed { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
    Ok(config)
}

/// Takes any certificate, and any signature.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer,
        _intermediates: &[CertificateDer],
        _name: &ServerName,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
