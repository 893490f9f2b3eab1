//! A file with mistakes: all of them at once, with their places, and nothing started.

use std::fs;

use tempfile::TempDir;

use crate::harness::client::ask;
use crate::harness::tidegate::{command, stderr, stdout};
use crate::harness::{Request, Tidegate, Upstream, config};

/// Ten mistakes, each with a word that the report must have.
const MISTAKES: &str = r#"
[server]
wrkers = 2

[[listeners]]
name = "web"
address = "nowhere"
header_timeout = "soon"

[pools.stable]
endpoints = ["127.0.0.1:9001"]
balance = "fastest"

[pools."bad name"]
endpoints = ["127.0.0.1:9002"]

[splits.shop]
weights = { stable = 0 }

[splits.other]
weights = { stable = 1, canery = 1 }

[splits.third]
weights = { stable = 1 }
fallback = ["nobody"]

[[routes]]
name = "one"
split = "shopp"

[[routes]]
name = "two"
pool = "stable"
split = "shop"

[[routes]]
name = "three"
matches = [{ path = { regex = "(" } }]
pool = "stable"
"#;

/// What the report says of each: its path or the word that is wrong.
const TOLD: [&str; 10] = [
    "wrkers",
    "address",
    "header_timeout",
    "balance",
    "bad name",
    "splits.shop",
    "canery",
    "nobody",
    "shopp",
    "routes[2]",
];

fn write(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tidegate.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[tokio::test]
async fn ten_mistakes_are_ten_problems() {
    let (_folder, path) = write(MISTAKES);
    let checked = command(&["check", &path], &[]).await;
    assert_eq!(checked.status.code(), Some(1));
    let said = stdout(&checked) + &stderr(&checked);
    let missing: Vec<_> = TOLD.iter().filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{said}");
    assert!(said.contains("routes[1]"), "exactly one of pool and split:\n{said}");
    assert!(said.contains("workers"), "the nearest known key:\n{said}");
    assert!(said.contains("canary") || said.contains("stable"), "the nearest known pool:\n{said}");
    let run = command(&["run", "--config", &path], &[]).await;
    assert_eq!(run.status.code(), Some(1), "it does not start");
}

#[tokio::test]
async fn files_that_are_no_configuration_are_refused() {
    let good = config::with("");
    let (_folder, path) = write(&good);
    assert_eq!(
        command(&["check", &path], &[]).await.status.code(),
        Some(0),
        "no pools and no routes is valid"
    );
    let deep = format!("x = {}", "[".repeat(100_000));
    for text in [
        "",
        "\n",
        "\u{0}",
        "listeners",
        "[[listeners]]\n",
        "name = \"x\"\nname = \"y\"\n",
        &deep,
        &good[..40],
    ] {
        let (_folder, path) = write(text);
        let checked = command(&["check", &path], &[]).await;
        assert_eq!(checked.status.code(), Some(1), "{:?}", &text[..text.len().min(40)]);
    }
    assert_eq!(command(&["check", "no-such-file.toml"], &[]).await.status.code(), Some(1));
    let (_folder, path) = write(&good.replace('\n', "\r\n"));
    assert_eq!(command(&["check", &path], &[]).await.status.code(), Some(0), "lines may end as on Windows");
}

#[tokio::test]
async fn the_environment_is_read_into_values() {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "", "")
        .replace(&upstream.address().to_string(), "${APP_ADDRESS}");
    let text = config::with(&rest).replace("\"app\"", "\"${POOL:-app}\"");
    let (folder, path) = write(&text);
    let checked = command(&["check", &path], &[]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!((stdout(&checked) + &stderr(&checked)).contains("APP_ADDRESS"), "the name that is not set");
    let address = upstream.address().to_string();
    let tidegate = Tidegate::start_with(folder.path(), &[("APP_ADDRESS", &address)]).await;
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "app");
}
