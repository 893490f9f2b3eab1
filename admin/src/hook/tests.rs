//! Hooks that consent, refuse, or do worse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tidegate_core::config::HookOn;
use tidegate_core::units::Span;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::ask::testing::{Do, Server, answer, nobody};

fn hook(url: &str) -> Hook {
    Hook { on: HookOn::Start, url: url.to_owned(), timeout: Span::ms(400), token_file: None }
}

/// What a hook says of a server that does this; its address is left out.
async fn said(script: Vec<Do>) -> Result<(), String> {
    let server = Server::start(script).await;
    let caller = Caller::new(&hook(&format!("http://{}/approve?key=secret", server.address)), |written| {
        written.into()
    });
    let began = Instant::now();
    let result = caller.call(&json!({ "on": "start" })).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let prefix = format!("hook start http://{}/approve ", server.address);
    result.map_err(|why| why.strip_prefix(&prefix).unwrap_or_else(|| panic!("{why}")).to_owned())
}

#[tokio::test]
async fn what_is_sent() {
    let server = Server::start(answer("200 OK", "")).await;
    let caller =
        Caller::new(&hook(&format!("http://{}/approve?key=1", server.address)), |written| written.into());
    caller.call(&json!({ "on": "start", "percent": 5.0 })).await.expect("consent");
    let body = r#"{"on":"start","percent":5.0}"#;
    let expected = format!(
        "POST /approve?key=1 HTTP/1.1\r\nhost: {}\r\nuser-agent: tidegate-hook/{}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        server.address,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    assert_eq!(server.heard(), [expected]);
}

#[tokio::test]
async fn two_hundreds_are_consent() {
    let long = "x".repeat(1 << 20);
    for (status, body) in [("200 OK", "{}"), ("204 No Content", ""), ("299 X", "x"), ("200 OK", &*long)] {
        assert_eq!(said(answer(status, body)).await, Ok(()), "{status}");
    }
    let endless = vec![Do::Read, Do::Send("HTTP/1.1 200 OK\r\n\r\n".into()), Do::Pour("xxxxxxxxxxxxxxxx")];
    assert_eq!(said(endless).await, Ok(()), "no more is read than is needed");
}

#[tokio::test]
async fn refusals_are_told() {
    let long = format!("{}{}", "é".repeat(200), "x".repeat(1 << 20));
    let told = format!("answered 403: {}…", "é".repeat(200));
    for (status, body, expected) in [
        ("403 Forbidden", "not on a Friday\n", "answered 403: not on a Friday"),
        ("403 Forbidden", &*long, &*told),
        ("500 Oops", "", "answered 500"),
        ("404 Not Found", "a\u{1b}[2Jb\r\nlevel=error \u{202e}c", "answered 404: a[2Jb level=error c"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", "moved", "answered 302: redirects are not followed"),
        ("307 X\r\nlocation: /approve", "", "answered 307: redirects are not followed"),
        ("101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x", "", "answered 101"),
    ] {
        assert_eq!(said(answer(status, body)).await, Err(expected.to_owned()), "{status}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_no_consent() {
    let closed = "closed the connection before the end of an answer";
    let half = Do::Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".into());
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n";
    for (script, expected) in [
        (vec![], closed),
        (vec![Do::Read], closed),
        (vec![Do::Read, half], closed),
        (vec![Do::Hang], "did not answer within 400ms"),
        (vec![Do::Read, Do::Hang], "did not answer within 400ms"),
        (
            vec![Do::Read, Do::Send(slow.into()), Do::Drip("xxxxxxxxxxxxx", Duration::from_millis(50))],
            "did not answer within 400ms",
        ),
        (
            vec![Do::Read, Do::Send("+OK Dovecot ready.\r\n".into())],
            "did not answer in HTTP: invalid HTTP version parsed",
        ),
    ] {
        let shown = format!("{script:?}");
        assert_eq!(said(script).await, Err(expected.to_owned()), "{shown}");
    }
    // The status was there: that is what is told.
    let slow = "HTTP/1.1 403 Forbidden\r\ncontent-length: 99\r\n\r\nno";
    let script = vec![Do::Read, Do::Send(slow.into()), Do::Hang];
    assert_eq!(said(script).await, Err("answered 403: no".to_owned()));
}

#[tokio::test]
async fn nobody_there() {
    let address = nobody().await;
    let mut refused = hook(&format!("http://{address}/"));
    refused.on = HookOn::BeforePromote;
    let said = Caller::new(&refused, |written| written.into()).call(&json!({})).await;
    let expected = format!("hook before_promote http://{address}/ cannot be reached: connection refused");
    assert_eq!(said, Err(expected));
    let unknown =
        Caller::new(&hook("http://no-such-host.invalid/"), |written| written.into()).call(&json!({})).await;
    let why = unknown.expect_err("there is no such host");
    assert!(why.starts_with("hook start http://no-such-host.invalid/ "), "{why}");
    // Validation refuses it; a plan from elsewhere must not show it either.
    let secret = Caller::new(&hook("http://me:secret@ops/"), |written| written.into()).call(&json!({})).await;
    assert_eq!(secret, Err("hook start has no URL that can be called".to_owned()));
}

#[tokio::test]
async fn the_token_is_read_at_each_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hook.token");
    let server = Server::start(answer("200 OK", "")).await;
    let mut with_token = hook(&format!("http://{}/", server.address));
    with_token.token_file = Some("hook.token".into());
    let caller = Caller::new(&with_token, |written| folder.path().join(written));
    let shown =
        format!("hook start http://{}/ was not called: token_file {}", server.address, file.display());

    let absent = caller.call(&json!({})).await;
    assert_eq!(absent, Err(format!("{shown} is not there")));
    for (held, sent) in [("first\n", "Bearer first"), ("  second \r\n", "Bearer second")] {
        std::fs::write(&file, held).expect("written");
        caller.call(&json!({})).await.expect("consent");
        let heard = server.heard().pop().unwrap_or_default();
        assert!(heard.contains(&format!("\r\nauthorization: {sent}\r\n")), "{heard}");
    }
    let calls = server.heard().len();
    for held in ["", " \n", "two\nlines", "two words", "caf\u{e9}", &"x".repeat(10_000)] {
        std::fs::write(&file, held).expect("written");
        assert_eq!(caller.call(&json!({})).await, Err(format!("{shown} holds no token of one line")));
    }
    std::fs::write(&file, [0xff, 0xfe]).expect("written");
    let binary = caller.call(&json!({})).await.expect_err("not a text");
    assert!(binary.starts_with(&format!("{shown} cannot be read: ")), "{binary}");
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("made");
    assert_eq!(caller.call(&json!({})).await, Err(format!("{shown} is not a file")));
    assert_eq!(server.heard().len(), calls, "no call without its token");
}

/// A server with a certificate that it made for itself, and that certificate.
async fn self_signed(name: &str) -> (Server, CertificateDer<'static>) {
    let CertifiedKey { cert, key_pair } =
        generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(key_pair.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Server::start_tls(answer("403 Forbidden", "heard"), acceptor).await, cert.der().clone())
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted() {
    let (server, certificate) = self_signed("127.0.0.1").await;
    let mut to = hook(&format!("https://{}/", server.address));
    to.timeout = Span::secs(5);
    let caller = Caller::new(&to, |written| written.into());
    let said = caller.call(&json!({})).await.expect_err("nobody vouches for it");
    let prefix = format!("hook start https://{}/ cannot be trusted: ", server.address);
    assert!(said.starts_with(&prefix), "{said}");
    assert_eq!(server.heard().len(), 0, "nothing was told to it");

    let trusting = caller.trusting(Trust::Only(vec![certificate]));
    let said = trusting.call(&json!({})).await;
    assert_eq!(said, Err(format!("hook start https://{}/ answered 403: heard", server.address)));

    let (other, certificate) = self_signed("ops.example.com").await;
    to.url = format!("https://{}/", other.address);
    let caller = Caller::new(&to, |written| written.into()).trusting(Trust::Only(vec![certificate]));
    let said = caller.call(&json!({})).await.expect_err("it is for another name");
    assert!(said.contains("cannot be trusted: ") && said.contains("not valid for"), "{said}");
    assert_eq!(other.heard().len(), 0);
}

#[tokio::test]
async fn https_to_a_server_without_tls() {
    let server = Server::start(vec![Do::Send("HTTP/1.1 200 OK\r\n\r\n".into()), Do::Hang]).await;
    let (_, certificate) = self_signed("127.0.0.1").await;
    let mut to = hook(&format!("https://{}/", server.address));
    to.timeout = Span::secs(5);
    let caller = Caller::new(&to, |written| written.into()).trusting(Trust::Only(vec![certificate]));
    let said = caller.call(&json!({})).await;
    let expected = format!("hook start https://{}/ cannot be trusted: it does not speak TLS", server.address);
    assert_eq!(said, Err(expected));
}
