//! The gRPC health protocol (grpc.health.v1): does this service say that it serves?
//!
//! The client is the protocol's own, generated from its definition. Each check has a connection of its own,
//! as every other kind of check has: that it can be made is part of what is checked.

use std::time::Duration;

use http::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_admin::ask::{self, Opened, Speech};
use tidegate_core::address::Address;
use tidegate_core::units::Span;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

/// What was seen: good, or bad. An empty `service` asks of the server as a whole.
pub(super) async fn run(
    place: &Address,
    speech: &Speech,
    service: &str,
    within: Duration,
) -> Result<String, String> {
    let asked = tokio::time::timeout(within, look(place, speech, service)).await;
    asked.unwrap_or_else(|_| Err(format!("did not answer within {}", Span(within))))
}

async fn look(place: &Address, speech: &Speech, service: &str) -> Result<String, String> {
    let Opened { stream, is_h2 } = ask::open(place, speech).await.map_err(|error| error.to_string())?;
    if !is_h2 {
        return Err("does not speak HTTP/2, which gRPC needs".into());
    }
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake::<_, Body>(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|error| format!("broke off: {error}"))?;
    // It ends with this check, whatever comes of it.
    let _driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let ask = service_fn(move |request| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    let request = HealthCheckRequest { service: service.to_owned() };
    let origin = Uri::builder().scheme("http").authority(place.host()).path_and_query("/").build();
    let origin = origin.map_err(|error| format!("cannot be asked: {error}"))?;
    let answer = HealthClient::with_origin(ask, origin).check(request).await;
    let status = answer.map_err(|status| format!("answered {:?}: {}", status.code(), status.message()))?;
    match status.get_ref().status() {
        ServingStatus::Serving => Ok("serving".into()),
        ServingStatus::NotServing => Err("not serving".into()),
        ServingStatus::ServiceUnknown => Err(format!("service `{service}` is unknown")),
        ServingStatus::Unknown => Err("status unknown".into()),
    }
}
