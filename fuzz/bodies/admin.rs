//! Bodies of the admin API's calls: each is done or refused with a reason, and the server serves on.
//!
//! The first byte picks the call, the rest is its body. It goes over a real connection to a real server,
//! since a panic in a handler ends a task and not the process: an answer that does not come, or one that
//! blames the server, is the failure.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_admin::clock::Clock;
use tidegate_admin::{Bound, Control, Options, bind, serve};

const CONFIG: &str = include_str!("../../config/canary.toml");
/// Every call that takes a body, with its type.
const CALLS: [(&str, &str, &str); 13] = [
    ("PUT", "/v1/splits/shop/weights", "application/json"),
    ("POST", "/v1/splits/shop/cutover", "application/json"),
    ("POST", "/v1/splits/shop/revert", "application/json"),
    ("POST", "/v1/splits/shop/rollout", "application/json"),
    ("POST", "/v1/splits/shop/rollout/pause", "application/json"),
    ("POST", "/v1/splits/shop/rollout/abort", "application/json"),
    ("PUT", "/v1/pools/canary/endpoints", "application/json"),
    ("POST", "/v1/pools/canary/drain", "application/json"),
    ("POST", "/v1/pools/canary/undrain", "application/json"),
    ("POST", "/v1/pools/canary/rollout", "application/json"),
    ("POST", "/v1/explain", "application/json"),
    ("POST", "/v1/history/1/restore", "application/json"),
    ("POST", "/v1/config/validate", "application/toml"),
];

/// Makes one call.
pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let (method, path, kind) = CALLS[usize::from(*choice) % CALLS.len()];
    let mut stream = TcpStream::connect(server()).expect("the server takes connections");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("a timeout can be set");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    // It may refuse before it has read everything; then what it answered counts.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first()).copied();
    assert!(
        matches!(status, Some(b'2' | b'4')),
        "{method} {path} was answered {:?}",
        String::from_utf8_lossy(&answer)
    );
}

/// Where the one server is, which lives as long as the process.
fn server() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let text = CONFIG.replace("127.0.0.1:9900", "127.0.0.1:0");
        let control = Control::open(Options::text(text, Clock::start())).expect("a good file");
        let bound = bind(&control, None).expect("a free port");
        let Bound::Tcp(listener) = &bound else { unreachable!("the address is not a socket's") };
        let address = listener.local_addr().expect("it is bound");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Box::leak(Box::new(runtime.expect("a runtime")));
        runtime.spawn(serve(Arc::clone(&control), bound, std::future::pending()));
        address
    })
}
