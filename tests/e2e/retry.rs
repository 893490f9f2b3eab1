//! What is tried again, and what must not be.

use crate::harness::api::metric;
use crate::harness::client::ask;
use crate::harness::upstream::refusing;
use crate::harness::{Client, Request, Tidegate, Upstream, config};

/// One endpoint that answers and one that refuses, taken in turn.
async fn half_refusing(route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let rest = config::one_pool_rest(&[&upstream], "balance = \"round_robin\"", route);
    let both = format!("[\"{}\", \"{}\"]", upstream.address(), refusing().await);
    let rest = rest.replace(&format!("[\"{}\"]", upstream.address()), &both);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    (upstream, tidegate)
}

async fn one(route: &str) -> (Upstream, Tidegate) {
    let upstream = Upstream::start("app").await;
    let tidegate = Tidegate::start(&config::one_pool(&[&upstream], "", route)).await;
    (upstream, tidegate)
}

#[tokio::test]
async fn a_refused_endpoint_is_left_for_another() {
    let (upstream, tidegate) = half_refusing("retry = { attempts = 1, budget_percent = 100 }").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..30 {
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
        // Nothing has been sent, so any method may go elsewhere.
        assert_eq!(client.ask(&Request::post("/?do=echo", b"body")).await.json()["body_bytes"], 4);
    }
    assert_eq!(upstream.requests(), 60);
    let failed = metric(&tidegate.api().metrics().await, "tidegate_attempts_total", &[("pool", "app")]);
    assert!(failed.is_some_and(|attempts| attempts > 60.0), "attempts are counted apart: {failed:?}");
}

#[tokio::test]
async fn without_retries_a_refused_endpoint_is_502() {
    let (_upstream, tidegate) = half_refusing("retry = { attempts = 0 }").await;
    let mut client = Client::new(tidegate.web());
    let mut failed = 0;
    for _ in 0..10 {
        let answer = client.ask(&Request::get("/")).await;
        if answer.status == 502 {
            assert_eq!(answer.header("x-tidegate-error"), Some("connect_failed"));
            failed += 1;
        }
    }
    assert!((4..=6).contains(&failed), "{failed} of 10");
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_had_closed_is_not_the_clients_affair() {
    let (upstream, tidegate) = one("retry = { attempts = 0 }").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..30 {
        assert_eq!(client.ask(&Request::get("/?do=vanish")).await.status, 200);
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
        upstream.close_idle();
        assert_eq!(client.ask(&Request::get("/")).await.status, 200);
    }
    assert_eq!(client.connects, 1);
}

#[tokio::test]
async fn a_get_is_repeated_after_a_reset_and_a_post_is_not() {
    let (upstream, tidegate) =
        one("retry = { attempts = 2, on = [\"connect\", \"reset\"], budget_percent = 100 }").await;
    let get = ask(tidegate.web(), &Request::get("/?do=reset")).await;
    assert_eq!((get.status, get.header("x-tidegate-error")), (502, Some("upstream_reset")));
    assert_eq!(upstream.requests(), 3, "one try and two retries");
    upstream.forget();
    let post = ask(tidegate.web(), &Request::post("/?do=reset", b"once")).await;
    assert_eq!((post.status, upstream.requests()), (502, 1));
    upstream.forget();
    let put =
        ask(tidegate.web(), &Request { body: b"same".to_vec(), ..Request::new("PUT", "/?do=reset") }).await;
    assert_eq!((put.status, upstream.requests()), (502, 3), "PUT is idempotent");
}

#[tokio::test]
async fn a_post_on_a_kept_connection_is_not_sent_twice() {
    let (upstream, tidegate) = one("").await;
    let mut client = Client::new(tidegate.web());
    client.ask(&Request::get("/")).await;
    upstream.forget();
    assert_eq!(client.ask(&Request::post("/?do=reset", b"once")).await.status, 502);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_status_is_repeated_where_the_route_says_so_and_passes_in_the_end() {
    let (upstream, tidegate) = one("retry = { attempts = 2, on = [\"5xx\"], budget_percent = 100 }").await;
    let answer = ask(tidegate.web(), &Request::get("/?do=status:503")).await;
    assert_eq!((answer.status, answer.upstream(), answer.header("x-tidegate-error")), (503, "app", None));
    assert_eq!(upstream.requests(), 3);
    upstream.forget();
    ask(tidegate.web(), &Request::post("/?do=status:503", b"x")).await;
    assert_eq!(upstream.requests(), 1, "a POST was sent");
    upstream.forget();
    ask(tidegate.web(), &Request::get("/?do=status:404")).await;
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_budget_of_0_allows_no_retry() {
    let (upstream, tidegate) = one("retry = { attempts = 2, on = [\"reset\"], budget_percent = 0 }").await;
    assert_eq!(ask(tidegate.web(), &Request::get("/?do=reset")).await.status, 502);
    assert_eq!(upstream.requests(), 1);
}
