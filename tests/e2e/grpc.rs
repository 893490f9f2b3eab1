//! gRPC through the proxy, with a real client and a real server: every kind of call, and every way to end.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;

use crate::harness::api::metric;
use crate::harness::authority::Authority;
use crate::harness::grpc::{Caller, Health, Shop, ask, fed, of_user};
use crate::harness::rollouts::plan;
use crate::harness::{PATIENCE, Tidegate, config, eventually, within};

const H2: &str = "protocol = \"h2\"";

async fn start(route: &str) -> (Shop, Tidegate, Caller) {
    let shop = Shop::start("shop").await;
    let tidegate = Tidegate::start(&config::with(&config::one_pool_at(&[shop.address], H2, route))).await;
    let caller = Caller::connect(tidegate.web()).await;
    (shop, tidegate, caller)
}

#[tokio::test]
async fn calls_of_all_four_kinds() {
    let (_shop, _tidegate, caller) = start("").await;
    let payload: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
    let mut large = ask("one", 0);
    large.payload.clone_from(&payload);

    let one = caller.one(of_user(large.clone(), "ann")).await.unwrap();
    assert_eq!(one.metadata().get("x-echoed").unwrap(), "heard");
    assert_eq!((one.get_ref().what.as_str(), one.get_ref().payload == payload), ("shop", true));

    let mut many = caller.many(ask("many", 50)).await.unwrap();
    for number in 0..50 {
        assert_eq!(many.message().await.unwrap().unwrap().what, number.to_string());
    }
    assert_eq!(many.message().await.unwrap(), None);
    assert!(many.trailers().await.unwrap().is_some(), "the status came in trailers");

    let told = caller.collect(futures::stream::iter(vec![large; 5])).await.unwrap();
    assert_eq!(told.what, format!("5 {}", 5 << 20));

    let (sender, asks) = fed();
    let mut talk = caller.talk(asks).await.unwrap();
    for number in 0..20 {
        sender.send(ask(&number.to_string(), 0)).await.unwrap();
        let told = within(PATIENCE, "an answer to each, before the next", talk.message()).await;
        assert_eq!(told.unwrap().unwrap().what, number.to_string());
    }
    drop(sender);
    assert_eq!(talk.message().await.unwrap(), None);
}

#[tokio::test]
async fn over_tls() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    let shop = Shop::start("shop").await;
    let tls = "tls = { certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }] }";
    let text = config::with_listener(tls, "", &config::one_pool_at(&[shop.address], H2, ""));
    let tidegate = Tidegate::start_in(folder.path(), &text).await;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let endpoint = Endpoint::from_shared(format!("https://{}", tidegate.web())).unwrap();
    let channel = endpoint.tls_config(tls.domain_name("shop.test")).unwrap().connect().await.unwrap();
    let one = Caller::on(channel).one(Request::new(ask("one", 0))).await.unwrap();
    assert_eq!(one.get_ref().what, "shop");
}

#[tokio::test]
async fn a_status_passes_as_it_is_and_counts_as_the_contract_has_it() {
    let (_shop, tidegate, caller) = start("").await;
    let failed = |error: Status| (error.code(), error.message().to_owned());
    for code in [1, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 16] {
        let error = caller.one(Request::new(ask("fail", code))).await.unwrap_err();
        assert_eq!(failed(error), (Code::from_i32(code), "as told, with ü and a % sign".into()));
    }
    let metrics = tidegate.api().metrics().await;
    let attempts =
        |outcome| metric(&metrics, "tidegate_attempts_total", &[("pool", "app"), ("outcome", outcome)]);
    assert_eq!((attempts("grpc"), attempts("ok")), (Some(6.0), Some(6.0)));
}

#[tokio::test]
async fn errors_of_the_proxys_own_are_statuses() {
    let shop = Shop::start("shop").await;
    let pools = config::pool_at("app", &[shop.address], H2) + &config::pool_at("none", &[], H2);
    let routes = "[[routes]]\nname = \"none\"\nmatches = [{ headers = [{ name = \"x-user-id\", exact = \"none\" }] }]\n\
                  pool = \"none\"\n[[routes]]\nname = \"late\"\n\
                  matches = [{ headers = [{ name = \"x-user-id\", exact = \"late\" }] }]\npool = \"app\"\n\
                  timeout = \"300ms\"\n";
    let tidegate = Tidegate::start(&config::with(&(pools + routes))).await;
    let caller = Caller::connect(tidegate.web()).await;
    for (user, what, code) in [
        ("none", "one", Code::Unavailable),
        ("late", "hang", Code::DeadlineExceeded),
        ("nobody", "one", Code::Unimplemented),
    ] {
        let error = within(PATIENCE, user, caller.one(of_user(ask(what, 0), user))).await.unwrap_err();
        assert_eq!(error.code(), code, "{user}: {error:?}");
        assert!(error.metadata().get("x-tidegate-error").is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_frees_the_server() {
    let (shop, tidegate, caller) = start("").await;
    let mut request = Request::new(ask("hang", 0));
    request.set_timeout(Duration::from_millis(300));
    let error = within(PATIENCE, "a deadline", caller.one(request)).await.unwrap_err();
    assert!(matches!(error.code(), Code::Cancelled | Code::DeadlineExceeded), "{error:?}");
    let mut many = caller.many(ask("many", 100_000)).await.unwrap();
    assert!(many.message().await.unwrap().is_some());
    drop(many);
    eventually("the server is free", async || (shop.active() == 0).then_some(())).await;
    eventually("so is the proxy", async || (tidegate.api().in_flight("app").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_stream_keeps_its_pool_over_a_shift() {
    let (stable, canary) = (Shop::start("stable").await, Shop::start("canary").await);
    let pools =
        config::pool_at("stable", &[stable.address], H2) + &config::pool_at("canary", &[canary.address], H2);
    let split =
        "[splits.shop]\nweights = { stable = 1, canary = 0 }\n[[routes]]\nname = \"all\"\nsplit = \"shop\"\n";
    let tidegate = Tidegate::start(&config::with(&(pools + split))).await;
    let caller = Caller::connect(tidegate.web()).await;
    let mut many = caller.many(ask("many", 100)).await.unwrap();
    assert!(many.message().await.unwrap().is_some());
    let body = json!({ "weights": { "stable": 0, "canary": 1 } });
    tidegate.api().put("/v1/splits/shop/weights", &body).await.ok();
    assert_eq!(caller.one(Request::new(ask("one", 0))).await.unwrap().get_ref().what, "canary");
    let rest = within(PATIENCE, "the whole stream", many.count()).await;
    assert_eq!(rest, 99);
}

/// A candidate whose answers all have HTTP status 200.
#[tokio::test]
async fn a_candidate_that_says_unavailable_in_trailers_is_rolled_back() {
    let (stable, canary) = (Shop::start("stable").await, Shop::start("canary").await);
    canary.fail_with(Code::Unavailable);
    let keys = format!("{H2}\nread_timeout = \"2s\"");
    let pools = config::pool_at("stable", &[stable.address], &keys)
        + &config::pool_at("canary", &[canary.address], &keys);
    let split = "[splits.shop]\nweights = { stable = 100, canary = 0 }\nkey = [\"header:x-user-id\"]\n\
                 [[routes]]\nname = \"all\"\nsplit = \"shop\"\n";
    let tidegate = Tidegate::start(&config::with(&(pools + split))).await;
    let api = tidegate.api();
    api.start(&plan(&[(20.0, "1h"), (100.0, "0s")], Value::Null)).await.ok();
    let caller = Caller::connect(tidegate.web()).await;
    let mut unavailable = 0;
    for user in 0..5_000 {
        let answer = caller.one(of_user(ask("one", 0), &format!("user-{user}"))).await;
        unavailable += u32::from(answer.is_err_and(|error| error.code() == Code::Unavailable));
        if user % 50 == 0 && api.rollout().await["state"] == "aborted" {
            break;
        }
    }
    let rollout = api.state("aborted").await;
    let why = rollout.to_string();
    assert!(why.contains("grpc"), "the failed requests say why: {why}");
    println!("{unavailable} callers saw UNAVAILABLE before the candidate was rolled back");
    assert!(canary.calls() < 200, "{} calls reached the candidate", canary.calls());
    assert_eq!(caller.one(Request::new(ask("one", 0))).await.unwrap().get_ref().what, "stable");
}

#[tokio::test]
async fn a_service_is_asked_whether_it_serves() {
    let (reporter, service) = tonic_health::server::health_reporter();
    let served = Health::start(service).await;
    let keys = format!(
        "{H2}\nhealth = {{ grpc = \"test.Shop\", interval = \"100ms\", healthy_after = 1, unhealthy_after = 1 }}"
    );
    let tidegate = Tidegate::start(&config::with(&config::one_pool_at(&[served.address], &keys, ""))).await;
    let api = tidegate.api();
    for (status, state, detail) in [
        (None, "down", "answered NotFound"),
        (Some(ServingStatus::Serving), "up", "serving"),
        (Some(ServingStatus::NotServing), "down", "not serving"),
        (Some(ServingStatus::Serving), "up", "serving"),
    ] {
        if let Some(status) = status {
            reporter.set_service_status("test.Shop", status).await;
        }
        eventually(&format!("{status:?} is {state}"), async || {
            let endpoint = api.endpoint("app", served.address).await;
            let told = endpoint["last_check"]["detail"].as_str().unwrap_or_default().to_owned();
            (endpoint["state"] == state && told.starts_with(detail)).then_some(())
        })
        .await;
    }
}
