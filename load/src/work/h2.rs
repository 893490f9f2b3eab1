//! HTTP/2 in plain text by prior knowledge: one connection, many streams at once, with gRPC or without.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{GRPC_MESSAGE, Load};
use crate::upstream::SMALL;

/// A connection, and the task that moves its bytes.
pub(crate) struct Connection {
    pub(crate) send: SendRequest<Bytes>,
    task: JoinHandle<()>,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).initial_connection_window_size(1 << 24);
        let (send, connection) = builder.handshake(stream).await.context("a handshake of HTTP/2")?;
        let task = tokio::spawn(async move {
            // Its end is every stream's error, and told there.
            let _ = connection.await;
        });
        Ok(Self { send, task })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is sent in each stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Grpc,
}

/// One stream after another, until the load is over.
pub(crate) async fn run(send: SendRequest<Bytes>, kind: Kind, load: Arc<Load>) -> Result<()> {
    let template = template(kind)?;
    let mut send = send;
    while let Some(due) = load.pacer.turn().await {
        send = send.ready().await.context("a stream to send on")?;
        load.recorder.sent();
        exchange(&mut send, template.clone(), kind).await?;
        load.recorder.answered(due);
    }
    Ok(())
}

fn template(kind: Kind) -> Result<Request<()>> {
    let builder = Request::builder().header("user-agent", "tidegate-load");
    Ok(match kind {
        Kind::Plain => builder.uri("http://shop.test/small").header("accept", "*/*").body(())?,
        Kind::Grpc => builder
            .method(Method::POST)
            .uri("http://shop.test/load.Echo/Unary")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?,
    })
}

/// One stream.
pub(crate) async fn exchange(send: &mut SendRequest<Bytes>, request: Request<()>, kind: Kind) -> Result<()> {
    let is_grpc = kind == Kind::Grpc;
    let (response, mut stream) = send.send_request(request, !is_grpc).context("sending a request")?;
    if is_grpc {
        stream.send_data(Bytes::from_static(GRPC_MESSAGE), true)?;
    }
    let response = response.await.context("an answer")?;
    ensure!(response.status() == 200, "an answer of status {}", response.status());
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.context("a body")?;
        length += data.len() as u64;
        body.flow_control().release_capacity(data.len())?;
    }
    let wanted = if is_grpc { GRPC_MESSAGE.len() as u64 } else { SMALL };
    ensure!(length == wanted, "a body of {length} bytes in place of {wanted}");
    if is_grpc {
        let trailers: HeaderMap = body.trailers().await?.context("an answer without trailers")?;
        let status = trailers.get("grpc-status").map(http::HeaderValue::as_bytes);
        ensure!(status == Some(b"0"), "a grpc-status of {status:?}");
    }
    Ok(())
}
