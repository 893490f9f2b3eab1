//! Whether what runs at an endpoint works: it accepts connections, and passes a plan's checks.
//!
//! Before any user sees a candidate, its checks are made against every endpoint of it that would get
//! requests: one bad instance among ten is what a tenth of its users would meet.
//!
//! Called by the controller, which decides when to try again. Health checks are another thing: they
//! go on for as long as the pool is there, and the data plane makes them.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use tidegate_core::address::Address;
use tidegate_core::config::Check;
use tidegate_core::units::Span;
use tidegate_core::validate::status::StatusSet;
use tokio::time::Instant;

use crate::ask::{self, AskError, Limits, Speech};

/// Each check must be answered within this.
const WITHIN: Duration = Duration::from_secs(5);
/// So many endpoints are checked at a time.
const AT_ONCE: usize = 8;
/// Between two looks at an endpoint that is to come up.
const EVERY: Duration = Duration::from_millis(100);
/// Whoever has not accepted a connection by then is tried anew.
const ONE_TRY: Duration = Duration::from_secs(1);

/// Makes every check at every one of a candidate's usable `endpoints`.
///
/// An error names the check, the endpoint and what was seen: the first, in the order of the endpoints.
pub(crate) async fn check(checks: &[Check], endpoints: &[Address], speech: &Speech) -> Result<(), String> {
    if checks.is_empty() {
        return Ok(());
    }
    if endpoints.is_empty() {
        return Err("no endpoint of the candidate is usable, so none can be checked".into());
    }
    let mut all = stream::iter(endpoints.to_vec())
        .map(|endpoint| check_one(checks, endpoint, speech))
        .buffered(AT_ONCE);
    while let Some(checked) = all.next().await {
        checked?;
    }
    Ok(())
}

async fn check_one(checks: &[Check], endpoint: Address, speech: &Speech) -> Result<(), String> {
    for check in checks {
        let seen = look(check, &endpoint, speech).await;
        seen.map_err(|seen| format!("check {}: endpoint {endpoint} {seen}", check.path))?;
    }
    Ok(())
}

async fn look(check: &Check, endpoint: &Address, speech: &Speech) -> Result<(), String> {
    let wanted: StatusSet = check.status.parse()?;
    let request = Request::get(check.path.as_str())
        .header(HOST, endpoint.host())
        .header(USER_AGENT, concat!("tidegate-check/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Bytes::new())
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let limits = Limits { within: WITHIN, body_bytes: 0 };
    let seen = ask::at(endpoint, speech, request, limits).await.map_err(|error| error.to_string())?;
    let status = seen.status.as_u16();
    if wanted.contains(status) { Ok(()) } else { Err(format!("answered {status}, not {wanted}")) }
}

/// Waits until `endpoint` accepts a connection: for pools without health checks, where that is all
/// that can be known. An error says what kept it from doing so within `limit`.
pub(crate) async fn accepts(endpoint: &Address, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Err(error) = ask::connect(endpoint, left.min(ONE_TRY)).await else { return Ok(()) };
        if Instant::now() + EVERY >= deadline {
            let why = match error {
                AskError::Unreachable(why) => format!(": {why}"),
                _ => String::new(),
            };
            return Err(format!("endpoint {endpoint} accepted no connection within {}{why}", Span(limit)));
        }
        tokio::time::sleep(EVERY).await;
    }
}
