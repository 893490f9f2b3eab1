//! Candidates that work, and candidates that do not.

use tokio::net::TcpListener;

use super::*;
use crate::ask::testing::{Do, Server, answer, nobody};

fn checks(checks: &[(&str, &str)]) -> Vec<Check> {
    checks.iter().map(|(path, status)| Check { path: (*path).into(), status: (*status).into() }).collect()
}

#[tokio::test]
async fn every_endpoint_is_asked_everything() {
    let (one, two) = (Server::start(answer("200 OK", "x")).await, Server::start(answer("204 X", "")).await);
    let all = checks(&[("/selftest?deep=1", "200-299"), ("/version", "200,204")]);
    check(&all, &[one.address.clone(), two.address.clone()], &Speech::default()).await.expect("all is well");
    for server in [one, two] {
        let request = |target: &str| {
            format!(
                "GET {target} HTTP/1.1\r\nhost: {}\r\nuser-agent: tidegate-check/{}\r\nconnection: close\r\n\r\n",
                server.address,
                env!("CARGO_PKG_VERSION")
            )
        };
        assert_eq!(server.heard(), [request("/selftest?deep=1"), request("/version")]);
    }
}

#[tokio::test]
async fn what_fails_is_named() {
    let good = Server::start(answer("200 OK", "")).await;
    let bad = Server::start(answer("500 Oops", "")).await;
    let garbage = Server::start(vec![Do::Read, Do::Send("nonsense\r\n\r\n".into())]).await;
    let nobody = nobody().await;
    for (endpoint, status, seen) in [
        (bad.address.clone(), "200-299", "answered 500, not 200-299"),
        (good.address.clone(), "201,204", "answered 200, not 201,204"),
        (nobody, "200-299", "cannot be reached: connection refused"),
        (garbage.address.clone(), "200-299", "did not answer in HTTP: invalid HTTP version parsed"),
    ] {
        let said = check(
            &checks(&[("/selftest", status)]),
            &[good.address.clone(), endpoint.clone()],
            &Speech::default(),
        )
        .await;
        // Where even the first one fails, it is the one that is told.
        let named = if status == "201,204" { &good.address } else { &endpoint };
        assert_eq!(said, Err(format!("check /selftest: endpoint {named} {seen}")));
    }
}

#[tokio::test]
async fn many_endpoints_and_none() {
    let all = checks(&[("/", "200")]);
    assert_eq!(check(&[], &[], &Speech::default()).await, Ok(()));
    assert!(check(&all, &[], &Speech::default()).await.expect_err("none").contains("none can be checked"));
    let server = Server::start(answer("200 OK", "")).await;
    check(&all, &vec![server.address.clone(); 30], &Speech::default()).await.expect("all is well");
    assert_eq!(server.heard().len(), 30);
}

#[tokio::test]
async fn an_endpoint_that_comes_up() {
    let address = nobody().await;
    let place = address.to_string();
    let waiting = tokio::spawn(async move { accepts(&address, Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(!waiting.is_finished());
    let _listener = TcpListener::bind(place).await.expect("still free");
    waiting.await.expect("no panic").expect("it listens");
}

#[tokio::test]
async fn an_endpoint_that_does_not_come_up() {
    let address = nobody().await;
    let began = Instant::now();
    let said = accepts(&address, Duration::from_millis(350)).await;
    let expected = format!("endpoint {address} accepted no connection within 350ms: connection refused");
    assert_eq!(said, Err(expected));
    assert!(began.elapsed() < Duration::from_secs(2));
}
