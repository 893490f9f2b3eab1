//! One check of one endpoint, over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use tidegate_admin::ask::{self, Limits};
use tidegate_core::address::Address;
use tidegate_core::config::Health;
use tidegate_core::validate::status::StatusSet;

/// A check, compiled: a request for `http`, nothing for `tcp`.
pub(super) struct Check {
    place: Address,
    within: Duration,
    http: Option<Http>,
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
        let http = health.path.as_ref().map(|path| Http {
            path: path.clone(),
            host: health.host.clone().unwrap_or_else(|| endpoint.host()),
            headers: health.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            passing: health.status.parse().expect("validated: statuses"),
        });
        Self { place, within: health.timeout.0, http }
    }

    /// What was seen: good, or bad.
    pub(super) async fn run(&self) -> Result<String, String> {
        match &self.http {
            None => {
                let connected = ask::connect(&self.place, self.within).await;
                connected.map(|()| "connected".into()).map_err(|error| error.to_string())
            }
            Some(http) => http.run(&self.place, self.within).await,
        }
    }
}

impl Http {
    async fn run(&self, place: &Address, within: Duration) -> Result<String, String> {
        let mut request = http::Request::get(self.path.as_str())
            .header(http::header::HOST, self.host.as_str())
            .header(http::header::USER_AGENT, concat!("tidegate-health/", env!("CARGO_PKG_VERSION")))
            .header(http::header::CONNECTION, "close");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::new()).map_err(|error| format!("cannot be asked: {error}"))?;
        let limits = Limits { within, body_bytes: 0 };
        let answer = ask::at(place, request, limits).await.map_err(|error| error.to_string())?;
        let seen = format!("status {}", answer.status);
        if self.passing.contains(answer.status.as_u16()) { Ok(seen) } else { Err(seen) }
    }
}
