//! A gRPC service of tonic's, and clients of it: the four kinds of calls, with messages that say what to do.
//!
//! There is no generated code: tonic's own building blocks, with messages that are declared here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::server::{ClientStreamingService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ask {
    #[prost(string, tag = "1")]
    pub(crate) what: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
    /// So many answers, or fail with this code.
    #[prost(int32, tag = "3")]
    pub(crate) number: i32,
}

/// What is told.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Told {
    #[prost(string, tag = "1")]
    pub(crate) what: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

type Answers = BoxStream<'static, Result<Told, Status>>;

/// What a service knows of itself.
#[derive(Debug)]
pub(crate) struct Known {
    name: String,
    /// Every unary call fails with this code, in trailers; 0 = none does.
    fails_with: AtomicI32,
    calls: AtomicUsize,
    active: AtomicUsize,
}

/// A running service. Dropping it ends it.
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    pub(crate) known: Arc<Known>,
    accepting: JoinHandle<()>,
}

impl Shop {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Known {
            name: name.to_owned(),
            fails_with: AtomicI32::new(0),
            calls: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Calls(Arc::clone(&known))));
        Self { address, known, accepting }
    }

    pub(crate) fn fail_with(&self, code: Code) {
        self.known.fails_with.store(code as i32, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> usize {
        self.known.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn active(&self) -> usize {
        self.known.active.load(Ordering::SeqCst)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves every connection that comes.
async fn accept<S>(listener: TcpListener, service: S)
where
    S: Service<http::Request<hyper::body::Incoming>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // How it ended is the client's to notice.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A server of the health protocol. Dropping it ends it.
pub(crate) struct Health {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Health {
    pub(crate) async fn start<S>(service: S) -> Self
    where
        S: Service<http::Request<hyper::body::Incoming>, Response = http::Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, accepting: tokio::spawn(accept(listener, service)) }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Counts a call for as long as it lives, however it ends.
struct Active(Arc<Known>);

impl Active {
    fn new(known: &Arc<Known>) -> Self {
        known.calls.fetch_add(1, Ordering::SeqCst);
        known.active.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(known))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Calls(Arc<Known>);

impl Calls {
    async fn one(self, request: Request<Ask>) -> Result<Response<Told>, Status> {
        let active = Active::new(&self.0);
        let asked = request.get_ref().clone();
        if asked.what == "hang" {
            std::future::pending::<()>().await;
        }
        let code = match self.0.fails_with.load(Ordering::SeqCst) {
            0 if asked.what == "fail" => asked.number,
            code => code,
        };
        drop(active);
        if code != 0 {
            return Err(Status::new(Code::from_i32(code), "as told, with ü and a % sign"));
        }
        let mut answer = Response::new(Told { what: self.0.name.clone(), payload: asked.payload });
        if let Some(value) = request.metadata().get("x-echo") {
            answer.metadata_mut().insert("x-echoed", value.clone());
        }
        Ok(answer)
    }

    fn many(&self, asked: Ask) -> Answers {
        let active = Active::new(&self.0);
        let answers = futures::stream::iter(0..asked.number).then(move |number| {
            let (payload, _held) = (asked.payload.clone(), &active);
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(Told { what: number.to_string(), payload })
            }
        });
        answers.boxed()
    }
}

impl UnaryService<Ask> for Calls {
    type Response = Told;
    type Future = BoxFuture<'static, Result<Response<Told>, Status>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        Box::pin(self.clone().one(request))
    }
}

impl ServerStreamingService<Ask> for Calls {
    type Response = Told;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        let answers = self.many(request.into_inner());
        Box::pin(async move { Ok(Response::new(answers)) })
    }
}

impl ClientStreamingService<Ask> for Calls {
    type Response = Told;
    type Future = BoxFuture<'static, Result<Response<Told>, Status>>;

    fn call(&mut self, request: Request<Streaming<Ask>>) -> Self::Future {
        let active = Active::new(&self.0);
        Box::pin(async move {
            let _held = active;
            let mut asks = request.into_inner();
            let (mut count, mut bytes) = (0, 0);
            while let Some(ask) = asks.message().await? {
                count += 1;
                bytes += ask.payload.len();
            }
            Ok(Response::new(Told { what: format!("{count} {bytes}"), payload: Vec::new() }))
        })
    }
}

impl StreamingService<Ask> for Calls {
    type Response = Told;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Ask>>) -> Self::Future {
        let active = Active::new(&self.0);
        let answers = request.into_inner().map(move |ask| {
            let _held = &active;
            ask.map(|ask| Told { what: ask.what, payload: ask.payload })
        });
        Box::pin(async move { Ok(Response::new(answers.boxed())) })
    }
}

impl Service<http::Request<hyper::body::Incoming>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let calls = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Told, Ask>::default());
            Ok(match request.uri().path() {
                "/test.Shop/One" => grpc.unary(calls, request).await,
                "/test.Shop/Many" => grpc.server_streaming(calls, request).await,
                "/test.Shop/Collect" => grpc.client_streaming(calls, request).await,
                "/test.Shop/Talk" => grpc.streaming(calls, request).await,
                _ => Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

/// A client of the service, wherever it is reached.
#[derive(Clone)]
pub(crate) struct Caller(Grpc<Channel>);

impl Caller {
    /// Over one connection in plain text.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = super::within(super::PATIENCE, "a channel", endpoint.connect()).await.unwrap();
        Self::on(channel)
    }

    pub(crate) fn on(channel: Channel) -> Self {
        Self(Grpc::new(channel).max_decoding_message_size(8 << 20))
    }

    pub(crate) async fn one(&self, request: Request<Ask>) -> Result<Response<Told>, Status> {
        let mut grpc = self.ready().await?;
        grpc.unary(request, path("One"), ProstCodec::<Ask, Told>::default()).await
    }

    pub(crate) async fn many(&self, ask: Ask) -> Result<Streaming<Told>, Status> {
        let mut grpc = self.ready().await?;
        let answers =
            grpc.server_streaming(Request::new(ask), path("Many"), ProstCodec::<Ask, Told>::default());
        Ok(answers.await?.into_inner())
    }

    pub(crate) async fn collect(
        &self,
        asks: impl Stream<Item = Ask> + Send + 'static,
    ) -> Result<Told, Status> {
        let mut grpc = self.ready().await?;
        let answer =
            grpc.client_streaming(Request::new(asks), path("Collect"), ProstCodec::<Ask, Told>::default());
        Ok(answer.await?.into_inner())
    }

    pub(crate) async fn talk(
        &self,
        asks: impl Stream<Item = Ask> + Send + 'static,
    ) -> Result<Streaming<Told>, Status> {
        let mut grpc = self.ready().await?;
        let answers = grpc.streaming(Request::new(asks), path("Talk"), ProstCodec::<Ask, Told>::default());
        Ok(answers.await?.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = self.0.clone();
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(grpc)
    }
}

fn path(call: &str) -> http::uri::PathAndQuery {
    format!("/test.Shop/{call}").parse().unwrap()
}

/// An ask with nothing but words.
pub(crate) fn ask(what: &str, number: i32) -> Ask {
    Ask { what: what.to_owned(), payload: Vec::new(), number }
}

/// A request with a user and a note to be echoed.
pub(crate) fn of_user(ask: Ask, user: &str) -> Request<Ask> {
    let mut request = Request::new(ask);
    request.metadata_mut().insert("x-user-id", MetadataValue::try_from(user).unwrap());
    request.metadata_mut().insert("x-echo", MetadataValue::from_static("heard"));
    request
}

/// A stream that a test feeds.
pub(crate) fn fed() -> (tokio::sync::mpsc::Sender<Ask>, Pin<Box<dyn Stream<Item = Ask> + Send>>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    (sender, Box::pin(futures::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
}
