//! What is not the candidate's fault does not abort it: an incident of both pools, one user who retries, an
//! operator's drain, requests sent by override.

use std::time::Duration;

use serde_json::{Value, json};

use crate::golden;
use crate::harness::events::Events;
use crate::harness::rollouts::{alone, config, plan};
use crate::harness::visitors::{Crowd, Visitors};
use crate::harness::{Client, Request, Tidegate, Upstream, eventually};

async fn scene(split_keys: &str) -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = Tidegate::start(&config(&[&stable], &[&canary], "", split_keys)).await;
    (stable, canary, tidegate)
}

/// Users of whom the candidate has 5 in 100.
fn users_of_candidate(count: usize) -> Vec<String> {
    let users = (0..).map(|number| format!("visitor-{number}"));
    let shares = [("stable", 95), ("canary", 5)];
    users.filter(|user| golden::pool(user, "shop", &shares) == "canary").take(count).collect()
}

/// Each of these users asks for a page that fails, so many times together, as fast as it is answered.
async fn retry(tidegate: &Tidegate, users: &[String], times: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..8 {
        let mut client = Client::new(tidegate.web());
        let users = users.to_vec();
        tasks.spawn(async move {
            for number in (connection..times).step_by(8) {
                let user = &users[number / 8 % users.len()];
                let request = Request::get("/?do=status:500").header("x-user-id", user);
                let answer = client.ask(&request).await;
                assert_eq!((answer.status, answer.upstream()), (500, "canary"));
            }
        });
    }
    tasks.join_all().await;
}

/// Wait until the guard has seen so many failures of the candidate; the rollout.
async fn seen(tidegate: &Tidegate, failures: u64) -> Value {
    let api = tidegate.api();
    api.rollout_until("the failures are counted", |rollout| {
        rollout["evidence"]["candidate"]["failures"].as_u64().is_some_and(|seen| seen >= failures)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_of_both_pools_pauses_and_does_not_abort() {
    let _turn = alone().await;
    let (stable, canary, tidegate) = scene("").await;
    let (api, mut events) = (tidegate.api(), Events::open(&tidegate).await);
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(500));
    visitors.flow(500).await;
    api.start(&plan(&[(25.0, "5m"), (50.0, "5m")], Value::Null)).await.ok();
    api.step(1).await;
    visitors.flow(500).await;
    stable.behave("fail:200");
    canary.behave("fail:200");
    let paused = api.state("paused").await;
    println!("paused by {}: {}", paused["paused"]["by"], paused["paused"]["why"]);
    assert_eq!(paused["paused"]["by"], "guard", "{paused:#}");
    let last = paused["verdicts"].as_array().and_then(|all| all.last()).expect("a verdict");
    assert_eq!((&last["action"], &last["by"]), (&json!("pause"), &json!("overall_ratio")), "{last:#}");
    assert_eq!(events.next("verdict").await["action"], "pause");
    // The incident goes on; the guard, too.
    visitors.flow(2500).await;
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "paused", "{rollout:#}");
    api.assert_share(0.25).await;
    println!("evidence after the incident: {}", rollout["evidence"]["tests"]);
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_who_retries_ten_thousand_times_does_not_abort_a_good_candidate() {
    let _turn = alone().await;
    let (_stable, _canary, tidegate) = scene("").await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    api.start(&plan(&[(5.0, "5m")], Value::Null)).await.ok();
    api.share_is(0.05).await;
    visitors.flow(300).await;
    retry(&tidegate, &users_of_candidate(1), 10_000).await;
    let rollout = seen(&tidegate, 10_000).await;
    visitors.flow(200).await;
    let state = api.rollout().await["state"].clone();
    let candidate = &rollout["evidence"]["candidate"];
    println!("{state}: {candidate} {}", rollout["evidence"]["tests"]);
    // The split's whole failure rate has risen, and that may pause it; the candidate keeps its share.
    assert!(state == "running" || state == "paused", "{state}");
    assert_eq!(rollout["evidence"]["unit"], "user");
    assert_eq!(candidate["failed_users"], 1, "{candidate}");
    api.assert_share(0.05).await;
    visitors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_rate_above_the_limit_aborts_once_five_users_are_behind_it() {
    let _turn = alone().await;
    let (_stable, _canary, tidegate) = scene("").await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    // Only the test that is tested: the others are set so high that nothing reaches them.
    let guard = json!({ "max_failure_rate": 0.01, "failure_ratio": 1000, "overall_ratio": 10_000 });
    api.start(&plan(&[(5.0, "5m")], json!({ "guard": guard }))).await.ok();
    api.share_is(0.05).await;
    visitors.flow(300).await;
    let users = users_of_candidate(5);
    retry(&tidegate, &users[..4], 4000).await;
    let rollout = seen(&tidegate, 4000).await;
    visitors.flow(200).await;
    assert_eq!(api.rollout().await["state"], "running", "{rollout:#}");
    let test = test_named(&rollout, "max_failure_rate");
    println!("four users: {test}");
    assert!(
        test["log10_e"].as_f64() > test["log10_boundary"].as_f64(),
        "the rate itself is too high: {test}"
    );
    retry(&tidegate, &users[4..], 1).await;
    let rollout = api.state("aborted").await;
    let verdict = rollout["verdicts"].as_array().and_then(|all| all.last()).expect("a verdict");
    println!("five users: {}", verdict["why"]);
    assert_eq!((&verdict["action"], &verdict["by"]), (&json!("abort"), &json!("max_failure_rate")));
    visitors.stop().await;
}

fn test_named<'a>(rollout: &'a Value, name: &str) -> &'a Value {
    let tests = rollout["evidence"]["tests"].as_array().expect("tests");
    tests.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("{name} in {tests:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_an_operator_drains_pauses_and_is_charged_with_nothing() {
    let (_stable, canary, tidegate) = scene("").await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    api.start(&plan(&[(25.0, "5m")], Value::Null)).await.ok();
    api.share_is(0.25).await;
    eventually("the candidate is used", async || (canary.requests() > 50).then_some(())).await;
    api.post("/v1/pools/canary/drain", &json!({ "timeout": "5s" })).await.ok();
    let rollout = api.state("paused").await;
    println!("paused by {}: {}", rollout["paused"]["by"], rollout["paused"]["why"]);
    visitors.flow(300).await;
    let rollout = api.rollout().await;
    assert_eq!(rollout["state"], "paused");
    assert_eq!(rollout["evidence"]["candidate"]["failures"], 0, "{}", rollout["evidence"]);
    let excluded = rollout["evidence"]["excluded"]["drained"].as_u64();
    assert!(
        excluded.is_some_and(|count| count > 0),
        "its users were served elsewhere: {}",
        rollout["evidence"]
    );
    // Back in service, it goes on when it is told to.
    api.post("/v1/pools/canary/undrain", &Value::Null).await.ok();
    api.verb("resume").await.ok();
    let before = canary.requests();
    eventually("the candidate is used again", async || (canary.requests() > before + 20).then_some(())).await;
    assert_eq!(api.rollout().await["state"], "running");
    visitors.stop().await.assert_clean(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_sent_by_override_are_not_evidence() {
    let overrides =
        "overrides = [{ headers = [{ name = \"x-canary\", exact = \"true\" }], pool = \"canary\" }]";
    let (_stable, _canary, tidegate) = scene(overrides).await;
    let api = tidegate.api();
    let visitors = Visitors::start(tidegate.web(), &Crowd::of(300));
    api.start(&plan(&[(5.0, "5m")], json!({ "guard": { "failure_budget": 5 } }))).await.ok();
    api.share_is(0.05).await;
    let mut client = Client::new(tidegate.web());
    for number in 0..200 {
        let request = Request::get("/?do=status:500").header("x-canary", "true");
        let answer = client.ask(&request.header("x-user-id", &format!("forced-{number}"))).await;
        assert_eq!((answer.status, answer.upstream()), (500, "canary"));
    }
    let rollout = api.rollout_until("they are counted apart", |rollout| {
        rollout["evidence"]["excluded"]["override"].as_u64().is_some_and(|count| count >= 200)
    });
    let rollout = rollout.await;
    assert_eq!(rollout["evidence"]["candidate"]["failures"], 0, "{}", rollout["evidence"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(api.rollout().await["state"], "running");
    visitors.stop().await.assert_clean(20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_budget_works_where_there_is_next_to_no_traffic() {
    let (_stable, _canary, tidegate) = scene("").await;
    let api = tidegate.api();
    api.start(&plan(&[(5.0, "5m")], json!({ "guard": { "failure_budget": 3 } }))).await.ok();
    api.share_is(0.05).await;
    let users = users_of_candidate(3);
    retry(&tidegate, &users[..2], 2).await;
    seen(&tidegate, 2).await;
    assert_eq!(api.rollout().await["state"], "running", "two of three");
    retry(&tidegate, &users[2..], 1).await;
    let rollout = api.state("aborted").await;
    let verdict = rollout["verdicts"].as_array().and_then(|all| all.last()).expect("a verdict");
    println!("{}", verdict["why"]);
    assert_eq!(verdict["by"], "failure_budget", "{verdict:#}");
}
