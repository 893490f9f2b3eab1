//! An HTTP/2 client on one connection: requests side by side, trailers, resets and GOAWAY as they come.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::authority::name;
use super::wire::Head;
use super::{Request, Response};

/// A connection.
pub(crate) struct H2 {
    pub(crate) send: SendRequest<Bytes>,
    scheme: &'static str,
    /// Ends when the connection does: `Ok` when it ended in order.
    pub(crate) driving: JoinHandle<Result<(), h2::Error>>,
}

impl H2 {
    /// By prior knowledge, in plain text.
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap(), "http").await
    }

    /// Over TLS, as a client of this name.
    pub(crate) async fn tls(address: SocketAddr, server: &str, connector: &TlsConnector) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let tls = connector.connect(name(server), stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 was agreed on");
        Self::on(tls, "https").await
    }

    async fn on(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, scheme: &'static str) -> Self {
        let mut builder = Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (send, connection) = builder.handshake(io).await.unwrap();
        Self { send, scheme, driving: tokio::spawn(connection) }
    }

    /// Begins a request whose body follows; what is to come of it.
    pub(crate) async fn begin(
        &mut self,
        request: &Request,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let uri = format!("{}://{}{}", self.scheme, request.host, request.target);
        let mut built = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            built = built.header(name.as_str(), value.as_str());
        }
        send.send_request(built.body(()).unwrap(), end)
    }

    /// Sends, and reads the whole response and its trailers.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(Response, HeaderMap), h2::Error> {
        let has_body = !request.body.is_empty();
        let (answer, mut body) = self.begin(request, !has_body).await?;
        let uploading = async {
            if has_body {
                upload(&mut body, Bytes::copy_from_slice(&request.body)).await;
            }
        };
        let (answer, ()) = tokio::join!(answer, uploading);
        let (parts, body) = answer?.into_parts();
        let (body, trailers) = download(body).await?;
        Ok((response(&parts, body), trailers))
    }

    /// A response that must be there.
    pub(crate) async fn ask(&mut self, request: &Request) -> Response {
        let sent = super::within(super::PATIENCE, &request.target, self.send(request)).await;
        sent.unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.target)).0
    }
}

/// Sends a body as it is taken; a server that answers early may take only a part.
pub(crate) async fn upload(stream: &mut SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            return;
        }
    }
}

/// Reads a body to its end.
pub(crate) async fn download(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut got = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        got.extend_from_slice(&piece);
        let _ = body.flow_control().release_capacity(piece.len());
    }
    Ok((got, body.trailers().await?.unwrap_or_default()))
}

fn response(parts: &http::response::Parts, body: Vec<u8>) -> Response {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let head = Head { first: format!("HTTP/2 {}", parts.status.as_u16()), headers };
    Response { status: parts.status.as_u16(), head, body }
}
