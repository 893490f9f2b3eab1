//! A connection that is made only after a drain's deadline is not kept.

use std::time::Duration;

use serde_json::json;

use crate::harness::scripted::head;
use crate::harness::upstream::black_hole;
use crate::harness::{Client, Request, Scripted, Tidegate, config, eventually, within};

const LIMIT: Duration = Duration::from_millis(4500);

#[tokio::test]
async fn it_is_closed_as_the_others_were() {
    let (address, held, listener) = black_hole().await;
    let rest = config::one_pool_at(&[address], "connect_timeout = \"20s\"", "retry = { attempts = 0 }");
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    let (api, mut client) = (tidegate.api(), Client::new(tidegate.web()));
    let pending = tokio::spawn(async move { client.send(&Request::get("/")).await });
    eventually("it is connecting", async || (api.in_flight("app").await == 1).then_some(())).await;
    api.post("/v1/pools/app/drain", &json!({ "timeout": "100ms" })).await.ok();
    // The deadline passes, and a little more; a connection under way cannot be seen from outside.
    tokio::time::sleep(Duration::from_millis(400)).await;
    drop(held);
    let upstream = Scripted::on(listener, |mut wire| async move {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        while head(&mut wire).await && wire.write(answer).await.is_ok() {}
    });
    let answer = within(LIMIT, "the request ends", pending).await.unwrap();
    assert!(upstream.connections() > 0);
    assert!(answer.as_ref().map_or(true, |answer| answer.status >= 500), "{answer:?}");
    let gone = eventually("no connection is left", async || {
        let endpoint = api.endpoint("app", address).await;
        let none = endpoint["connections"] == 0 && endpoint["in_flight"] == 0;
        (none && endpoint["state"] == "drained" && upstream.open() == 0).then_some(())
    });
    within(LIMIT, "no connection is left", gone).await;
}
