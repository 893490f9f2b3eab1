//! One request, and everything that may come back.

use std::time::{Duration, Instant};

use super::testing::{Do, Server, answer, nobody};
use super::*;

const SHORT: Duration = Duration::from_millis(300);

async fn ask(script: Vec<Do>, limits: Limits) -> Result<Seen, AskError> {
    let server = Server::start(script).await;
    let request = Request::get("/x?y=z").header("host", "a").body(Bytes::new()).expect("good");
    let seen = at(&server.address, &Speech::default(), request, limits).await;
    assert!(server.heard().iter().all(|heard| heard == "GET /x?y=z HTTP/1.1\r\nhost: a\r\n\r\n"));
    seen
}

fn limits(body_bytes: usize) -> Limits {
    Limits { within: SHORT, body_bytes }
}

fn send(text: &str) -> Vec<Do> {
    vec![Do::Read, Do::Send(text.into())]
}

#[tokio::test]
async fn answers() {
    for (script, body_bytes, status, body) in [
        (answer("200 OK", "hello"), 100, 200, "hello"),
        (answer("200 OK", "hello"), 5, 200, "hello"),
        (answer("200 OK", "hello"), 4, 200, "hell"),
        (answer("200 OK", "hello"), 0, 200, ""),
        (answer("404 Not Found", ""), 100, 404, ""),
        (answer("599 X", ""), 100, 599, ""),
        (send("HTTP/1.0 200 OK\r\n\r\nto the end"), 100, 200, "to the end"),
        (
            send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            100,
            200,
            "hello",
        ),
        (send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), 100, 204, ""),
        (send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), 100, 101, ""),
        (
            vec![Do::Read, Do::Send("HTTP/1.1 200 OK\r\n\r\n".into()), Do::Pour("xxxxxxxx")],
            10,
            200,
            "xxxxxxxxxx",
        ),
        (vec![Do::Read, Do::Send("HTTP/1.1 200 OK\r\n\r\n".into()), Do::Hang], 0, 200, ""),
        // Answered without having heard the question.
        (answer("503 Busy", "x").split_off(1), 100, 503, "x"),
    ] {
        let shown = format!("{script:?}");
        let seen = ask(script, limits(body_bytes)).await.expect(&shown);
        assert_eq!((seen.status.as_u16(), &*String::from_utf8_lossy(&seen.body)), (status, body), "{shown}");
        assert!(seen.broken.is_none(), "{shown}: {seen:?}");
    }
}

#[tokio::test]
async fn bodies_that_do_not_come() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let late = vec![Do::Read, Do::Send(head.into()), Do::Hang];
    for (script, why) in [
        (late, "did not answer within 300ms"),
        (send(head), "closed the connection before the end of an answer"),
    ] {
        let seen = ask(script, limits(100)).await.expect("a status");
        assert_eq!((seen.status.as_u16(), &*seen.body), (200, &b"hello"[..]));
        assert_eq!(seen.broken.map(|error| error.to_string()).as_deref(), Some(why));
    }
}

#[tokio::test]
async fn no_answers() {
    let endless =
        vec![Do::Read, Do::Send("HTTP/1.1 200 OK\r\nx: ".into()), Do::Pour("xxxxxxxxxxxxxxxxxxxxxxxxxx")];
    for (script, why) in [
        (vec![], "closed the connection before the end of an answer"),
        (vec![Do::Read], "closed the connection before the end of an answer"),
        (send("HTTP/1.1 200"), "closed the connection before the end of an answer"),
        (send("SSH-2.0-OpenSSH_9.6\r\n"), "did not answer in HTTP: "),
        (send("HTTP/2 200\r\n\r\n"), "did not answer in HTTP: "),
        (send("HTTP/1.1 999999 What\r\n\r\n"), "did not answer in HTTP: "),
        (send("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "did not answer in HTTP: "),
        (endless, "did not answer in HTTP: "),
        (vec![Do::Hang], "did not answer within 300ms"),
        (vec![Do::Read, Do::Hang], "did not answer within 300ms"),
        (
            vec![Do::Read, Do::Drip("HTTP/1.1 200 OK\r\n\r\n", Duration::from_millis(50))],
            "did not answer within 300ms",
        ),
        (vec![Do::Read, Do::Pour("HTTP/1.1 100 Continue\r\n\r\n")], "did not answer within 300ms"),
    ] {
        let shown = format!("{script:?}");
        let began = Instant::now();
        let said = ask(script, limits(100)).await.expect_err(&shown).to_string();
        assert!(said.starts_with(why), "{shown}: {said}");
        assert!(began.elapsed() < Duration::from_secs(3), "{shown}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn connections() {
    let server = Server::start(vec![Do::Hang]).await;
    connect(&server.address, SHORT).await.expect("it listens");
    let refused = connect(&nobody().await, SHORT).await.expect_err("nobody listens");
    assert_eq!(refused.to_string(), "cannot be reached: connection refused");
}

#[test]
fn foreign_text_is_made_printable() {
    for (sent, shown) in [
        ("", ""),
        ("not today", "not today"),
        ("  a\r\n\tb\u{2028}c  ", "a b c"),
        ("\u{1b}[31mred\u{7}\u{0}", "[31mred"),
        ("a \u{1b} b", "a b"),
        ("\u{202e}gnp.exe\u{200b}\u{feff}", "gnp.exe"),
        ("<script>", "<script>"),
        ("exactly ten", "exactly te…"),
        ("ééééééééééé", "éééééééééé…"),
        ("0123456789", "0123456789"),
    ] {
        assert_eq!(printable(sent.as_bytes(), 10), shown, "{sent:?}");
    }
    assert_eq!(printable(&[b'a', 0xff, b'b'], 10), "a\u{fffd}b");
}
