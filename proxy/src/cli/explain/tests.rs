//! What is typed in, what is asked and told out.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Typed {
    #[command(flatten)]
    arguments: Arguments,
}

fn typed(words: &[&str]) -> Arguments {
    Typed::try_parse_from(std::iter::once(&"explain").chain(words)).expect("good").arguments
}

#[test]
fn the_question_is_what_was_typed() {
    let arguments = typed(&[
        "https://Shop.example.com:8443/a%20b?x=1",
        "-H",
        "X-User-Id: alice",
        "-H",
        "accept:a",
        "-H",
        "Accept: b:c",
        "-X",
        "POST",
        "--client",
        "10.0.0.1",
    ]);
    let expected = json!({
        "method": "POST", "host": "Shop.example.com:8443", "path": "/a%20b?x=1",
        "headers": { "accept": ["a", "b:c"], "x-user-id": ["alice"] }, "client": "10.0.0.1",
    });
    assert_eq!(question(&arguments), expected);
    let plain = json!({ "method": "GET", "host": "shop", "path": "/", "headers": {} });
    assert_eq!(question(&typed(&["shop"])), plain);
}

#[test]
fn what_cannot_be_is_refused() {
    for words in [&["/checkout"][..], &["http://"], &["a b"], &["h", "-H", "alice"], &["h", "-H", "a b: c"]] {
        assert!(Typed::try_parse_from(std::iter::once(&"explain").chain(words)).is_err(), "{words:?}");
    }
}

#[test]
fn a_decision_is_told_with_its_reason() {
    let answer = json!({
        "route": "shop", "split": "shop", "key": { "source": "header:x-user-id", "value": "alice" },
        "pool": "stable", "chosen": "stable", "reason": "bucket",
        "scores": { "canary": 1.25, "stable": 102.5 },
        "endpoints": [
            { "address": "127.0.0.1:9001", "state": "up" }, { "address": "127.0.0.1:9003", "state": "down" },
        ],
        "endpoint": "127.0.0.1:9001", "client": "127.0.0.1",
        "rejected": [{ "route": "admin", "why": "the path differs" }],
    });
    let found = model::read(&answer).expect("an explanation");
    assert_eq!(
        render(&typed(&["http://shop/x"]), &found, Paint::plain()),
        "GET http://shop/x\n\
         route     shop\n\
         split     shop\n\
         key       alice  (header:x-user-id)\n\
         pool      stable  (by the hash of its key)\n\
         endpoint  127.0.0.1:9001\n          \
         127.0.0.1:9003  (down)\n\
         \n\
         pool      score\n\
         stable  102.500\n\
         canary    1.250\n\
         \n\
         other routes\n\
         admin: the path differs\n"
    );
}

#[test]
fn nowhere_to_go_is_told_too() {
    let shown = |answer: &Value| {
        let found = model::read(answer).expect("an explanation");
        render(&typed(&["http://shop/x"]), &found, Paint::plain())
    };
    let answer = json!({ "route": null, "key": null, "scores": {}, "endpoints": [], "rejected": [] });
    assert_eq!(shown(&answer), "GET http://shop/x\nroute  none takes it: 404\n");
    let answer = json!({ "route": "old", "answer": { "status": 308, "location": "https://new/x" } });
    assert_eq!(shown(&answer), "GET http://shop/x\nroute    old\nanswers  308 to https://new/x\n");
    let answer = json!({ "route": "gone", "answer": { "status": 410, "location": null } });
    assert_eq!(shown(&answer), "GET http://shop/x\nroute    gone\nanswers  410\n");
    let answer = json!({
        "route": "shop", "split": null, "key": null, "pool": "stable", "chosen": "canary",
        "reason": "fallback", "scores": {}, "endpoints": [], "endpoint": null, "rejected": [],
    });
    assert_eq!(
        shown(&answer),
        "GET http://shop/x\n\
         route     shop\n\
         key       none\n\
         pool      stable  (in place of canary, which has no usable endpoint)\n\
         endpoint  none can be used: 503\n"
    );
}
