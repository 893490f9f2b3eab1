//! Certificates that are replaced while clients come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::harness::authority::{Authority, Pair, name};
use crate::harness::{Tidegate, Upstream, config, eventually};

const TLS: &str = "tls = { certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }] }";

/// The serial number of what is shown.
async fn shown(tidegate: &Tidegate, authority: &Authority) -> Result<String, std::io::Error> {
    let stream = TcpStream::connect(tidegate.web()).await?;
    let tls = authority.client(&["http/1.1"], None).connect(name("shop.test"), stream).await?;
    Ok(serial(&tls.get_ref().1.peer_certificates().unwrap()[0]))
}

fn serial(der: &[u8]) -> String {
    x509_parser::parse_x509_certificate(der).unwrap().1.raw_serial_as_string()
}

fn serial_of(pair: &Pair) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pair.cert.as_bytes()).unwrap();
    serial(&pem.contents)
}

async fn start(authority: &Authority) -> (TempDir, Upstream, Tidegate, Pair) {
    let folder = TempDir::new().unwrap();
    let pair = authority.issue(&["shop.test"]);
    pair.write(folder.path(), "shop");
    let upstream = Upstream::start("app").await;
    let text = config::with_listener(TLS, "", &config::one_pool_rest(&[&upstream], "", ""));
    let tidegate = Tidegate::start_in(folder.path(), &text).await;
    (folder, upstream, tidegate, pair)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_replacements_fail_no_handshake() {
    let authority = Arc::new(Authority::new());
    let (folder, _upstream, tidegate, _) = start(&authority).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = tidegate.web();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (authority, stop, done) = (Arc::clone(&authority), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let connector = authority.client(&["h2", "http/1.1"], None);
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let handshake = async {
                        let stream = TcpStream::connect(address).await?;
                        connector.connect(name("shop.test"), stream).await
                    };
                    match handshake.await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        })
        .collect();
    let mut last = String::new();
    for _ in 0..100 {
        let pair = authority.issue(&["shop.test"]);
        last = serial_of(&pair);
        // The certificate and its key are two files, replaced one after the other.
        pair.write(folder.path(), "shop");
        let goal = done.load(Ordering::Relaxed) + 5;
        eventually("handshakes go on", async || (done.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }
    eventually("the last certificate is shown", async || {
        (shown(&tidegate, &authority).await.unwrap() == last).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), Vec::<String>::new());
    }
    println!("{} handshakes over 100 replacements, none failed", done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn what_is_broken_or_expired_is_refused_and_the_old_stays() {
    let authority = Authority::new();
    let (folder, _upstream, tidegate, pair) = start(&authority).await;
    let api = tidegate.api();
    let old = serial_of(&pair);
    let other = authority.issue(&["shop.test"]);
    for (what, bad) in [
        ("a key of another", Pair { cert: other.cert.clone(), key: pair.key.clone() }),
        ("no certificate", Pair { cert: "nonsense".into(), key: pair.key.clone() }),
        ("an expired one", authority.issue_until(&["shop.test"], 2020)),
    ] {
        let failed = api.get("/v1/status").await.ok()["last_reload"]["at"].clone();
        bad.write(folder.path(), "shop");
        eventually(what, async || {
            let status = api.get("/v1/status").await.ok();
            let last = &status["last_reload"];
            (last["ok"] == false && last["at"] != failed).then_some(())
        })
        .await;
        assert_eq!(shown(&tidegate, &authority).await.unwrap(), old, "{what}");
    }
    let mended = authority.issue(&["shop.test"]);
    mended.write(folder.path(), "shop");
    eventually("the good one is shown", async || {
        (shown(&tidegate, &authority).await.unwrap() == serial_of(&mended)).then_some(())
    })
    .await;
    assert_eq!(api.get("/v1/status").await.ok()["last_reload"]["ok"], true);
}

#[tokio::test]
async fn a_connection_that_is_open_keeps_what_it_began_with() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = Authority::new();
    let (folder, _upstream, tidegate, _) = start(&authority).await;
    let stream = TcpStream::connect(tidegate.web()).await.unwrap();
    let mut tls = authority.client(&[], None).connect(name("shop.test"), stream).await.unwrap();
    let next = authority.issue(&["shop.test"]);
    next.write(folder.path(), "shop");
    eventually("the new one is shown", async || {
        (shown(&tidegate, &authority).await.unwrap() == serial_of(&next)).then_some(())
    })
    .await;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), tls.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
