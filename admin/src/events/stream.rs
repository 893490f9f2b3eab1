//! `GET /v1/events`: the bus as server-sent events.
//!
//! One event a thing that happened; its `event:` line is the kind. A reader that fell behind is told
//! with an event `skipped` how many it missed, and can read the history. The stream ends when the
//! process stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use tidegate_core::event::Event;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;

use crate::clock::rfc3339;
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// A silent stream says so this often, so that a reader that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happens, as server-sent events
#[utoipa::path(get, path = "/v1/events",
    responses((status = 200, body = wire::Event, content_type = "text/event-stream")))]
pub(crate) async fn events(
    State(app): State<App>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    let place = Arc::clone(&app.streams).try_acquire_owned();
    let place = place.map_err(|_| Failure::busy("too many readers of events"))?;
    let stopping = app.stopping.clone();
    let events = BroadcastStream::new(app.control.events().subscribe())
        .map(move |event| Ok(message(event.as_deref().map_err(|Lagged(missed)| *missed), &place)))
        .take_until(stopping.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One message; the stream holds its place for as long as it makes them.
fn message(event: Result<&Event, u64>, _place: &OwnedSemaphorePermit) -> Message {
    match event {
        Ok(event) => {
            let told = wire::Event {
                kind: event.kind.as_str(),
                time: rfc3339(event.time_ms),
                generation: event.generation,
                actor: event.actor.clone(),
                message: event.message.clone(),
                detail: event.detail.clone(),
            };
            let message = Message::default().event(told.kind);
            message.json_data(&told).unwrap_or_default()
        }
        Err(missed) => Message::default().event("skipped").data(format!("{{\"skipped\":{missed}}}")),
    }
}
