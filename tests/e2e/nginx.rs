//! A server that was not written for these tests: a real nginx as an upstream.

use crate::harness::client::{ask, sum};
use crate::harness::nginx::Nginx;
use crate::harness::{Client, Request, Tidegate, Upstream, config};

const SERVER: &str = "keepalive_timeout 60s;\n\
    location /healthz { return 200 \"well\\n\"; }\n\
    location /moved { return 302 /page.txt; }\n\
    location /who { return 200 \"$host $http_x_forwarded_for $request_method\\n\"; }\n\
    location /upload { client_max_body_size 1m; return 200 \"taken\\n\"; }\n";

async fn start() -> (Nginx, Tidegate) {
    let nginx = Nginx::start(SERVER).await;
    let pool = format!("[pools.app]\nendpoints = [\"{}\"]\n{}\n\n", nginx.address(), config::QUICK_HEALTH);
    let route = "[[routes]]\nname = \"all\"\npool = \"app\"\n";
    let tidegate = Tidegate::start(&config::with(&format!("{pool}{route}"))).await;
    (nginx, tidegate)
}

#[tokio::test]
async fn what_nginx_says_is_what_the_client_hears() {
    let (nginx, tidegate) = start().await;
    let (mut direct, mut through) = (Client::new(nginx.address()), Client::new(tidegate.web()));
    for request in [
        Request::get("/page.txt"),
        Request::new("HEAD", "/page.txt"),
        Request::get("/page.txt").header("range", "bytes=10-99"),
        Request::get("/page.txt").header("if-none-match", "*"),
        Request::get("/moved"),
        Request::get("/nothing"),
        Request::post("/page.txt", b"not allowed"),
        Request::get("/healthz"),
    ] {
        let (said, heard) = (direct.ask(&request).await, through.ask(&request).await);
        let what = format!("{} {} {:?}", request.method, request.target, request.headers);
        assert_eq!((heard.status, sum(&heard.body)), (said.status, sum(&said.body)), "{what}");
        for name in ["content-type", "content-length", "etag", "last-modified", "content-range", "location"] {
            // nginx makes its redirects absolute with the port that it listens on: that is what it says.
            assert_eq!(heard.header(name), said.header(name), "{name} of {what}");
        }
    }
    assert_eq!(through.connects, 1, "kept alive throughout");
    assert_eq!(through.ask(&Request::get("/who")).await.text(), "shop.test 127.0.0.1 GET\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_over_kept_connections() {
    let (_nginx, tidegate) = start().await;
    let page = ask(tidegate.web(), &Request::get("/page.txt")).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut client, expected) = (Client::new(tidegate.web()), sum(&page.body));
        tasks.spawn(async move {
            for _ in 0..125 {
                let answer = client.ask(&Request::get("/page.txt")).await;
                assert_eq!((answer.status, sum(&answer.body)), (200, expected.clone()));
                let upload = client.ask(&Request::post("/upload", &[b'x'; 10_000])).await;
                assert_eq!((upload.status, upload.text().as_str()), (200, "taken\n"));
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test]
async fn nginx_is_one_side_of_a_split_and_its_users_move_when_it_dies() {
    let nginx = Nginx::start(SERVER).await;
    let stable = Upstream::start("stable").await;
    let canary =
        format!("[pools.canary]\nendpoints = [\"{}\"]\n{}\n\n", nginx.address(), config::QUICK_HEALTH);
    let rest = config::pool("stable", &[&stable], "");
    let split = "[splits.shop]\nweights = { stable = 1, canary = 9 }\nkey = [\"header:x-user-id\"]\nfallback = [\"stable\"]\n\n";
    let route = "[[routes]]\nname = \"all\"\nsplit = \"shop\"\nretry = { attempts = 0 }\n";
    let tidegate = Tidegate::start(&config::with(&format!("{canary}{rest}{split}{route}"))).await;
    let mut client = Client::new(tidegate.web());
    let mut of_nginx = 0;
    for number in 0..50 {
        let request = Request::get("/healthz").header("x-user-id", &format!("user-{number}"));
        of_nginx += usize::from(client.ask(&request).await.text() == "well\n");
    }
    assert!(of_nginx > 25, "{of_nginx} of 50");
    let address = nginx.address();
    drop(nginx);
    let api = tidegate.api();
    let down = async || (api.endpoint("canary", address).await["state"] == "down").then_some(());
    crate::harness::eventually("nginx is down", down).await;
    for number in 0..50 {
        let request = Request::get("/").header("x-user-id", &format!("user-{number}"));
        assert_eq!(client.ask(&request).await.upstream(), "stable");
    }
}
