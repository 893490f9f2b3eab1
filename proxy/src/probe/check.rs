//! One check of one endpoint, over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use tidegate_admin::ask::{self, Limits, Speech};
use tidegate_core::address::Address;
use tidegate_core::config::Health;
use tidegate_core::validate::status::StatusSet;

use super::grpc;

/// A check, compiled.
pub(super) struct Check {
    place: Address,
    within: Duration,
    kind: Kind,
}

enum Kind {
    /// A connection is enough.
    Tcp,
    Http(Http),
    /// This service says that it serves.
    Grpc(String),
}

struct Http {
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    passing: StatusSet,
}

impl Check {
    /// Of `endpoint`, which is reached at `place`.
    pub(super) fn new(health: &Health, endpoint: &Address, mut place: Address) -> Self {
        if let (Address::Tcp(address), Some(port)) = (&mut place, health.port) {
            address.set_port(port);
        }
        let kind = match (&health.path, &health.grpc) {
            (Some(path), _) => Kind::Http(Http {
                path: path.clone(),
                host: health.host.clone().unwrap_or_else(|| endpoint.host()),
                headers: health.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
                passing: health.status.parse().expect("validated: statuses"),
            }),
            (None, Some(service)) => Kind::Grpc(service.clone()),
            (None, None) => Kind::Tcp,
        };
        Self { place, within: health.timeout.0, kind }
    }

    /// What was seen, by an endpoint that is spoken to like this: good, or bad.
    pub(super) async fn run(&self, speech: &Speech) -> Result<String, String> {
        match &self.kind {
            Kind::Tcp => {
                let connected = ask::connect(&self.place, self.within).await;
                connected.map(|()| "connected".into()).map_err(|error| error.to_string())
            }
            Kind::Http(http) => http.run(&self.place, speech, self.within).await,
            Kind::Grpc(service) => grpc::run(&self.place, speech, service, self.within).await,
        }
    }
}

impl Http {
    async fn run(&self, place: &Address, speech: &Speech, within: Duration) -> Result<String, String> {
        let mut request = http::Request::get(self.path.as_str())
            .header(http::header::HOST, self.host.as_str())
            .header(http::header::USER_AGENT, concat!("tidegate-health/", env!("CARGO_PKG_VERSION")))
            .header(http::header::CONNECTION, "close");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::new()).map_err(|error| format!("cannot be asked: {error}"))?;
        let limits = Limits { within, body_bytes: 0 };
        let answer = ask::at(place, speech, request, limits).await.map_err(|error| error.to_string())?;
        let seen = format!("status {}", answer.status);
        if self.passing.contains(answer.status.as_u16()) { Ok(seen) } else { Err(seen) }
    }
}
