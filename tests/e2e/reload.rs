//! The file is read again however it was changed; a good one is swapped in, a bad one changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// A configuration that sends everything to this upstream, whose answers are its name.
fn to(upstream: &Upstream) -> String {
    config::one_pool(&[upstream], "", "")
}

async fn named<const N: usize>(names: [&str; N]) -> [Upstream; N] {
    let mut upstreams = Vec::new();
    for name in names {
        upstreams.push(Upstream::start(name).await);
    }
    upstreams.try_into().unwrap_or_else(|_| unreachable!("as many as names"))
}

async fn until_it_says(tidegate: &Tidegate, words: &str) {
    let web = tidegate.web();
    eventually(&format!("the answer is {words}"), async || {
        (ask(web, &Request::get("/")).await.text() == words).then_some(())
    })
    .await;
}

async fn last_reload(tidegate: &Tidegate) -> Value {
    tidegate.api().get("/v1/status").await.ok()["last_reload"].take()
}

#[tokio::test]
async fn each_way_of_changing_the_file_is_noticed() {
    let [one, written, renamed, back] = named(["one", "written", "renamed", "back"]).await;
    let tidegate = Tidegate::start(&to(&one)).await;
    until_it_says(&tidegate, "one").await;
    fs::write(tidegate.config_path(), to(&written)).unwrap();
    until_it_says(&tidegate, "written").await;
    tidegate.replace_config(&to(&renamed));
    until_it_says(&tidegate, "renamed").await;
    fs::remove_file(tidegate.config_path()).unwrap();
    assert_eq!(
        ask(tidegate.web(), &Request::get("/")).await.text(),
        "renamed",
        "gone, and the old one stays"
    );
    fs::write(tidegate.config_path(), to(&back)).unwrap();
    until_it_says(&tidegate, "back").await;
    assert_eq!(last_reload(&tidegate).await["ok"], true);
}

#[tokio::test]
async fn a_swapped_symlink_is_noticed() {
    // As Kubernetes lays out a ConfigMap: file -> ..data/file, ..data -> a folder of this version.
    let folder = TempDir::new().unwrap();
    let version = |name: &str, text: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("tidegate.toml"), text).unwrap();
    };
    let upstreams = named(["one", "two", "three", "four"]).await;
    version("..v1", &to(&upstreams[0]));
    symlink("..v1", folder.path().join("..data")).unwrap();
    symlink("..data/tidegate.toml", folder.path().join("tidegate.toml")).unwrap();
    let tidegate = Tidegate::start_again(folder.path()).await;
    until_it_says(&tidegate, "one").await;
    for (upstream, name, number) in [(1, "two", 2), (2, "three", 3), (3, "four", 4)] {
        version(&format!("..v{number}"), &to(&upstreams[upstream]));
        symlink(format!("..v{number}"), folder.path().join("..next")).unwrap();
        fs::rename(folder.path().join("..next"), folder.path().join("..data")).unwrap();
        fs::remove_dir_all(folder.path().join(format!("..v{}", number - 1))).unwrap();
        until_it_says(&tidegate, name).await;
    }
}

#[tokio::test]
async fn a_signal_and_a_call_read_it_again() {
    let [one, two] = named(["one", "two"]).await;
    let tidegate = Tidegate::start(&to(&one)).await;
    // Looked at first: the watcher may be quicker than the call.
    let before = tidegate.api().get("/v1/status").await.ok()["generation"].as_u64().unwrap();
    tidegate.replace_config(&to(&two));
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    assert_eq!(
        ask(tidegate.web(), &Request::get("/")).await.text(),
        "two",
        "in force when the call is answered"
    );
    let after = tidegate.api().get("/v1/status").await.ok()["generation"].as_u64().unwrap();
    assert!(after > before, "{before} {after}");
    let at = last_reload(&tidegate).await["at"].clone();
    tidegate.signal("HUP");
    eventually("the signal has been heeded", async || {
        (last_reload(&tidegate).await["at"] != at).then_some(())
    })
    .await;
    assert!(ask(tidegate.web(), &Request::get("/")).await.text() == "two");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told() {
    let [good, better] = named(["good", "better"]).await;
    let text = to(&good);
    let mut tidegate = Tidegate::start(&text).await;
    let api = tidegate.api();
    for (bad, told) in [
        (String::new(), "listeners"),
        (text.replace("endpoints", "endpionts"), "endpionts"),
        (text.replace("pool = \"app\"", "pool = \"nowhere\""), "nowhere"),
        (text[..text.len() - 10].to_owned(), ""),
        ("\u{0}\u{1}".to_owned(), ""),
    ] {
        tidegate.replace_config(&bad);
        let problem = api.post("/v1/config/reload", &Value::Null).await.problem(422);
        assert!(problem.to_string().contains(told), "{told} in {problem}");
        let reload = last_reload(&tidegate).await;
        assert_eq!(reload["ok"], false, "{reload}");
        assert!(reload["problems"].as_array().is_some_and(|problems| !problems.is_empty()), "{reload}");
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.text(), "good");
        let metrics = api.metrics().await;
        assert_eq!(metric(&metrics, "tidegate_config_last_reload_success", &[]), Some(0.0));
    }
    tidegate.replace_config(&to(&better));
    until_it_says(&tidegate, "better").await;
    assert_eq!(last_reload(&tidegate).await["ok"], true);
    assert_eq!(metric(&api.metrics().await, "tidegate_config_last_reload_success", &[]), Some(1.0));
    assert!(tidegate.is_running());
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name() {
    let [old, new] = named(["old", "new"]).await;
    let tidegate = Tidegate::start(&to(&old)).await;
    let (api, next) = (tidegate.api(), to(&new));
    let changed = [
        (next.replacen("127.0.0.1:0", "127.0.0.1:1", 1), "web"),
        (config::server("workers = 7", &next), "workers"),
        (next.replace("[admin]", "[admin]\nallowed_hosts = [\"x.test\"]"), "admin"),
    ];
    for (text, name) in changed {
        tidegate.replace_config(&text);
        let problem = api.post("/v1/config/reload", &Value::Null).await.problem(422);
        assert!(problem.to_string().contains(name), "{name} in {problem}");
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.text(), "old", "nothing is half applied");
    }
}

#[tokio::test]
async fn endpoints_that_stay_keep_their_state() {
    let [one, two] = [Upstream::start("one").await, Upstream::start("two").await];
    let (api, tidegate) = {
        let tidegate = Tidegate::start(&config::one_pool(&[&one, &two], config::QUICK_HEALTH, "")).await;
        (tidegate.api(), tidegate)
    };
    let state = async |upstream: &Upstream| api.endpoint("app", upstream.address()).await["state"].clone();
    two.set_healthy(false);
    eventually("two is down", async || (state(&two).await == "down").then_some(())).await;
    let mut client = Client::new(tidegate.web());
    client.ask(&Request::get("/")).await;
    let (mut pending, request) = (Client::new(tidegate.web()), Request::get("/?do=delay:2000"));
    let pending = tokio::spawn(async move { pending.send(&request).await });
    eventually("it is in flight", async || (api.in_flight("app").await == 1).then_some(())).await;
    let connections = one.connections();
    for number in 0..5 {
        let route = format!("timeout = \"{}s\"", 10 + number);
        tidegate.replace_config(&config::one_pool(&[&one, &two], config::QUICK_HEALTH, &route));
        api.post("/v1/config/reload", &Value::Null).await.ok();
        assert_eq!(state(&two).await, "down", "a reload does not make it well");
        assert_eq!(state(&one).await, "up");
        assert_eq!(api.in_flight("app").await, 1, "what is in flight stays counted");
        client.ask(&Request::get("/")).await;
    }
    assert_eq!(pending.await.unwrap().unwrap().status, 200);
    eventually("nothing is in flight", async || (api.in_flight("app").await == 0).then_some(())).await;
    // The checks may make connections of their own; requests need no more than they had.
    let more = one.connections() - connections;
    assert!(more <= one.health_checks(), "{more} more connections");
    assert_eq!(client.connects, 1);
}

#[tokio::test]
async fn a_burst_of_changes_ends_with_the_last_one() {
    let [first, other, last] = named(["first", "other", "last"]).await;
    let tidegate = Tidegate::start(&to(&first)).await;
    for number in 0..200 {
        fs::write(tidegate.config_path(), to(if number % 2 == 0 { &first } else { &other })).unwrap();
    }
    fs::write(tidegate.config_path(), to(&last)).unwrap();
    until_it_says(&tidegate, "last").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.text(), "last");
    let reloads =
        metric(&tidegate.api().metrics().await, "tidegate_config_reloads_total", &[]).unwrap_or(0.0);
    assert!(reloads < 100.0, "a burst is not a reload each: {reloads}");
}

#[tokio::test]
async fn a_body_can_be_checked_without_being_used() {
    let [old, new] = named(["old", "new"]).await;
    let tidegate = Tidegate::start(&to(&old)).await;
    let api = tidegate.api();
    let check = async |text: &str| {
        let mut request =
            Request::new("POST", "/v1/config/validate").header("content-type", "application/toml");
        request.body = text.as_bytes().to_vec();
        api.send(request).await
    };
    check(&to(&new)).await.ok();
    let problem = check(&to(&new).replace("pool = \"app\"", "pol = \"app\"")).await.problem(422);
    let problems = problem["problems"].as_array().expect("problems");
    assert!(
        problems.iter().any(|one| one["path"].as_str().is_some_and(|path| path.contains("routes[0]"))),
        "{problem}"
    );
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.text(), "old");
    assert_eq!(api.get("/v1/config").await.status, 200);
    assert_ne!(json!(null), api.get("/v1/status").await.ok()["version"]);
}

#[tokio::test]
async fn a_check_tells_what_would_become_of_recent_requests() {
    let [stable, canary] = named(["stable", "canary"]).await;
    let text = config::canary(&[&stable], &[&canary], [60, 40], "");
    let tidegate = Tidegate::start(&text).await;
    let (api, mut client) = (tidegate.api(), Client::new(tidegate.web()));
    let check = async |text: String| {
        let mut request =
            Request::new("POST", "/v1/config/validate").header("content-type", "application/toml");
        request.body = text.into_bytes();
        api.send(request).await.ok()["changes"]["recent"].clone()
    };
    assert_eq!(check(text.clone()).await["requests"], 0, "there was no traffic yet");
    let mut user = 0;
    let mut recent = Value::Null;
    while recent["requests"].as_u64().is_none_or(|seen| seen < 40) {
        for _ in 0..100 {
            user += 1;
            let request = Request::get("/").header("x-user-id", &format!("user-{user}"));
            assert_eq!(client.ask(&request).await.status, 200);
        }
        assert!(user < 100_000, "a sample of the traffic is kept: {recent}");
        recent = check(text.replace("canary = 40", "canary = 600")).await;
    }
    let moves = recent["moves"].as_array().expect("a list");
    assert_eq!(moves.len(), 1, "users only move into the pool whose weight is raised: {recent}");
    assert_eq!(moves[0]["from"], json!({ "route": "all", "pool": "stable" }));
    assert_eq!(moves[0]["to"], json!({ "route": "all", "pool": "canary" }));
    assert_eq!(moves[0]["requests"], recent["moved"]);
    assert_eq!(check(text).await["moved"], 0, "the same file moves nobody");
}
