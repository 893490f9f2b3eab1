//! The gRPC upstream: HTTP/2 in plain text, one message in, one message and a status of 0 out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Result, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use crate::work::GRPC_MESSAGE;

pub(super) async fn serve(stream: TcpStream, served: Arc<AtomicU64>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1_000).initial_connection_window_size(1 << 20);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(stream) = connection.accept().await {
        let (request, respond) = stream?;
        let served = Arc::clone(&served);
        // A stream that breaks is the load's to notice.
        tokio::spawn(async move { answer(request, respond, &served).await });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    served: &AtomicU64,
) -> Result<()> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    ensure!(length == GRPC_MESSAGE.len(), "a message of {length} bytes");
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(response, false)?;
    send.send_data(Bytes::from_static(GRPC_MESSAGE), false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    served.fetch_add(1, Relaxed);
    send.send_trailers(trailers)?;
    Ok(())
}
