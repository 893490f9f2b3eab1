//! Listeners on Unix sockets: served like any other, and gone when the process is.

use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::harness::{PATIENCE, Tidegate, Upstream, config};

/// One request on a connection of its own.
async fn get(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(b"GET /?do=echo HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn text(upstream: &Upstream) -> String {
    let local = "[[listeners]]\nname = \"local\"\naddress = \"unix:web.sock\"\n\n";
    format!("{local}{}", config::one_pool(&[upstream], "", ""))
}

#[tokio::test]
async fn a_client_on_a_socket_is_one_of_this_machine() {
    let (folder, upstream) = (TempDir::new().unwrap(), Upstream::start("app").await);
    let path = folder.path().join("web.sock");
    for round in 0..2 {
        // The second time over what a killed process has left behind.
        let mut tidegate = Tidegate::start_in(folder.path(), &text(&upstream)).await;
        let got = get(&path).await.unwrap();
        assert!(got.contains("[\"x-forwarded-for\",\"127.0.0.1\"]"), "{round}: {got}");
        let status = tidegate.api().get("/v1/status").await.ok();
        assert_eq!(status["listeners"][0]["address"], format!("unix:{}", path.display()));
        tidegate.kill();
        assert!(path.exists());
    }
    let mut tidegate = Tidegate::start_in(folder.path(), &text(&upstream)).await;
    tidegate.signal("TERM");
    assert!(tidegate.ended(PATIENCE).await.success());
    assert!(!path.exists(), "its file is gone with it");
}

#[tokio::test]
async fn it_stays_over_an_upgrade() {
    let (folder, upstream) = (TempDir::new().unwrap(), Upstream::start("app").await);
    let path = folder.path().join("web.sock");
    let tidegate = Tidegate::start_in(folder.path(), &text(&upstream)).await;
    let asking = tokio::spawn({
        let path = path.clone();
        async move {
            for _ in 0..200 {
                assert!(get(&path).await.unwrap().starts_with("HTTP/1.1 200"));
            }
        }
    });
    let (_new, mut old) = tidegate.upgrade().await;
    assert!(old.ended(PATIENCE).await.success());
    asking.await.unwrap();
    assert!(get(&path).await.unwrap().starts_with("HTTP/1.1 200"));
}
