//! What `explain` says is what happens: thousands of random requests, asked and sent.

use serde_json::{Map, Value, json};

use crate::harness::{Client, Dice, Request, Tidegate, Upstream, config};

const REQUESTS: usize = 10_000;
const HOSTS: [&str; 6] =
    ["shop.test", "SHOP.test:8080", "a.example.org", "b.a.example.org", "example.org", "other.test"];
const PATHS: [&str; 10] =
    ["/", "/v2", "/v2/x", "/v2x", "/items/12", "/items/x", "/pay", "/pay/", "/v2/../pay", "/deep/er/path"];
const QUERIES: [&str; 4] = ["", "?animal=whale", "?animal=wh%61le&animal=cat", "?other=1"];
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "DELETE"];

/// Routes of each kind of condition, each with pools of its own: who answers tells which route it was.
const ROUTES: &str = r#"
[splits.v2]
weights = { v2-stable = 70, v2-canary = 30 }
key = ["header:x-user-id", "cookie:uid"]
overrides = [{ headers = [{ name = "x-canary", exact = "true" }], pool = "v2-canary" }]

[splits.whale]
weights = { whale-stable = 50, whale-canary = 50 }
key = ["header:x-user-id"]

[splits.shop]
weights = { shop-stable = 1, shop-canary = 2 }
key = ["header:x-user-id"]

[[routes]]
name = "pay"
hosts = ["shop.test"]
matches = [{ path = { exact = "/pay" }, methods = ["GET", "POST"] }]
pool = "pay-stable"

[[routes]]
name = "v2"
matches = [
  { path = { prefix = "/v2" } },
  { path = { prefix = "/v2/x" }, headers = [{ name = "version", exact = "two" }] },
]
split = "v2"

[[routes]]
name = "items"
hosts = ["*.example.org", "shop.test"]
matches = [{ path = { regex = "/items/[0-9]+" } }]
weights = { items-stable = 1 }

[[routes]]
name = "whale"
matches = [
  { query = [{ name = "animal", exact = "whale" }] },
  { cookies = [{ name = "beta", present = true }] },
]
split = "whale"

[[routes]]
name = "wild"
hosts = ["*.example.org"]
pool = "wild-stable"

[[routes]]
name = "shop"
hosts = ["shop.test"]
matches = [{ methods = ["GET", "DELETE"] }]
split = "shop"
"#;

const POOLS: [&str; 9] = [
    "pay-stable",
    "v2-stable",
    "v2-canary",
    "items-stable",
    "whale-stable",
    "whale-canary",
    "wild-stable",
    "shop-stable",
    "shop-canary",
];

/// An upstream for each pool, named as it, and a Tidegate before them.
async fn start() -> (Vec<Upstream>, Tidegate) {
    let (mut upstreams, mut pools) = (Vec::new(), String::new());
    for name in POOLS {
        let upstream = Upstream::start(name).await;
        pools += &config::pool(name, &[&upstream], "");
        upstreams.push(upstream);
    }
    (upstreams, Tidegate::start(&config::with(&format!("{pools}{ROUTES}"))).await)
}

fn random(dice: &mut Dice, number: usize) -> Request {
    let target = format!("{}{}", dice.one_of(&PATHS), dice.one_of(&QUERIES));
    let mut request = Request::new(dice.one_of(&METHODS), &target).host(dice.one_of(&HOSTS));
    // Without a key the pool is drawn anew each time, and two draws need not agree.
    request = request.header("x-user-id", &format!("user-{number}"));
    for (name, value) in [("version", "two"), ("x-canary", "true"), ("cookie", "beta=1")] {
        if dice.below(4) == 0 {
            request = request.header(name, value);
        }
    }
    request
}

fn question(request: &Request) -> Value {
    let headers = request.headers.iter().map(|(name, value)| (name.clone(), json!(value)));
    let headers: Map<String, Value> = headers.collect();
    let (method, host, path) = (&request.method, &request.host, &request.target);
    json!({ "method": method, "host": host, "path": path, "headers": headers, "client": "127.0.0.1" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_agrees_with_ten_thousand_real_decisions() {
    let (_upstreams, tidegate) = start().await;
    let (web, admin) = (tidegate.web(), tidegate.admin());
    let seed = Dice::fresh().next();
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..4_u64 {
        tasks.spawn(async move {
            let mut dice = Dice::new(seed ^ part);
            let (mut client, mut asking) = (Client::new(web), Client::new(admin));
            for number in 0..REQUESTS / 4 {
                let request = random(&mut dice, number);
                agree(&mut client, &mut asking, &request, &admin.to_string()).await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

async fn agree(client: &mut Client, asking: &mut Client, request: &Request, admin: &str) {
    let mut ask = Request::new("POST", "/v1/explain").host(admin).header("content-type", "application/json");
    ask.body = question(request).to_string().into_bytes();
    let said = asking.ask(&ask).await;
    assert_eq!(said.status, 200, "{}", said.text());
    let said = said.json();
    let done = client.ask(request).await;
    match said["route"].as_str() {
        None => {
            assert_eq!(
                (done.status, done.header("x-tidegate-error")),
                (404, Some("no_route")),
                "{request:?}"
            );
        }
        Some(route) => {
            assert_eq!(
                (done.status, said["pool"].as_str()),
                (200, Some(done.upstream())),
                "{request:?} {said}"
            );
            assert!(done.upstream().starts_with(route), "{request:?} {said}");
            let reason = said["reason"].as_str().expect("a reason");
            assert!(["override", "bucket", "only"].contains(&reason), "{said}");
        }
    }
}

#[tokio::test]
async fn explain_says_why() {
    let (upstreams, tidegate) = start().await;
    let api = tidegate.api();
    let explain = async |host: &str, path: &str, headers: Value| {
        let body = json!({ "method": "GET", "host": host, "path": path, "headers": headers });
        api.post("/v1/explain", &body).await.ok()
    };
    let said = explain("other.test", "/v2/x", json!({ "x-user-id": "user-7" })).await;
    assert_eq!(
        (&said["route"], &said["split"], &said["reason"]),
        (&json!("v2"), &json!("v2"), &json!("bucket"))
    );
    assert!(said["key"].to_string().contains("user-7"), "{said}");
    assert!(said["scores"].to_string().contains("canary"), "{said}");
    assert!(said["endpoints"].is_array() && said["rejected"].is_array(), "{said}");
    let said = explain("other.test", "/v2", json!({ "x-canary": "true" })).await;
    assert_eq!((&said["pool"], &said["reason"]), (&json!("v2-canary"), &json!("override")));
    assert_eq!(explain("other.test", "/v2", json!({})).await["reason"], "random");
    assert_eq!(explain("shop.test", "/pay", json!({})).await["reason"], "only");
    let sent: usize = upstreams.iter().map(Upstream::requests).sum();
    assert_eq!(sent, 0, "explaining sends nothing");
}
