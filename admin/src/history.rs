//! Past changes, and bringing back what was in force with one.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tidegate_core::change::Change;

use crate::body::Input;
use crate::call::{At, Call, tagged};
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// Past changes, newest first
#[utoipa::path(get, path = "/v1/history", responses((status = 200, body = wire::HistoryList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<wire::HistoryList> {
    let view = app.control.view().await;
    Json(wire::HistoryList { history: view.history.iter().rev().map(|entry| (&**entry).into()).collect() })
}

/// Bring back the weights and endpoints that were in force with a generation, as a new change
#[utoipa::path(post, path = "/v1/history/{generation}/restore", params(("generation" = u64, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Change)))]
pub(crate) async fn restore(
    State(app): State<App>,
    At(generation): At<u64>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    let applied = call.make(&app, Change::Restore { generation }, body.reason).await?;
    let change = wire::Change::from(&*applied.entry);
    Ok(tagged(change.generation, wire::Change { dry_run: call.dry_run.then_some(true), ..change }))
}
