//! What is not to be believed, read or done.

use std::time::Duration;

use super::harness::{Admin, config};

const WEIGHTS: &str = "/v1/splits/checkout/weights";
const GOOD: &str = r#"{"weights":{"stable":1,"canary":1}}"#;

#[tokio::test]
async fn bad_bodies() {
    let admin = Admin::start(&config(""));
    let long = format!(r#"{{"weights":{{"stable":1}},"reason":"{}"}}"#, "x".repeat(1_025));
    let huge = format!(r#"{{"weights":{{"stable":1}},"reason":"{}"}}"#, "x".repeat(1 << 20));
    for (body, status) in [
        ("", 400),
        ("{}", 422),
        ("x", 400),
        ("{", 400),
        ("null", 400),
        (r#"{"weights":{"stable":1},"x":1}"#, 400),
        (r#"{"weights":{"stable":-1}}"#, 422),
        (r#"{"weights":{"stable":1.5}}"#, 422),
        (r#"{"weights":{"stable":1e12}}"#, 422),
        (r#"{"weights":{"stable":0}}"#, 422),
        (r#"{"weights":{}}"#, 422),
        (r#"{"weights":{"green":1}}"#, 422),
        (r#"{"weights":{"stable":1},"ttl":"0s"}"#, 422),
        (r#"{"weights":{"stable":1},"ttl":"-1s"}"#, 422),
        (r#"{"weights":{"stable":1},"reason":"a\u0000b"}"#, 422),
        (&long, 422),
        (&huge, 413),
    ] {
        let shown: String = body.chars().take(60).collect();
        let answer = admin.put(WEIGHTS, body).await;
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        answer.refused(status);
    }
    let split = admin.get("/v1/splits/checkout").await.ok();
    assert_eq!(split["generation"], 1, "nothing was applied");
}

#[tokio::test]
async fn bodies_of_another_type_and_size() {
    let admin = Admin::start(&config(""));
    for (content_type, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonx", 415),
        ("multipart/form-data; boundary=x", 415),
    ] {
        let answer = admin.call("PUT", WEIGHTS, &[("content-type", content_type)], Some(GOOD)).await;
        assert_eq!(answer.status, status, "{content_type}");
    }
    let untyped = format!(
        "PUT {WEIGHTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    admin.send(untyped.as_bytes()).await.refused(415);
    // An empty form is what a web page could send without asking.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    admin.call("POST", "/v1/splits/checkout/revert", &form, Some("")).await.refused(415);
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let chunked = format!(
        "PUT {WEIGHTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{}",
        chunk.repeat(80)
    );
    admin.send(chunked.as_bytes()).await.refused(413);
    let declared = format!(
        "PUT {WEIGHTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 1073741824\r\n\r\n"
    );
    admin.send(declared.as_bytes()).await.refused(413);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let admin = Admin::start(&config(""));
    let waiting = format!(
        "PUT {WEIGHTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 10\r\n\r\n{{"
    );
    tokio::time::timeout(Duration::from_secs(14), admin.send(waiting.as_bytes()))
        .await
        .expect("given up in time")
        .refused(408);
}

#[tokio::test]
async fn methods_and_paths() {
    let admin = Admin::start(&config(""));
    for (method, path, status) in [
        ("GET", "/v1/splits/checkout/weights", 405),
        ("DELETE", "/v1/splits/checkout", 405),
        ("POST", "/v1/splits/checkout/weights", 405),
        ("GET", "/v1/splits/checkout/revert", 405),
        ("OPTIONS", "/v1/splits", 405),
        ("TRACE", "/v1/splits", 405),
        ("POST", "/livez", 405),
        ("GET", "/v2", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1//splits", 404),
        ("GET", "/v1/splits/..%2f..%2fetc", 404),
        ("GET", "/v1/splits/%00", 404),
        ("GET", "/v1/splits/%ff", 404),
        ("GET", "/v1/pools/../../etc/passwd", 404),
        ("GET", "/v1/splits/;", 404),
    ] {
        let answer = admin.call(method, path, &[], None).await;
        answer.refused(status);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}: {answer:?}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    let long = format!("/v1/splits/{}", "x".repeat(10_000));
    assert!(admin.get(&long).await.refused(404)["detail"].as_str().is_some_and(|d| d.len() < 200));
    let answer = admin.call("HEAD", "/v1/splits/checkout", &[], None).await;
    assert_eq!((answer.status, &*answer.body), (200, ""));
    assert_eq!(admin.call("HEAD", "/livez", &[], None).await.status, 200);
    admin.put(&format!("{WEIGHTS}?dryrun=true"), GOOD).await.refused(400);
    admin.put(&format!("{WEIGHTS}?dry_run=maybe"), GOOD).await.refused(400);
    let unquoted = [("if-match", "1")];
    admin.call("PUT", WEIGHTS, &unquoted, Some(GOOD)).await.refused(400);
}

#[tokio::test]
async fn a_name_with_control_characters_is_not_echoed() {
    let admin = Admin::start(&config(""));
    let answer = admin.get("/v1/splits/%1b%5b31m%0d%0aset-cookie:x").await;
    let detail = answer.refused(404)["detail"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(!detail.chars().any(char::is_control), "{detail:?}");
    assert!(answer.header("set-cookie").is_none());
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let admin = Admin::start(&config(""));
    let address = admin.address;
    let sent = ["", "GET /livez HTTP/1.1\r\nhost: a", "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"];
    let waits = sent.map(|sent| {
        tokio::spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            stream.write_all(sent.as_bytes()).await.expect("sent");
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(14), stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{sent:?} holds the connection");
        })
    });
    for wait in waits {
        wait.await.expect("closed in time");
    }
}
