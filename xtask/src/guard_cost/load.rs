//! A load of a fixed number of requests over kept connections, by many users.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::http::Connection;
use crate::exec::Result;

const USERS: u64 = 50_000;

/// Sends the requests as fast as they are answered; how long that took.
pub(super) fn run(address: SocketAddr, connections: usize, requests: usize) -> Result<Duration> {
    let sent = AtomicUsize::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections as u64)
            .map(|seed| {
                let sent = &sent;
                scope.spawn(move || one_connection(address, seed, || sent.fetch_add(1, Relaxed) < requests))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread of the load has panicked".into()))
        })
    })?;
    Ok(start.elapsed())
}

fn one_connection(address: SocketAddr, seed: u64, is_another: impl Fn() -> bool) -> Result {
    let mut connection = Connection::to(address)?;
    let mut user = seed;
    while is_another() {
        // Knuth's generator; its high bits are the good ones.
        user = user.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let request = format!(
            "GET /cart/items?page=2 HTTP/1.1\r\nhost: shop.test\r\nuser-agent: load\r\naccept: */*\r\n\
             x-user-id: user-{}\r\n\r\n",
            (user >> 33) % USERS
        );
        connection.send(request.as_bytes())?;
        let answer = connection.receive()?.ok_or("Tidegate has closed a connection")?;
        if answer.status() != 200 {
            return Err(format!("Tidegate answered {}", answer.head.trim_end()));
        }
    }
    Ok(())
}
