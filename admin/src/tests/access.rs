//! Who may call, over the wire; the finer table is with `access`.

use super::harness::{Admin, config};

#[tokio::test]
async fn web_pages_are_kept_out() {
    let admin = Admin::start(&config(""));
    for (name, value) in [
        ("host", "attacker.test"),
        ("host", "127.0.0.1.nip.io"),
        ("origin", "http://evil.test"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
    ] {
        let headers = [(name, value)];
        admin.call("GET", "/v1/splits", &headers, None).await.refused(403);
        admin.call("POST", "/v1/splits/checkout/revert", &headers, None).await.refused(403);
        for open in ["/livez", "/metrics"] {
            assert_eq!(admin.call("GET", open, &headers, None).await.status, 200, "{open} {value}");
        }
    }
    let answer = admin.send(b"GET /v1/splits HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!([400, 403].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn with_a_token_every_call_needs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("admin.token"), "s3cret-token\n").expect("written");
    let path = folder.path().join("tidegate.toml");
    let text = config("").replace("[admin]", "[admin]\ntoken_file = \"admin.token\"");
    std::fs::write(&path, text).expect("written");
    let admin = Admin::start_file(&path);
    for wrong in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer s3cret-toke"),
        Some("Bearer s3cret-token2"),
        Some("Bearer S3cret-token"),
        Some("Basic s3cret-token"),
        Some("s3cret-token"),
    ] {
        let headers: Vec<_> = wrong.iter().map(|value| ("authorization", *value)).collect();
        let answer = admin.call("GET", "/v1/splits", &headers, None).await;
        answer.refused(401);
        assert!(answer.header("www-authenticate").is_some());
        assert!(!answer.body.contains("s3cret"));
    }
    admin.get("/v1/splits?token=s3cret-token").await.refused(401);
    for good in ["Bearer s3cret-token", "bearer s3cret-token"] {
        let headers = [("authorization", good), ("host", "gateway.example.com")];
        admin.call("GET", "/v1/splits", &headers, None).await.ok();
    }
    assert_eq!(admin.get("/livez").await.status, 200);
    assert_eq!(admin.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn every_call_of_the_document_is_served() {
    let admin = Admin::start(&config(""));
    let document = admin.get("/v1/openapi.json").await.ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("an object");
    for (path, calls) in paths.iter().filter(|(path, _)| *path != "/v1/events") {
        let filled = path
            .replace("{split}", "checkout")
            .replace("{pool}", "stable")
            .replace("{address}", "127.0.0.1:9001")
            .replace("{generation}", "1");
        for method in calls.as_object().expect("an object").keys() {
            let answer = admin.call(&method.to_uppercase(), &filled, &[], None).await;
            // A split without a rollout is another thing than a path without a handler.
            let is_served = answer.status != 405 && !answer.body.contains("no call has the path");
            assert!(is_served, "{method} {filled}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn readiness_follows_the_phase() {
    use crate::process::Phase;
    let admin = Admin::start(&config(""));
    for (phase, status) in [(Phase::Starting, 503), (Phase::Ready, 200), (Phase::Stopping, 503)] {
        admin.control.process().set_phase(phase);
        assert_eq!(admin.get("/readyz").await.status, status, "{phase:?}");
        assert_eq!(admin.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_socket_is_for_its_owner_and_replaces_a_dead_one() {
    use std::os::unix::fs::PermissionsExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.toml");
    let text =
        config("").replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"unix:admin.sock\"");
    std::fs::write(&path, text).expect("written");
    let socket = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    let admin = Admin::start_file(&path);
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(crate::bind(&admin.control, None).is_err(), "somebody listens on it");
    let mut stream = tokio::net::UnixStream::connect(&socket).await.expect("it listens");
    let call = b"GET /v1/splits HTTP/1.1\r\nhost: whatever\r\nconnection: close\r\n\r\n";
    stream.write_all(call).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    admin.stop().await;
    assert!(!socket.exists());
}
