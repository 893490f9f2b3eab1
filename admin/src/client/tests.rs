//! Against a small real server that answers from a script.

use std::convert::Infallible;
use std::sync::Arc;

use futures::stream;
use http::StatusCode;
use http_body_util::{StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};

use super::*;

type Body = BoxBody<Bytes, Infallible>;

/// What the server was asked: method, path, the headers of interest, body.
type Asked = Arc<Mutex<Vec<(String, String, Vec<Option<String>>, String)>>>;

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

fn answer(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(ETAG, HeaderValue::from_static("\"7\""));
    response
}

async fn script(request: Request<Incoming>, asked: Asked) -> Result<Response<Body>, Infallible> {
    let path = request.uri().to_string();
    let headers = ["host", "authorization", "if-match", "content-type", "x-tidegate-actor"]
        .map(|name| request.headers().get(name).map(|v| v.to_str().expect("text").to_owned()));
    let method = request.method().to_string();
    let body = request.into_body().collect().await.expect("whole").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    asked.lock().push((method, path.clone(), headers.to_vec(), body));
    Ok(match path.as_str() {
        "/empty" => answer(204, full("")),
        "/no" => answer(412, full(r#"{"title":"Precondition Failed","detail":"it has changed"}"#)),
        "/html" => answer(200, full("<html>")),
        "/html-no" => answer(404, full("<html>")),
        "/slow" => std::future::pending().await,
        "/v1/events" => {
            let pieces = ["event: change\nda", "ta: {\"generation\":", "3}\n\n:\n\ndata: {}\n\n"];
            let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
            answer(200, BodyExt::boxed(StreamBody::new(stream::iter(frames))))
        }
        _ => answer(200, full(r#"{"name":"shop"}"#)),
    })
}

async fn serve<S>(stream: S, asked: Asked)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| script(request, Arc::clone(&asked)));
    let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn server() -> (Client, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Asked::default();
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&told)));
        }
    });
    (Client::new(Target::Tcp(address.to_string())), asked)
}

#[tokio::test]
async fn a_change_says_what_it_replaces_and_who_may() {
    let (client, asked) = server().await;
    let client = client.with_token("secret").expect("a token").with_actor("alice");
    let body = json!({ "weights": { "stable": 1 } });
    let answer = client.put("/v1/splits/shop/weights", &body, Some("\"6\"")).await.expect("good");
    assert_eq!(answer, Answer { status: 200, etag: Some("\"7\"".into()), body: json!({ "name": "shop" }) });
    let (method, path, headers, sent) = asked.lock().pop().expect("asked");
    assert_eq!((method.as_str(), path.as_str()), ("PUT", "/v1/splits/shop/weights"));
    let host = client.target().authority().to_owned();
    let expected =
        [Some(&*host), Some("Bearer secret"), Some("\"6\""), Some("application/json"), Some("alice")];
    assert_eq!(headers.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert_eq!(sent, body.to_string());
}

#[tokio::test]
async fn an_empty_answer_is_null() {
    let (client, _) = server().await;
    assert_eq!(client.post("/empty", &json!({})).await.expect("good").body, Value::Null);
}

#[tokio::test]
async fn a_refusal_carries_its_problem() {
    let (client, _) = server().await;
    let error = client.get("/no").await.expect_err("refused");
    assert_eq!(error.to_string(), "it has changed");
    assert!(matches!(error, ClientError::Refused { status: 412, .. }) && !error.is_unreachable());
    let error = client.get("/html-no").await.expect_err("refused");
    assert!(matches!(error, ClientError::Refused { status: 404, problem: Value::Null }));
    assert_eq!(error.to_string(), "refused with status 404");
}

#[tokio::test]
async fn what_is_not_json_is_strange() {
    let (client, _) = server().await;
    let error = client.get("/html").await.expect_err("strange");
    assert!(matches!(error, ClientError::Strange { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_and_too_slow_are_told_apart_from_a_refusal() {
    let (client, _) = server().await;
    let error = client.with_answer_timeout(Duration::from_millis(50)).get("/slow").await.expect_err("slow");
    assert!(matches!(error, ClientError::Timeout { .. }) && error.is_unreachable(), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = Target::Tcp(listener.local_addr().expect("bound").to_string());
    drop(listener);
    let error = Client::new(target.clone()).get("/").await.expect_err("nobody");
    assert_eq!(error.to_string(), format!("cannot reach Tidegate at {target}: connection refused"));
    assert!(error.is_unreachable());
    let error = Client::new(Target::Unix("/nowhere/admin.sock".into())).get("/").await.expect_err("nobody");
    assert_eq!(error.to_string(), "cannot reach Tidegate at unix:/nowhere/admin.sock: no such socket");
}

#[tokio::test]
async fn events_come_one_by_one_until_the_end() {
    let (client, _) = server().await;
    let mut events = client.events().await.expect("open");
    assert_eq!(events.next().await.expect("good"), Some(("change".into(), json!({ "generation": 3 }))));
    assert_eq!(events.next().await.expect("good"), Some(("message".into(), json!({}))));
    assert_eq!(events.next().await.expect("good"), None);
}

#[tokio::test]
async fn a_socket_serves_as_well_as_a_port() {
    let folder = std::env::temp_dir().join(format!("tidegate-client-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("admin.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let asked = Asked::default();
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        serve(stream, told).await;
    });
    let answer = Client::new(Target::Unix(path)).get("/v1/status").await.expect("good");
    assert_eq!(answer.body, json!({ "name": "shop" }));
    assert_eq!(asked.lock()[0].2[0].as_deref(), Some("localhost"));
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn a_token_is_one_line_of_a_file() {
    let folder = std::env::temp_dir().join(format!("tidegate-token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("token");
    let client = || Client::new(Target::Tcp("127.0.0.1:1".into()));
    for (text, token) in [("secret\n", Some("Bearer secret")), ("", None), (" \n", None), ("a\nb", None)] {
        std::fs::write(&path, text).expect("written");
        let sent = client().with_token_file(&path).ok().and_then(|client| client.authorization);
        assert_eq!(sent.as_ref().map(|value| value.to_str().expect("text")), token, "{text:?}");
    }
    std::fs::remove_dir_all(folder).expect("removed");
    let error = client().with_token_file(&path).expect_err("gone");
    assert!(error.to_string().starts_with("cannot read the token from "), "{error}");
}

#[test]
fn a_segment_is_escaped() {
    for (name, escaped) in
        [("stable-1_a.b", "stable-1_a.b"), ("[::1]:80", "%5B%3A%3A1%5D%3A80"), ("a/b é", "a%2Fb%20%C3%A9")]
    {
        assert_eq!(segment(name), escaped);
    }
}
