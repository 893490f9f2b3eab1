//! What a route does, and which keys it may then have.

use super::table;

#[test]
fn routes() {
    let five = "`split`, `pool`, `weights`, `redirect`, `respond`";
    table(&[
        ("[[routes]]\nname = \"r\"", &format!("routes[0]: exactly one of {five} is required")),
        (
            "[[routes]]\nname = \"r\"\npool = \"a\"\nsplit = \"s\"",
            &format!("routes[0]: exactly one of {five} is allowed, not `split` and `pool`"),
        ),
        (
            "[[routes]]\nname = \"r\"\npool = \"a\"\n[[routes]]\nname = \"r\"\npool = \"a\"",
            "routes[1].name: routes[0] has the name `r` already",
        ),
        (
            "[[routes]]\nname = \"s\"\nweights = { a = 1 }",
            "routes[0].name: a route with weights cannot share the name of split `s`",
        ),
        (
            "[[routes]]\nname = \"r\"\nweights = { a = 0 }",
            "routes[0].weights: the weights add up to 0 | give a pool a weight above 0",
        ),
    ]);
    table(&[
        (
            "[[routes]]\nname = \"r\"\nredirect = { scheme = \"https\", status = 300 }",
            "routes[0].redirect.status: 300 is not one of 301, 302, 303, 307, 308",
        ),
        (
            "[[routes]]\nname = \"r\"\nredirect = { scheme = \"ftp\" }",
            "routes[0].redirect.scheme: `ftp` is not one of http, https",
        ),
        (
            "[[routes]]\nname = \"r\"\nredirect = {}",
            "routes[0].redirect: leads back to where it started: one of `scheme`, `host`, `port`, `path` is required",
        ),
        (
            "[[routes]]\nname = \"r\"\nredirect = { path = { full = \"/a<b\" } }",
            "routes[0].redirect.path.full: must be written as it is sent, with percent-encoding",
        ),
        (
            "[[routes]]\nname = \"r\"\nrespond = { status = 204, body = \"x\" }",
            "routes[0].respond.body: an answer of status 204 has none",
        ),
        (
            "[[routes]]\nname = \"r\"\nrespond = { status = 200 }\nrewrite = { host = \"x\" }",
            "routes[0].rewrite: has no effect: the route answers by itself",
        ),
        (
            "[[routes]]\nname = \"r\"\nredirect = { scheme = \"https\" }\ntimeout = \"1s\"",
            "routes[0].timeout: has no effect: the route answers by itself",
        ),
        (
            "[[routes]]\nname = \"r\"\nrespond = { status = 200 }\nresponse_headers = { remove = [\"Date\"] }",
            "",
        ),
    ]);
}
