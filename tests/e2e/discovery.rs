//! A pool whose endpoints are what a name stands for: they follow it, and outlive a resolver that fails.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::config::with;
use crate::harness::events::Events;
use crate::harness::load::Load;
use crate::harness::{Api, Names, Request, Tidegate, Upstream, eventually};

/// A pool `app` of what the name stands for, at this port, and a route to it.
fn app(port: u16, keys: &str) -> String {
    with(&format!(
        "[pools.app]\ndns = \"app.test:{port}\"\ndns_refresh = \"50ms\"\n{keys}\n\n\
         [[routes]]\nname = \"all\"\npool = \"app\"\n"
    ))
}

/// Lines by which the name stands for these addresses of this host.
fn hosts(last: &[u8]) -> String {
    let line = |last: &u8| format!("127.0.0.{last} app.test\n");
    last.iter().map(line).collect::<Vec<_>>().concat()
}

async fn addresses(api: &Api) -> Vec<String> {
    let pool = api.get("/v1/pools/app").await.ok();
    let endpoints = pool["endpoints"].as_array().unwrap().iter();
    endpoints.map(|one| one["address"].as_str().unwrap().to_owned()).collect()
}

async fn until(api: &Api, port: u16, hosts: &[u8]) {
    let wanted: Vec<String> = hosts.iter().map(|host| format!("127.0.0.{host}:{port}")).collect();
    let what = format!("the endpoints are {wanted:?}");
    eventually(&what, async || (addresses(api).await == wanted).then_some(())).await;
}

async fn event(events: &mut Events, state: &str) -> Value {
    let told = events.next("health").await;
    assert_eq!((&told["actor"], &told["state"]), (&json!("dns"), &json!(state)), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_follow_the_name() {
    let folder = TempDir::new().unwrap();
    let one = Upstream::start("one").await;
    let (two, port) = (Upstream::start_beside("two", &one, 2).await, one.address().port());
    let names = Names::new(folder.path());
    names.set(&hosts(&[1]));
    let file = app(port, "balance = \"round_robin\"\nconnect_timeout = \"10s\"");
    let tidegate = Tidegate::start_with_names(folder.path(), &file, &names).await;
    let first = ask(tidegate.web(), &Request::get("/")).await;
    assert_eq!((first.status, first.upstream()), (200, "one"), "the start has waited for the name");
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let before = api.get("/v1/history").await.ok();
    let generation = api.get("/v1/pools/app").await.ok()["generation"].clone();

    let load = Load::start(tidegate.web(), 4, &Request::get("/"));
    names.set(&hosts(&[2, 1, 2]));
    until(&api, port, &[1, 2]).await;
    let told = events.next("change").await;
    assert_eq!((&told["action"], &told["pool"]), (&json!("resolve"), &json!("app")), "{told}");
    assert_eq!(told["added"], json!([two.address().to_string()]));
    load.flows(100).await;
    names.set(&hosts(&[2]));
    until(&api, port, &[2]).await;
    assert_eq!(events.next("change").await["removed"], json!([one.address().to_string()]));
    eventually("what is gone has drained", async || (one.open() == 0).then_some(())).await;
    load.flows(100).await;
    let seen = load.stop().await;
    seen.assert_clean(200);
    assert!(seen.of("one") > 0 && seen.of("two") > 0, "{seen:?}");

    assert_eq!(api.get("/v1/history").await.ok(), before, "it is no change");
    let pool = api.get("/v1/pools/app").await.ok();
    assert_eq!((&pool["generation"], &pool["dns"]["last_lookup"]["ok"]), (&generation, &json!(true)));
    let up = |upstream: &Upstream, text: &str| {
        metric(text, "tidegate_endpoint_up", &[("endpoint", &upstream.address().to_string())])
    };
    let metrics = api.metrics().await;
    assert_eq!((up(&one, &metrics), up(&two, &metrics)), (None, Some(1.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_answer_holds() {
    let folder = TempDir::new().unwrap();
    let one = Upstream::start("one").await;
    let (_two, port) = (Upstream::start_beside("two", &one, 2).await, one.address().port());
    let names = Names::new(folder.path());
    names.set(&hosts(&[1]));
    let tidegate =
        Tidegate::start_with_names(folder.path(), &app(port, "connect_timeout = \"10s\""), &names).await;
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let load = Load::start(tidegate.web(), 2, &Request::get("/"));
    load.flows(20).await;

    names.set("");
    event(&mut events, "unresolved").await;
    load.flows(50).await;
    assert_eq!(addresses(&api).await, [one.address().to_string()]);
    let last = api.get("/v1/pools/app").await.ok()["dns"]["last_lookup"].clone();
    assert_eq!(last["ok"], false, "{last}");
    names.set(&hosts(&[1]));
    event(&mut events, "resolved").await;

    // No request waits with a lookup, however long it takes; one that takes long is told as failing.
    names.hang();
    let told = event(&mut events, "unresolved").await;
    assert!(told["detail"].as_str().unwrap().contains("no answer within"), "{told}");
    load.flows(50).await;
    names.release(&hosts(&[2]));
    event(&mut events, "resolved").await;
    until(&api, port, &[2]).await;
    load.flows(50).await;
    load.stop().await.assert_clean(170);
}

#[tokio::test]
async fn a_start_waits_for_a_name_no_longer_than_for_a_connection() {
    let one = Upstream::start("one").await;
    let port = one.address().port();
    for hangs in [false, true] {
        let folder = TempDir::new().unwrap();
        let names = Names::new(folder.path());
        if hangs {
            names.hang();
        }
        let began = Instant::now();
        let file = app(port, "connect_timeout = \"500ms\"");
        let tidegate = Tidegate::start_with_names(folder.path(), &file, &names).await;
        assert!(!hangs || began.elapsed() >= Duration::from_millis(500));
        let refused = ask(tidegate.web(), &Request::get("/")).await;
        assert_eq!((refused.status, refused.header("x-tidegate-error")), (503, Some("no_endpoint")));
        if hangs {
            names.release(&hosts(&[1]));
        } else {
            names.set(&hosts(&[1]));
        }
        until(&tidegate.api(), port, &[1]).await;
        assert_eq!(ask(tidegate.web(), &Request::get("/")).await.upstream(), "one");
    }
}

#[tokio::test]
async fn of_too_many_addresses_some_are_left_out_always_the_same() {
    let folder = TempDir::new().unwrap();
    let names = Names::new(folder.path());
    let lines = |numbers: &mut dyn Iterator<Item = u32>| {
        numbers.fold(String::new(), |mut text, number| {
            let _ = writeln!(text, "127.1.{}.{} app.test", number / 250, number % 250 + 1);
            text
        })
    };
    names.set(&lines(&mut (0..1_000)));
    let tidegate =
        Tidegate::start_with_names(folder.path(), &app(80, "connect_timeout = \"10s\""), &names).await;
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let first = addresses(&api).await;
    assert_eq!((first.len(), first[0].as_str()), (1_000, "127.1.0.1:80"));
    // In another order it is the same answer; then some more.
    names.set(&lines(&mut (0..1_000).rev()));
    let looked = |pool: &Value| pool["dns"]["last_lookup"]["at"].clone();
    let at = looked(&api.get("/v1/pools/app").await.ok());
    eventually("it is looked up again", async || {
        (looked(&api.get("/v1/pools/app").await.ok()) != at).then_some(())
    })
    .await;
    assert_eq!(addresses(&api).await, first);
    names.set(&lines(&mut (0..1_100).rev()));
    let told = events.next("change").await;
    assert_eq!(told["added"].as_array().unwrap().len(), 24, "only the first 1,024 are used");
    assert_eq!(told["removed"], json!([]));
    assert_eq!(addresses(&api).await[..1_000], first);
}

#[tokio::test]
async fn endpoints_are_not_put_where_a_name_stands_for_them() {
    let folder = TempDir::new().unwrap();
    let one = Upstream::start("one").await;
    let (names, port) = (Names::new(folder.path()), one.address().port());
    names.set(&hosts(&[1]));
    let tidegate =
        Tidegate::start_with_names(folder.path(), &app(port, "connect_timeout = \"10s\""), &names).await;
    let api = tidegate.api();
    let refused = api.put("/v1/pools/app/endpoints", &json!({ "endpoints": [] })).await.problem(422);
    assert!(refused.to_string().contains("app.test"), "{refused}");
    let hooks = json!([{ "on": "replace", "url": "http://127.0.0.1:1/" }]);
    let plan = json!({ "strategy": "recreate", "hooks": hooks });
    api.post("/v1/pools/app/rollout", &plan).await.problem(409);
    // One of them can be drained all the same, for as long as the order stands.
    let endpoint = format!("/v1/pools/app/endpoints/{}", one.address());
    api.post(&format!("{endpoint}/drain"), &json!({})).await.ok();
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 503);
    api.post(&format!("{endpoint}/undrain"), &Value::Null).await.ok();
    assert_eq!(ask(tidegate.web(), &Request::get("/")).await.status, 200);
}
