//! The upstream's connections: read a request, do what is asked.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::super::wire::{Framing, Head, Sum, Wire, chunk, pattern};
use super::{Act, Shared};

/// What becomes of the connection after an answer.
enum Next {
    Keep,
    Close,
    Reset,
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Accepting may fail for want of descriptors; the next one may not.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&shared)));
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    shared.open.fetch_add(1, Ordering::SeqCst);
    let mut kill = shared.kill.subscribe();
    let mut wire = Wire::new(stream);
    let reset = tokio::select! {
        next = requests(&mut wire, &shared) => matches!(next, Ok(Next::Reset)),
        _ = kill.changed() => true,
    };
    if reset {
        wire.reset();
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn requests(wire: &mut Wire, shared: &Shared) -> Result<Next> {
    let mut close_idle = shared.close_idle.subscribe();
    loop {
        close_idle.mark_unchanged();
        let head = tokio::select! {
            head = wire.head() => head?,
            _ = close_idle.changed() => None,
        };
        let Some(head) = head else { return Ok(Next::Close) };
        let target = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        if target == "/healthz" {
            shared.health_checks.fetch_add(1, Ordering::SeqCst);
            let status = if shared.healthy.load(Ordering::SeqCst) { 200 } else { 503 };
            answer(wire, shared, status, "health").await?;
            continue;
        }
        shared.arrived();
        let _active = Active::new(shared);
        let act = Act::of_target(&target).unwrap_or_else(|| shared.act.lock().clone());
        match perform(wire, shared, &head, act).await? {
            Next::Keep if !head.connection_has("close") => {}
            next => return Ok(next),
        }
    }
}

/// Counts a request as active for as long as it lives, however it ends.
struct Active<'a>(&'a Shared);

impl<'a> Active<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.active.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn perform(wire: &mut Wire, shared: &Shared, head: &Head, act: Act) -> Result<Next> {
    let framing = head.framing().unwrap_or(Framing::Length(0));
    match act {
        Act::Reflect => return reflect(wire, shared, framing).await,
        Act::Early(status) => {
            answer(wire, shared, status, "early").await?;
            return Ok(Next::Close);
        }
        _ => {}
    }
    let (mut length, mut sum) = (0, Sum::default());
    wire.body(framing, |piece| {
        length += piece.len();
        sum.add(piece);
    })
    .await?;
    if head.first.starts_with("HEAD ") {
        wire.write(start(shared, "content-length: 5").as_bytes()).await?;
        return Ok(Next::Keep);
    }
    match act {
        Act::Name => answer(wire, shared, 200, &shared.name).await?,
        Act::Echo => answer(wire, shared, 200, &echo(shared, head, length, sum)).await?,
        Act::Status(status) => answer(wire, shared, status, "as told").await?,
        Act::Fail(of_thousand) => {
            let status = if shared.draw() * 1000.0 < of_thousand as f64 { 500 } else { 200 };
            answer(wire, shared, status, &shared.name).await?;
        }
        Act::Delay(time) => late(wire, shared, time).await?,
        Act::Spread(mean) => late(wire, shared, mean.mul_f64(-(1.0 - shared.draw()).ln())).await?,
        Act::Vanish => {
            answer(wire, shared, 200, &shared.name).await?;
            return Ok(Next::Close);
        }
        Act::Hang => {
            while wire.fill().await? {}
            return Ok(Next::Close);
        }
        Act::Reset => return Ok(Next::Reset),
        Act::ResetMid | Act::Truncate => {
            wire.write(start(shared, "content-length: 2000").as_bytes()).await?;
            wire.write(&pattern(0, 1000)).await?;
            return Ok(if act == Act::Truncate { Next::Close } else { Next::Reset });
        }
        Act::TruncateChunked => {
            wire.write(start(shared, "transfer-encoding: chunked").as_bytes()).await?;
            wire.write(&chunk(&pattern(0, 1000))).await?;
            return Ok(Next::Close);
        }
        Act::Stream(chunks, gap) => stream(wire, shared, chunks, gap).await?,
        Act::Bytes(size) => bytes(wire, shared, size, false).await?,
        Act::Chunked(size) => bytes(wire, shared, size, true).await?,
        Act::Hop => hop(wire, shared).await?,
        Act::Reflect | Act::Early(_) => {}
    }
    Ok(Next::Keep)
}

fn start(shared: &Shared, framing: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nx-upstream: {}\r\n{framing}\r\n\r\n", shared.name)
}

async fn answer(wire: &mut Wire, shared: &Shared, status: u16, body: &str) -> Result<()> {
    let name = &shared.name;
    let (line, length) = (format!("HTTP/1.1 {status} Said\r\nx-upstream: {name}"), body.len());
    let answer = match status {
        204 | 304 => format!("{line}\r\n\r\n"),
        _ => format!("{line}\r\ncontent-length: {length}\r\n\r\n{body}"),
    };
    wire.write(answer.as_bytes()).await
}

async fn late(wire: &mut Wire, shared: &Shared, time: std::time::Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    answer(wire, shared, 200, &shared.name).await
}

fn echo(shared: &Shared, head: &Head, length: usize, sum: Sum) -> String {
    let mut words = head.first.split(' ');
    let (method, target) = (words.next(), words.next());
    json!({
        "name": shared.name, "method": method, "target": target, "headers": head.headers,
        "body_bytes": length, "body_sum": sum.0.to_string(),
    })
    .to_string()
}

async fn stream(wire: &mut Wire, shared: &Shared, chunks: usize, gap: std::time::Duration) -> Result<()> {
    wire.write(start(shared, "transfer-encoding: chunked").as_bytes()).await?;
    for number in 0..chunks {
        if number > 0 {
            tokio::time::sleep(gap).await;
        }
        wire.write(&chunk(format!("piece {number}\n").as_bytes())).await?;
    }
    wire.write(b"0\r\n\r\n").await
}

async fn bytes(wire: &mut Wire, shared: &Shared, size: usize, chunked: bool) -> Result<()> {
    let length = format!("content-length: {size}");
    let framing = if chunked { "transfer-encoding: chunked" } else { length.as_str() };
    wire.write(start(shared, framing).as_bytes()).await?;
    let mut sent = 0;
    while sent < size {
        let piece = pattern(sent, (size - sent).min(64 * 1024));
        sent += piece.len();
        wire.write(&if chunked { chunk(&piece) } else { piece }).await?;
    }
    if chunked { wire.write(b"0\r\n\r\n").await } else { Ok(()) }
}

async fn reflect(wire: &mut Wire, shared: &Shared, framing: Framing) -> Result<Next> {
    wire.write(start(shared, "transfer-encoding: chunked").as_bytes()).await?;
    let mut left = if let Framing::Length(length) = framing { length } else { 0 };
    loop {
        let piece = match framing {
            Framing::Chunked => wire.chunk().await?,
            _ if left == 0 => None,
            _ => Some(wire.some(left).await?),
        };
        let Some(piece) = piece else { break };
        if piece.is_empty() {
            return Ok(Next::Close);
        }
        left = left.saturating_sub(piece.len());
        wire.write(&chunk(&piece)).await?;
    }
    wire.write(b"0\r\n\r\n").await?;
    Ok(Next::Keep)
}

async fn hop(wire: &mut Wire, shared: &Shared) -> Result<()> {
    let nominated =
        "connection: x-private\r\nx-private: secret\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive";
    let kept = "x-public: seen\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2";
    wire.write(start(shared, &format!("{nominated}\r\n{kept}")).as_bytes()).await?;
    wire.write(b"ok").await
}
