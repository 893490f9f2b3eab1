//! One line a request, always JSON, whatever the client sends.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::client::raw;
use crate::harness::logs::field;
use crate::harness::{Client, PATIENCE, Request, Tidegate, Upstream, config, eventually};

/// Lines about requests, told from the others by what they have.
fn access(lines: &[Value]) -> Vec<Value> {
    let is_access =
        |line: &&Value| ["method", "path", "status"].iter().all(|key| !field(line, key).is_null());
    lines.iter().filter(is_access).cloned().collect()
}

async fn start(log: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let config = config::one_pool(&[&upstream], "", "");
    let tidegate = Tidegate::start(&format!("[log]\n{log}\n\n{config}")).await;
    (upstream, tidegate)
}

async fn lines(tidegate: &Tidegate, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines"), async || {
        let lines = access(&tidegate.out.json());
        (lines.len() >= count).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn a_line_says_what_happened() {
    let (upstream, tidegate) = start("access = \"on\"").await;
    let mut client = Client::new(tidegate.web());
    let request = Request::get("/a/path?do=bytes:1234").header("x-request-id", "id-1");
    client.ask(&request).await;
    let line = lines(&tidegate, 1).await.remove(0);
    let endpoint = upstream.address().to_string();
    for (key, value) in
        [("method", "GET"), ("host", "shop.test"), ("route", "all"), ("pool", "app"), ("endpoint", &endpoint)]
    {
        assert_eq!(field(&line, key), value, "{key} in {line}");
    }
    assert!(field(&line, "path").as_str().unwrap().starts_with("/a/path"), "{line}");
    assert_eq!(field(&line, "status"), 200);
    assert_eq!(field(&line, "request_id"), "id-1");
    assert!(field(&line, "client").as_str().unwrap().starts_with("127.0.0.1"), "{line}");
    assert!(field(&line, "bytes").as_u64().unwrap() >= 1234, "{line}");
    assert_eq!(field(&line, "attempts"), 1);
    assert!(!field(&line, "generation").is_null(), "{line}");
    assert!(line.to_string().contains("\"duration"), "{line}");
    assert!(line.to_string().contains("trace_id"), "{line}");
}

#[tokio::test]
async fn a_request_that_was_refused_before_it_was_routed_has_a_line_too() {
    let (_upstream, tidegate) = start("access = \"on\"").await;
    raw(tidegate.web(), b"GET / HTTP/1.1\r\n\r\n", PATIENCE).await;
    let line = lines(&tidegate, 1).await.remove(0);
    assert_eq!(
        (field(&line, "status"), field(&line, "error")),
        (&json!(400), &json!("bad_request")),
        "{line}"
    );
    for key in ["route", "split", "pool", "endpoint", "failure"] {
        assert!(line.get(key).is_some_and(Value::is_null), "every line has every key: {key} in {line}");
    }
}

#[tokio::test]
async fn a_query_is_not_logged() {
    let (_upstream, tidegate) = start("access = \"on\"").await;
    Client::new(tidegate.web()).ask(&Request::get("/a?token=secret")).await;
    let line = lines(&tidegate, 1).await.remove(0);
    assert_eq!(field(&line, "path"), "/a");
    assert!(!line.to_string().contains("secret"), "{line}");
}

#[tokio::test]
async fn client_data_cannot_break_a_line() {
    let (_upstream, tidegate) = start("access = \"on\"").await;
    let mut client = Client::new(tidegate.web());
    let evil = ["/%22%7d%0a%7b", "/a\"b", "/\u{e9}\u{2028}", "/%1b[31m", "/a\\b", "/<script>", "/%ff%fe"];
    let mut asked = 0;
    for target in evil {
        let request =
            Request::get(target).header("user-agent", "x\"y\\ \t\u{1f600}").header("x-request-id", "a\"b\\c");
        // A target that is refused is not logged with a path, and need not be.
        if client.send(&request).await.is_ok_and(|answer| answer.status == 200) {
            asked += 1;
        }
    }
    client
        .ask(&Request::get("/").header("authorization", "Bearer hidden-1").header("cookie", "sid=hidden-2"))
        .await;
    asked += 1;
    assert!(asked >= 3, "{asked}");
    assert!(lines(&tidegate, asked).await.len() >= asked);
    for line in tidegate.out.all() {
        assert!(
            serde_json::from_str::<Value>(&line).is_ok_and(|line| line.is_object()),
            "not JSON: {line:?}"
        );
        assert!(!line.contains('\u{1b}') && !line.contains("hidden-"), "{line:?}");
    }
}

#[tokio::test]
async fn off_is_off_and_a_sample_has_all_failures() {
    let (_upstream, tidegate) = start("access = \"off\"").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..10 {
        client.ask(&Request::get("/")).await;
    }
    let (_upstream, sampled) = start("access = \"on\"\naccess_sample = 0.0").await;
    let mut client = Client::new(sampled.web());
    for _ in 0..10 {
        client.ask(&Request::get("/")).await;
        client.ask(&Request::get("/?do=status:503")).await;
    }
    let lines = lines(&sampled, 10).await;
    assert!(lines.len() == 10 && lines.iter().all(|line| *field(line, "status") == 503), "{lines:#?}");
    assert_eq!(access(&tidegate.out.json()).len(), 0);
}

#[tokio::test]
async fn a_file_is_opened_again_on_sighup() {
    let upstream = Upstream::start("app").await;
    let folder = TempDir::new().unwrap();
    let (file, moved) = (folder.path().join("out.log"), folder.path().join("out.log.1"));
    let log = format!("[log]\naccess = \"on\"\noutput = \"{}\"\n\n", file.display());
    let config = format!("{log}{}", config::one_pool(&[&upstream], "", ""));
    let tidegate = Tidegate::start_logging_to(folder.path(), &config, &file).await;
    let mut client = Client::new(tidegate.web());
    let has =
        |path: &std::path::Path, word: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(word));
    client.ask(&Request::get("/before")).await;
    eventually("the line is written", async || has(&file, "/before").then_some(())).await;
    fs::rename(&file, &moved).unwrap();
    tidegate.signal("HUP");
    eventually("the file is there again", async || file.exists().then_some(())).await;
    client.ask(&Request::get("/after")).await;
    eventually("the line is in the new file", async || has(&file, "/after").then_some(())).await;
    assert!(!has(&moved, "/after"));
}
