//! A thousand slow clients: they hold sockets and nothing else.
//!
//! In a program of its own, so that no other test runs beside what is compared here.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

/// Of the end-to-end tests, as much as a crowd needs.
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/harness"]
mod harness {
    pub(crate) mod api;
    pub(crate) mod client;
    pub(crate) mod config;
    mod dice;
    mod logs;
    mod names;
    mod patience;
    mod tidegate;
    mod upstream;
    mod wire;

    pub(crate) use api::Api;
    pub(crate) use client::{Client, Request};
    pub(crate) use dice::Dice;
    pub(crate) use patience::{PATIENCE, eventually, within};
    pub(crate) use tidegate::Tidegate;
    pub(crate) use upstream::Upstream;
}

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use harness::{Client, Request, Tidegate, Upstream, config, eventually};

/// Of each kind.
const CROWD: usize = 334;
const KEYS: &str = "header_timeout = \"5m\"\nidle_timeout = \"5m\"";

/// The worst of a hundred, of a window of requests over four connections.
async fn p99(address: SocketAddr) -> Duration {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut client = Client::new(address);
            let mut times = Vec::new();
            for _ in 0..500 {
                let began = Instant::now();
                assert_eq!(client.ask(&Request::get("/")).await.status, 200);
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The best of several windows: what else the machine does shows in the others.
async fn best_p99(address: SocketAddr) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..15 {
        best = best.min(p99(address).await);
    }
    best
}

/// What a client is slow at.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Head,
    Upload,
    Reader,
}

impl Slow {
    /// A client that goes on for as long as it is let.
    async fn on(self, address: SocketAddr) {
        match self {
            Self::Head => drip(address, b"GET /slow HTTP/1.1\r\nhost: a\r\nx-slow: ").await,
            Self::Upload => {
                drip(address, b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
            }
            Self::Reader => ask_and_wait(address).await,
        }
    }
}

/// Sends a byte now and then.
async fn drip(address: SocketAddr, start: &'static [u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start).await.unwrap();
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Asks for a lot and takes none of it.
async fn ask_and_wait(address: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET /much HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    std::future::pending::<()>().await;
}

/// Waits until so many clients are there.
async fn held(tidegate: &Tidegate, clients: usize) {
    let api = tidegate.api();
    eventually("all of them are there", async || {
        let metrics = api.metrics().await;
        let held = harness::api::metric(&metrics, "tidegate_client_connections", &[("listener", "web")]);
        held.filter(|count| *count >= clients as f64)
    })
    .await;
}

/// The memory, once it grows no more: what waits for a reader takes a moment to fill.
async fn settled_kib(tidegate: &Tidegate) -> u64 {
    let mut looks = [0; 3];
    eventually("the memory grows no more", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        looks = [looks[1], looks[2], tidegate.memory_kib()];
        (looks[2] < looks[0] + looks[0] / 100).then_some(looks[2])
    })
    .await
}

/// An upstream that gives a hundred megabytes to whoever asks, at no cost.
async fn giver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
                while stream.write_all(&[0; 16 * 1024]).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normal_traffic_does_not_notice_them() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let upstream = Upstream::start("app").await;
    let much = "[[routes]]\nname = \"much\"\nmatches = [{ path = { exact = \"/much\" } }]\npool = \"much\"\n";
    let rest =
        config::one_pool_rest(&[&upstream], "", "") + &config::pool_at("much", &[giver().await], "") + much;
    let tidegate = Tidegate::start(&config::with_listener(KEYS, "", &rest)).await;
    let address = tidegate.web();
    p99(address).await;
    let without = best_p99(address).await;
    let mut crowd = JoinSet::new();
    for (slow, most_kib) in [(Slow::Head, 64), (Slow::Upload, 128), (Slow::Reader, 300)] {
        let before_kib = tidegate.memory_kib();
        for _ in 0..CROWD {
            crowd.spawn(slow.on(address));
        }
        held(&tidegate, crowd.len()).await;
        let each_kib = (settled_kib(&tidegate).await - before_kib) / CROWD as u64;
        println!("memory of a slow {slow:?}: {each_kib} KiB");
        assert!(each_kib < most_kib, "a slow {slow:?} takes {each_kib} KiB");
    }
    let with = best_p99(address).await;
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("p99 {without:?} without and {with:?} with {} slow clients: {ratio:.2} times", crowd.len());
    assert!(ratio <= 2.0, "{ratio:.2} times");
    crowd.abort_all();
}
