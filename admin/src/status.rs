//! `GET /livez`, `/readyz` and `/v1/status`: how the process is.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use tidegate_core::live::View;
use tidegate_core::units::Span;

use crate::clock::rfc3339;
use crate::process::Phase;
use crate::router::App;
use crate::wire;

/// Whether the process runs
#[utoipa::path(get, path = "/livez", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    // It answers, so it does.
    "ok\n"
}

/// Whether it should be sent traffic
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, description = "starting or stopping", body = String, content_type = "text/plain")))]
pub(crate) async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.control.process().phase() {
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// How the process is
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = wire::Status)))]
pub(crate) async fn status(State(app): State<App>) -> Json<wire::Status> {
    let control = &app.control;
    let (process, view) = (control.process(), control.view().await);
    let reloads = control.reloads();
    let uptime_seconds = control.clock().mono_ms().saturating_sub(process.started.mono_ms) / 1_000;
    let listeners = process.listeners();
    Json(wire::Status {
        version: process.version(),
        commit: process.commit(),
        phase: process.phase().as_str(),
        started: rfc3339(process.started.wall_ms),
        uptime: Span::secs(uptime_seconds).to_string(),
        uptime_seconds,
        generation: view.snapshot.generation,
        counts: counts(&view),
        listeners: listeners
            .iter()
            .map(|cell| wire::Listener { name: cell.name.clone(), address: cell.address.to_string() })
            .collect(),
        admin_address: control.admin_address(),
        config_path: control.config_path().map(|path| path.display().to_string()),
        last_reload: wire::LastReload {
            at: rfc3339(reloads.at_ms),
            ok: reloads.problems.is_empty(),
            problems: reloads.problems.into_iter().map(Into::into).collect(),
        },
        state: wire::StateFolder {
            durable: control.is_durable().unwrap_or(view.config.admin.state_dir.is_some()),
            failures: control.store_failures(),
        },
    })
}

fn counts(view: &View) -> wire::Counts {
    let state = &view.state;
    wire::Counts {
        listeners: view.config.listeners.len(),
        routes: view.snapshot.routes.len(),
        splits: view.snapshot.named_splits().count(),
        pools: view.snapshot.pools.len(),
        endpoints: view.snapshot.pools.iter().map(|pool| pool.endpoints.len()).sum(),
        overrides: state.weights.len() + state.endpoints.len() + state.drains.len(),
    }
}
