//! A listener's limits are its own, wherever in the file it stands.

use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::{Request, Tidegate, Upstream, config};

fn listener(name: &str, limits: &str) -> String {
    format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n{limits}\n\n")
}

#[tokio::test]
async fn over_a_reload_that_changes_only_their_order() {
    let upstream = Upstream::start("app").await;
    let small = listener("small", "max_body_size = 10\nmax_header_size = \"1KiB\"");
    let [large, wide] = [listener("large", ""), listener("wide", "max_body_size = 10")];
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n\n";
    let rest = format!("{admin}{}", config::one_pool_rest(&[&upstream], "", ""));
    let tidegate = Tidegate::start(&format!("{small}{large}{wide}{rest}")).await;
    let body = Request::post("/", &[b'x'; 20]);
    let head = Request::get("/").header("x-long", &"y".repeat(2000));
    for order in
        [format!("{large}{small}{wide}"), format!("{wide}{large}{small}"), format!("{small}{large}{wide}")]
    {
        for (name, of_body, of_head) in [("small", 413, 431), ("large", 200, 200), ("wide", 413, 200)] {
            let web = tidegate.listener(name);
            let statuses = (ask(web, &body).await.status, ask(web, &head).await.status);
            assert_eq!(statuses, (of_body, of_head), "{name}");
        }
        tidegate.replace_config(&format!("{order}{rest}"));
        tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    }
}

#[tokio::test]
async fn over_a_reload_that_changes_them_and_their_order() {
    let upstream = Upstream::start("app").await;
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n\n";
    let rest = format!("{admin}{}", config::one_pool_rest(&[&upstream], "", ""));
    let (one, two) = (listener("one", "max_body_size = 10"), listener("two", ""));
    let tidegate = Tidegate::start(&format!("{one}{two}{rest}")).await;
    let (one, two) = (listener("one", "max_body_size = 30"), listener("two", "max_body_size = 15"));
    tidegate.replace_config(&format!("{two}{one}{rest}"));
    tidegate.api().post("/v1/config/reload", &Value::Null).await.ok();
    for (name, size, status) in [("one", 30, 200), ("one", 31, 413), ("two", 15, 200), ("two", 16, 413)] {
        let answer = ask(tidegate.listener(name), &Request::post("/", &vec![b'x'; size])).await;
        assert_eq!(answer.status, status, "{name} with {size} bytes");
    }
}
