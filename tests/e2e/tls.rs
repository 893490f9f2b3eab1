//! TLS at a listener: who is shown which certificate, what is agreed on, and who may come in.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::api::metric;
use crate::harness::authority::{Authority, Pair, name};
use crate::harness::{Request, Response, Tidegate, Upstream, config, eventually, within};

const PATIENCE: Duration = Duration::from_secs(10);

/// A listener of these certificates, with more keys for its TLS and for itself.
fn listening(certificates: &[&str], tls: &str, keys: &str, rest: &str) -> String {
    let all: Vec<_> =
        certificates.iter().map(|c| format!("{{ cert = \"{c}.pem\", key = \"{c}.key\" }}")).collect();
    let tls = format!("tls = {{ certificates = [{}]{tls} }}\n{keys}", all.join(", "));
    config::with_listener(&tls, "", rest)
}

async fn start(folder: &Path, config: &str) -> Tidegate {
    Tidegate::start_in(folder, config).await
}

/// One GET over a connection of its own; the name on the certificate that was shown, and the answer.
async fn get(
    tidegate: &Tidegate,
    server: &str,
    connector: &TlsConnector,
    head: &str,
) -> std::io::Result<(String, String)> {
    let stream = TcpStream::connect(tidegate.web()).await?;
    let mut tls = connector.connect(name(server), stream).await?;
    let shown = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (_, shown) = x509_parser::parse_x509_certificate(&shown).unwrap();
    let shown = shown.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
    tls.write_all(format!("GET /?do=echo HTTP/1.1\r\n{head}connection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok((shown, answer))
}

#[tokio::test]
async fn the_name_asked_for_picks_the_certificate() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    for (file, names) in [("first", &["first.test"][..]), ("shop", &["shop.test", "*.shop.test"])] {
        authority.issue(names).write(folder.path(), file);
    }
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = start(folder.path(), &listening(&["first", "shop"], "", "", &rest)).await;
    let connector = authority.client(&["http/1.1"], None);
    for (server, shown) in
        [("first.test", "first.test"), ("shop.test", "shop.test"), ("a.shop.test", "shop.test")]
    {
        let head = format!("host: {server}\r\n");
        let (got, answer) = get(&tidegate, server, &connector, &head).await.unwrap();
        assert_eq!(got, shown, "{server}");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("[\"x-forwarded-proto\",\"https\"]"), "{answer}");
    }
    let unknown = get(&tidegate, "other.test", &connector, "host: other.test\r\n").await.unwrap_err();
    assert!(unknown.to_string().contains("not valid for name"), "the first certificate is shown: {unknown}");
}

#[tokio::test]
async fn a_host_that_differs_from_the_name_is_served_unless_the_listener_minds() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let connector = authority.client(&[], None);
    for (tls, status) in [("", "200"), (", strict_sni = true", "421")] {
        let tidegate = start(folder.path(), &listening(&["shop"], tls, "", &rest)).await;
        let (_, other) = get(&tidegate, "shop.test", &connector, "host: other.test\r\n").await.unwrap();
        assert!(other.starts_with(&format!("HTTP/1.1 {status}")), "{other}");
        let (_, same) = get(&tidegate, "shop.test", &connector, "host: SHOP.test:443\r\n").await.unwrap();
        assert!(same.starts_with("HTTP/1.1 200"), "{same}");
    }
}

/// A listener that asks clients for certificates.
async fn asking(asked: &str) -> (Authority, TempDir, Upstream, Tidegate) {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tls = format!(", client_ca = \"ca.pem\", client_cert = \"{asked}\"");
    let tidegate = start(folder.path(), &listening(&["shop"], &tls, "", &rest)).await;
    (authority, folder, upstream, tidegate)
}

fn told(answer: &str) -> Option<String> {
    let body = answer.split("\r\n\r\n").nth(1)?;
    let response = Response { status: 200, head: head(), body: body.as_bytes().to_vec() };
    response.echoed("x-forwarded-client-cert")
}

fn head() -> crate::harness::wire::Head {
    crate::harness::wire::Head { first: String::new(), headers: Vec::new() }
}

const FORGED: &str = "host: shop.test\r\nx-forwarded-client-cert: Subject=\"CN=admin\"\r\n";

#[tokio::test]
async fn who_the_client_is_is_told_upstream_and_cannot_be_forged() {
    let (authority, _folder, _upstream, tidegate) = asking("optional").await;
    let pair = authority.issue(&["worker.test"]);
    let with = authority.client(&[], Some(&pair));
    let (_, answer) = get(&tidegate, "shop.test", &with, FORGED).await.unwrap();
    assert_eq!(told(&answer).as_deref(), Some("Subject=\"CN=worker.test\";DNS=\"worker.test\""), "{answer}");
    let without = authority.client(&[], None);
    let (_, answer) = get(&tidegate, "shop.test", &without, FORGED).await.unwrap();
    assert_eq!(told(&answer), None, "{answer}");
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_required_is_refused() {
    let (authority, _folder, upstream, tidegate) = asking("required").await;
    let good = authority.issue(&["worker.test"]);
    let strangers = Authority::new().issue(&["worker.test"]);
    for (pair, let_in) in [(None, false), (Some(&strangers), false), (Some(&good), true)] {
        let got = get(&tidegate, "shop.test", &authority.client(&[], pair), "host: shop.test\r\n").await;
        let served = got.is_ok_and(|(_, answer)| answer.starts_with("HTTP/1.1 200"));
        assert_eq!(served, let_in);
    }
    assert_eq!(upstream.requests(), 1);
    let api = tidegate.api();
    eventually("refusals are counted", async || {
        let labels = [("listener", "web"), ("reason", "tls_handshake")];
        metric(&api.metrics().await, "tidegate_rejected_total", &labels).filter(|count| *count >= 2.0)
    })
    .await;
}

#[tokio::test]
async fn handshakes_have_a_deadline_and_harm_nobody() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let config = listening(&["shop"], "", "header_timeout = \"500ms\"", &rest);
    let tidegate = start(folder.path(), &config).await;
    let mut silent = Vec::new();
    for bytes in
        [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n"]
    {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(tidegate.web()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            silent.push(stream);
        }
    }
    let connector = authority.client(&[], None);
    let (_, answer) = get(&tidegate, "shop.test", &connector, "host: shop.test\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for mut stream in silent {
        let mut rest = Vec::new();
        // An alert may come first; a reset is an end, too.
        let _ = within(PATIENCE, "the end of a handshake", stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_broken_start_names_the_file_and_the_key() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let Pair { cert, .. } = authority.issue(&["a.test"]);
    Pair { cert, key: authority.issue(&["b.test"]).key }.write(folder.path(), "shop");
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, listening(&["shop"], "", "", "")).unwrap();
    let output = crate::harness::tidegate::command(&["check", file.to_str().unwrap()], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = crate::harness::tidegate::stdout(&output);
    assert!(
        told.contains(
            "listeners[0].tls.certificates[0].key: shop.key is not the key of the certificate in shop.pem"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn http_1_and_http_2_are_agreed_on() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "");
    let tidegate = start(folder.path(), &listening(&["shop"], "", "", &rest)).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = TcpStream::connect(tidegate.web()).await.unwrap();
        let tls = authority.client(offered, None).connect(name("shop.test"), stream).await.unwrap();
        let got = tls.get_ref().1.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
        assert_eq!(got.as_deref(), agreed, "{offered:?}");
    }
    let stream = TcpStream::connect(tidegate.web()).await.unwrap();
    let none = authority.client(&["spdy/3"], None).connect(name("shop.test"), stream).await;
    assert!(none.is_err(), "there is no protocol that both speak");
    let mut h2 = crate::harness::H2::tls(tidegate.web(), "shop.test", &authority.client(&["h2"], None)).await;
    let answer = h2.ask(&Request::get("/?do=echo")).await;
    assert_eq!(answer.echoed("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(answer.echoed("host").as_deref(), Some("shop.test"));
}
