//! One check of one endpoint, over a connection of its own.

use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tidegate_core::config::Health;
use tidegate_core::validate::status::StatusSet;
use tokio::net::TcpStream;

/// A check, compiled: a request for `http`, nothing for `tcp`.
pub(super) struct Check {
    address: SocketAddr,
    http: Option<Http>,
}

struct Http {
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    passing: StatusSet,
}

impl Check {
    pub(super) fn new(health: &Health, endpoint: SocketAddr) -> Self {
        let address = SocketAddr::new(endpoint.ip(), health.port.unwrap_or(endpoint.port()));
        let http = health.path.as_ref().map(|path| Http {
            path: path.clone(),
            host: health.host.clone().unwrap_or_else(|| endpoint.to_string()),
            headers: health.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            passing: health.status.parse().expect("validated: statuses"),
        });
        Self { address, http }
    }

    /// What was seen: good, or bad.
    pub(super) async fn run(&self) -> Result<String, String> {
        let socket = TcpStream::connect(self.address).await.map_err(|e| format!("cannot connect: {e}"))?;
        match &self.http {
            None => Ok("connected".into()),
            Some(http) => http.run(socket).await,
        }
    }
}

impl Http {
    async fn run(&self, socket: TcpStream) -> Result<String, String> {
        let mut request = http::Request::get(self.path.as_str())
            .header(http::header::HOST, self.host.as_str())
            .header(http::header::USER_AGENT, concat!("tidegate-health/", env!("CARGO_PKG_VERSION")))
            .header(http::header::CONNECTION, "close");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| format!("cannot ask: {e}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|e| format!("cannot ask: {e}"))?;
        let answer = pin!(sender.send_request(request));
        let answer = match select(answer, pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            // The connection is over, but may have brought the answer with its end.
            Either::Right((_, answer)) => answer.await,
        };
        let answer = answer.map_err(|e| format!("no answer: {e}"))?;
        let status = answer.status();
        let seen = format!("status {status}");
        if self.passing.contains(status.as_u16()) { Ok(seen) } else { Err(seen) }
    }
}
