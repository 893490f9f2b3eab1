//! One stream of an HTTP/2 connection, in the form in which pingora proxies it.
//!
//! pingora's own form of a stream knows no deadline while it waits for the client, and passes no interim
//! answer on; so this is one of ours. It waits for the client with the same deadlines as
//! [`crate::listen::ClientStream`] does, and tells the gateway by the same [`Exchange`]. An answer that
//! breaks off ends in a reset, never in what could be taken for its end. Stage before: [`super::head`];
//! next: [`crate::gateway`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::Stream as Messages;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Response};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::config::Listener;
use tokio::time::Sleep;

use super::scan::Watch;
use crate::listen::deadlines::Deadlines;
use crate::listen::exchange::Exchange;

/// A request's body is kept for another try up to this, as pingora does it for HTTP/1.1.
const MAX_REPEATED: usize = 64 << 10;

/// Boxed messages beside a request and its answer, which HTTP/2 does not have.
type Beside = Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A stream.
pub(super) struct Stream {
    request: RequestHeader,
    /// There until the stream is dropped.
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    /// There once the answer's head was sent.
    answer: Option<SendStream<Bytes>>,
    written: Option<Box<ResponseHeader>>,
    ended: bool,
    body_read: usize,
    body_sent: usize,
    repeated: Option<Repeated>,
    exchange: Arc<Exchange>,
    watch: Option<Arc<Watch>>,
    deadlines: Deadlines,
    /// How long the client may send nothing of the body, or take nothing of the answer.
    patience: Patience,
    drain_within: Option<Duration>,
    digest: Digest,
}

/// The body so far, for another try; `None` inside = there was more than is kept.
type Repeated = Option<BytesMut>;

#[derive(Default)]
struct Patience {
    read: Option<Duration>,
    write: Option<Duration>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) fn new(
        request: RequestHeader,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        exchange: Arc<Exchange>,
        settings: &Listener,
    ) -> Self {
        let idle = Some(settings.idle_timeout.0);
        Self {
            request,
            body: Some(body),
            respond,
            answer: None,
            written: None,
            ended: false,
            body_read: 0,
            body_sent: 0,
            repeated: None,
            exchange,
            watch: None,
            deadlines: Deadlines::default(),
            patience: Patience { read: idle, write: idle, ..Patience::default() },
            drain_within: Some(settings.header_timeout.0),
            digest: Digest::default(),
        }
    }

    /// Tells whoever watches the connection how the stream ends.
    pub(super) fn told_to(mut self, watch: Arc<Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// The next piece of the body; `None` at its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.deadlines
            .check_exchange(&self.exchange, cx)
            .or_err(ErrorType::ReadTimedout, "reading a body")?;
        loop {
            let body = self.body.as_mut().expect("the body is taken only at the end");
            let piece = body.poll_data(cx);
            self.exchange.set_awaits_request(piece.is_pending());
            if piece.is_pending() {
                return self.poll_patience(cx).map(Err);
            }
            self.patience.reading = None;
            let Some(piece) = ready!(piece) else { return Poll::Ready(Ok(None)) };
            let piece = piece.map_err(gone)?;
            // The window is opened by as much as was taken; a stream that was reset has none.
            let _ = body.flow_control().release_capacity(piece.len());
            if piece.is_empty() {
                // What frames nothing is nothing: passed on, it would end the body of an HTTP/1.1 request.
                continue;
            }
            self.body_read += piece.len();
            self.keep(&piece);
            return Poll::Ready(Ok(Some(piece)));
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let Some(limit) = self.patience.read else { return Poll::Pending };
        let reading = self.patience.reading.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(reading.as_mut().poll(cx));
        Poll::Ready(Error::explain(ErrorType::ReadTimedout, "the client sends nothing more of the body"))
    }

    fn keep(&mut self, piece: &Bytes) {
        let Some(kept) = &mut self.repeated else { return };
        if kept.as_ref().is_some_and(|kept| kept.len() + piece.len() > MAX_REPEATED) {
            *kept = None;
        }
        if let Some(kept) = kept {
            kept.extend_from_slice(piece);
        }
    }

    /// Waits for the client to reset the stream, while the answer is awaited.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.deadlines
            .check_exchange(&self.exchange, cx)
            .and_then(|()| self.deadlines.check_try(&self.exchange, cx))
            .or_err(ErrorType::ReadTimedout, "awaiting an answer")?;
        let reset = match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        Poll::Ready(match ready!(reset) {
            Ok(reason) => {
                Error::e_explain(ErrorType::ConnectionClosed, format!("the client reset: {reason}"))
            }
            Err(error) => Err(gone(error)),
        })
    }

    /// Sends a piece of the answer's body as the client takes it.
    async fn send(&mut self, mut piece: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.body_sent += piece.len();
        if piece.is_empty() {
            self.answer()?.send_data(piece, end).map_err(gone)?;
            self.ended = end;
            return Ok(());
        }
        while !piece.is_empty() {
            self.answer()?.reserve_capacity(piece.len());
            let room = std::future::poll_fn(|cx| self.poll_room(cx)).await?;
            let part = piece.split_to(room.min(piece.len()));
            let is_last = piece.is_empty() && end;
            self.answer()?.send_data(part, is_last).map_err(gone)?;
            self.ended |= is_last;
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<&mut SendStream<Bytes>> {
        self.answer.as_mut().ok_or_else(|| Error::explain(ErrorType::InternalError, "a body before its head"))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        self.deadlines
            .check_exchange(&self.exchange, cx)
            .or_err(ErrorType::WriteTimedout, "sending a body")?;
        let room = self.answer()?.poll_capacity(cx);
        self.exchange.set_awaits_reader(room.is_pending());
        if room.is_pending() {
            let Some(limit) = self.patience.write else { return Poll::Pending };
            let writing = self.patience.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(writing.as_mut().poll(cx));
            let why = "the client takes nothing more of the answer";
            return Poll::Ready(Error::e_explain(ErrorType::WriteTimedout, why));
        }
        self.patience.writing = None;
        Poll::Ready(match ready!(room) {
            Some(room) => room.map_err(gone),
            None => Error::e_explain(ErrorType::ConnectionClosed, "the client closed the stream"),
        })
    }

    fn send_head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.ended || self.written.is_some() {
            return Ok(());
        }
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
            head.remove_header(&name);
        }
        for name in ["keep-alive", "proxy-connection"] {
            head.remove_header(&HeaderName::from_static(name));
        }
        if head.status.is_informational() {
            // 101 has no meaning here (RFC 9113, 8.6).
            if head.status != http::StatusCode::SWITCHING_PROTOCOLS {
                let interim = Response::from_parts(head.as_owned_parts(), ());
                self.respond.send_informational(interim).map_err(gone)?;
            }
            return Ok(());
        }
        head.insert_header(DATE, get_cached_date())?;
        let answer = Response::from_parts(head.as_owned_parts(), ());
        self.answer = Some(self.respond.send_response(answer, end).map_err(gone)?);
        self.written = Some(head);
        self.ended = end;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.ended || self.written.is_none() {
            return Ok(());
        }
        self.answer()?.send_data(Bytes::new(), true).map_err(gone)?;
        self.ended = true;
        Ok(())
    }

    fn reset(&mut self, reason: Reason) {
        if !self.ended {
            self.respond.send_reset(reason);
            self.ended = true;
        }
    }
}

/// Discards for a moment what the client goes on sending after its answer: many clients take a stream that
/// is closed under them for a failure, answer or not.
async fn linger(mut body: RecvStream) {
    const MOMENT: Duration = Duration::from_secs(2);
    const MAX_DISCARDED: usize = 8 << 20;
    let discarding = async {
        let mut discarded = 0;
        while let Some(Ok(piece)) = body.data().await {
            discarded += piece.len();
            if discarded > MAX_DISCARDED || body.flow_control().release_capacity(piece.len()).is_err() {
                return;
            }
        }
    };
    // Whether it worked or not, the stream is over.
    let _ = tokio::time::timeout(MOMENT, discarding).await;
}

/// The client has reset the stream, or its connection is gone.
#[expect(clippy::unnecessary_box_returns, reason = "pingora's errors are boxed wherever they go")]
fn gone(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectionClosed, "the stream is over", error)
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.written.is_none() {
            return;
        }
        if let Some(watch) = &self.watch {
            watch.finished();
        }
        if self.ended {
            if let Some(body) = self.body.take().filter(|body| !body.is_end_stream())
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                runtime.spawn(linger(body));
            }
        } else {
            self.reset(Reason::INTERNAL_ERROR);
        }
    }
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_body(cx)).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let within = self.drain_within;
        let rest = async {
            while self.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        match within {
            Some(limit) => tokio::time::timeout(limit, rest).await.unwrap_or(Ok(())),
            None => rest.await,
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.send_head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.send_head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> Result<()> {
        self.send(piece, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if !self.ended {
            self.answer()?.send_trailers(trailers).map_err(gone)?;
            self.ended = true;
        }
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut is_over = false;
        for task in tasks {
            is_over |= match task {
                HttpTask::Header(head, end) => {
                    self.send_head(head, end).map_err(Error::into_down)?;
                    end
                }
                HttpTask::Body(piece, end) => {
                    let piece = piece.unwrap_or_default();
                    if !piece.is_empty() {
                        self.send(piece, end).await.map_err(Error::into_down)?;
                    }
                    end
                }
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "an upgrade within a stream");
                }
                HttpTask::Trailer(Some(trailers)) => {
                    self.write_trailers(*trailers).await.map_err(Error::into_down)?;
                    true
                }
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if is_over {
            self.end().map_err(Error::into_down)?;
        }
        Ok(is_over)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.patience.read = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.patience.read
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.patience.write = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.patience.write
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_within = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_within
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    fn is_body_done(&mut self) -> bool {
        self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        let says_so = || self.request.headers.get(CONTENT_LENGTH) == Some(&HeaderValue::from_static("0"));
        self.body_read == 0 && (self.body.as_ref().is_none_or(RecvStream::is_end_stream) || says_so())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            std::future::poll_fn(|cx| self.poll_reset(cx)).await
        } else {
            self.read_body_bytes().await
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.body_sent
    }

    fn body_bytes_read(&self) -> usize {
        self.body_read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        // Only subrequests ask for it, which Tidegate does not make.
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.repeated.get_or_insert_with(|| Some(BytesMut::new()));
    }

    fn retry_buffer_truncated(&self) -> bool {
        matches!(self.repeated, Some(None))
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let kept = self.repeated.as_ref()?.as_ref()?;
        (!kept.is_empty()).then(|| kept.clone().freeze())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Beside> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Beside) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
