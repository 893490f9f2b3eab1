//! Which pool a request goes to: by key and the published hash, at random, by override, by an assigned cookie.

use std::collections::BTreeMap;
use std::path::Path;

use crate::golden;
use crate::harness::client::ask;
use crate::harness::{Client, Request, Tidegate, Upstream, config, eventually};

const SHARES: [(&str, u32); 2] = [("stable", 95), ("canary", 5)];

fn of_user(user: &str) -> Request {
    Request::get("/").header("x-user-id", user)
}

/// A split of two upstreams, named as their pools, with more keys for the split.
async fn two(weights: [u32; 2], split_keys: &str) -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let config = config::with(&config::canary_rest(&[&stable], &[&canary], weights, "", split_keys));
    let tidegate = Tidegate::start(&config).await;
    (stable, canary, tidegate)
}

/// The committed example, with addresses of this test.
async fn example(stable: &Upstream, canary: &Upstream) -> Tidegate {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/canary.toml");
    let mut text = std::fs::read_to_string(file).unwrap();
    let of_pools = [stable.address().to_string(), canary.address().to_string()];
    let nobodys = "127.0.0.1:0".to_owned();
    for (port, address) in [(8080, &nobodys), (9900, &nobodys), (9001, &of_pools[0]), (9002, &of_pools[1])] {
        let written = format!("\"127.0.0.1:{port}\"");
        assert!(text.contains(&written), "{written} in the example");
        text = text.replace(&written, &format!("\"{address}\""));
    }
    let tidegate = Tidegate::start(&text).await;
    let api = tidegate.api();
    for (pool, upstream) in [("stable", stable), ("canary", canary)] {
        eventually("the pool is up", async || {
            (api.endpoint(pool, upstream.address()).await["state"] == "up").then_some(())
        })
        .await;
    }
    tidegate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keyed_requests_land_where_the_published_hash_says() {
    const CONNECTIONS: usize = 16;
    const USERS: usize = 50_000;
    const TIMES: usize = 2;
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let tidegate = example(&stable, &canary).await;
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let mut client = Client::new(tidegate.web());
        tasks.spawn(async move {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for round in 0..TIMES {
                // Another connection the second time: what is remembered must not be the connection's.
                for user in (0..USERS).filter(|user| (user + round) % CONNECTIONS == connection) {
                    let user = format!("user-{user}");
                    let answer = client.ask(&of_user(&user)).await;
                    assert_eq!(answer.upstream(), golden::pool(&user, "shop", &SHARES), "{user}");
                    *seen.entry(answer.upstream().to_owned()).or_default() += 1;
                }
            }
            assert_eq!(client.connects, 1);
            seen
        });
    }
    let mut total: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(seen) = tasks.join_next().await {
        for (pool, count) in seen.unwrap() {
            *total.entry(pool).or_default() += count;
        }
    }
    let requests = USERS * TIMES;
    assert_eq!(total.values().sum::<usize>(), requests);
    let share = total["canary"] as f64 / requests as f64;
    assert!((share - 0.05).abs() < 0.005, "the canary's share is {share}");
    assert_eq!(stable.requests() + canary.requests(), requests, "none was repeated");
}

#[tokio::test]
async fn without_a_key_the_pool_is_drawn_anew_for_each_request() {
    let (_stable, canary, tidegate) = two([3, 1], "").await;
    let mut client = Client::new(tidegate.web());
    for _ in 0..4000 {
        client.ask(&Request::get("/")).await;
    }
    // Six standard deviations to each side.
    let share = canary.requests() as f64 / 4000.0;
    assert!((share - 0.25).abs() < 0.042, "the canary's share is {share}");
}

#[tokio::test]
async fn proportions_count_and_the_salt_is_the_splits_name() {
    let (_s, _c, tidegate) = two([19, 1], "salt = \"another\"").await;
    let mut client = Client::new(tidegate.web());
    for user in (0..300).map(|number| format!("user-{number}")) {
        let answer = client.ask(&of_user(&user)).await;
        assert_eq!(answer.upstream(), golden::pool(&user, "another", &SHARES), "{user}");
    }
}

#[tokio::test]
async fn the_first_key_that_is_present_and_not_empty_wins() {
    let sources = "salt = \"shop\"\nassign = { cookie = \"tidegate_id\" }";
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [50, 50], "", sources);
    let rest =
        rest.replace("[\"header:x-user-id\"]", "[\"header:x-user-id\", \"cookie:uid\", \"query:user\"]");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    let halves = [("stable", 50), ("canary", 50)];
    for number in 0..40 {
        let [one, two, three, four] = ["h", "c", "q", "a"].map(|kind| format!("{kind}-{number}"));
        let all = |header: &str| {
            Request::get(&format!("/?user={three}"))
                .header("x-user-id", header)
                .header("cookie", &format!("tidegate_id={four}; uid=\"{two}\"; uid=other"))
        };
        assert_eq!(client.ask(&all(&one)).await.upstream(), golden::pool(&one, "shop", &halves));
        assert_eq!(client.ask(&all("")).await.upstream(), golden::pool(&two, "shop", &halves));
        let query = Request::get(&format!("/?user={}&user=x", three.replace('-', "%2D")));
        assert_eq!(client.ask(&query).await.upstream(), golden::pool(&three, "shop", &halves));
        let assigned = Request::get("/").header("cookie", &format!("tidegate_id={four}"));
        assert_eq!(client.ask(&assigned).await.upstream(), golden::pool(&four, "shop", &halves));
    }
}

#[tokio::test]
async fn behind_trusted_proxies_the_client_address_is_the_last_untrusted_one() {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [50, 50], "", "");
    let rest = rest.replace("\"header:x-user-id\"", "\"client_ip\"");
    let trusting = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let tidegate = Tidegate::start(&config::server(trusting, &config::with(&rest))).await;
    let mut client = Client::new(tidegate.web());
    let halves = [("stable", 50), ("canary", 50)];
    for number in 0..40 {
        let own = format!("203.0.113.{number}");
        let forwarded =
            Request::get("/").header("x-forwarded-for", &format!("198.51.100.7, {own}, 10.1.2.3"));
        assert_eq!(client.ask(&forwarded).await.upstream(), golden::pool(&own, "shop", &halves), "{own}");
        let mapped = Request::get("/").header("x-forwarded-for", &format!("::ffff:{own}"));
        assert_eq!(client.ask(&mapped).await.upstream(), golden::pool(&own, "shop", &halves), "{own}");
        let long = format!("2001:db8:0:0:0:0:0:{number:x}");
        let short = if number == 0 { "2001:db8::".to_owned() } else { format!("2001:db8::{number:x}") };
        let six = Request::get("/").header("x-forwarded-for", &long);
        assert_eq!(client.ask(&six).await.upstream(), golden::pool(&short, "shop", &halves), "{short}");
    }
}

#[tokio::test]
async fn an_override_wins_over_the_bucket() {
    let overrides = "overrides = [\n\
        { headers = [{ name = \"x-canary\", exact = \"true\" }], pool = \"canary\" },\n\
        { keys = [\"user-123\"], pool = \"canary\" },\n\
        { headers = [{ name = \"user-type\", exact = \"beta\" }], trusted = true, pool = \"canary\" },\n]";
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [1, 0], "", overrides);
    let beta = of_user("a").header("user-type", "beta");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let mut client = Client::new(tidegate.web());
    assert_eq!(client.ask(&of_user("a")).await.upstream(), "stable");
    assert_eq!(client.ask(&of_user("user-123")).await.upstream(), "canary");
    assert_eq!(client.ask(&of_user("a").header("X-Canary", "true")).await.upstream(), "canary");
    assert_eq!(client.ask(&of_user("a").header("x-canary", "TRUE")).await.upstream(), "stable");
    assert_eq!(client.ask(&beta).await.upstream(), "stable", "the peer is not trusted");
    let trusting = "trusted_proxies = [\"127.0.0.1/32\"]";
    let tidegate = Tidegate::start(&config::server(trusting, &config::with(&rest))).await;
    assert_eq!(ask(tidegate.web(), &beta).await.upstream(), "canary", "the peer is trusted");
}

#[tokio::test]
async fn a_visitor_without_a_key_gets_a_cookie_and_its_bucket_in_the_same_request() {
    let keys = "assign = { cookie = \"tidegate_id\", max_age = \"30d\", path = \"/\", same_site = \"lax\" }";
    let (_s, _c, tidegate) = two([50, 50], keys).await;
    let mut client = Client::new(tidegate.web());
    let halves = [("stable", 50), ("canary", 50)];
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let first = client.ask(&Request::get("/")).await;
        let cookie = first.header("set-cookie").expect("a cookie is assigned").to_owned();
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        let id = pair.strip_prefix("tidegate_id=").expect("the cookie's name");
        for attribute in ["max-age=2592000", "path=/", "samesite=lax"] {
            assert!(attributes.to_ascii_lowercase().contains(attribute), "{attribute} in {cookie}");
        }
        assert_eq!(first.upstream(), golden::pool(id, "shop", &halves), "{id}");
        let again = client.ask(&Request::get("/").header("cookie", pair)).await;
        assert_eq!((again.upstream(), again.header("set-cookie")), (first.upstream(), None));
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 50, "each visitor has an id of its own");
    assert_eq!(client.ask(&of_user("a")).await.header("set-cookie"), None, "who has a key needs none");
}

#[tokio::test]
async fn the_upstream_is_told_the_pool_and_not_what_the_client_claims() {
    let (_s, _c, tidegate) = two([0, 1], "pool_header = \"x-tidegate-pool\"").await;
    let lie = Request::get("/?do=echo").header("x-tidegate-pool", "stable");
    assert_eq!(ask(tidegate.web(), &lie).await.echoed("x-tidegate-pool").as_deref(), Some("canary"));
}
