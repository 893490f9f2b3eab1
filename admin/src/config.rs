//! The configuration file: what is in force, checking another one, reading it again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use tidegate_core::config::Config;
use tidegate_core::live::Applied;
use tidegate_core::recent::compare;

use crate::body::{Input, Text};
use crate::call::{Call, tagged};
use crate::control::Reloaded;
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// The configuration in force
#[utoipa::path(get, path = "/v1/config", responses((status = 200, body = wire::ConfigFile)))]
pub(crate) async fn get(State(app): State<App>) -> Result<Json<wire::ConfigFile>, Failure> {
    let view = app.control.view().await;
    // Secrets are in files that the configuration names, not in it.
    let config =
        serde_json::to_value(view.config.get()).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Json(wire::ConfigFile { path: app.control.config_path().map(|p| p.display().to_string()), config }))
}

/// Check a configuration file, and say what it would change
#[utoipa::path(post, path = "/v1/config/validate", request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = wire::Validated)))]
pub(crate) async fn validate(
    State(app): State<App>,
    Text(text): Text,
) -> Result<Json<wire::Validated>, Failure> {
    let (running, applied) = app.control.check(text).await?;
    let recent = app.control.live().recent().all();
    let now_ms = app.control.clock().mono_ms();
    let moves = compare(&recent, &applied.previous, &applied.snapshot, now_ms);
    let changes = wire::WouldChange { recent: moves.into(), ..would_change(&running, &applied) };
    Ok(Json(wire::Validated { ok: true, problems: Vec::new(), changes }))
}

fn would_change(running: &Config, applied: &Applied) -> wire::WouldChange {
    let by_name = |config: &Config| -> BTreeMap<String, Value> {
        let routes = config.routes.iter();
        routes.map(|route| (route.name.clone(), serde_json::to_value(route).unwrap_or_default())).collect()
    };
    let (old, new) = (by_name(running), by_name(&applied.config));
    let routes = wire::RouteChanges {
        added: new.keys().filter(|name| !old.contains_key(*name)).cloned().collect(),
        removed: old.keys().filter(|name| !new.contains_key(*name)).cloned().collect(),
        changed: new
            .iter()
            .filter(|(name, route)| old.get(*name).is_some_and(|before| before != *route))
            .map(|(name, _)| name.clone())
            .collect(),
    };
    wire::WouldChange {
        any: *running != **applied.config,
        before: (&applied.entry.before).into(),
        after: (&applied.entry.after).into(),
        routes,
        // The first event is the change itself, the others are what gave way.
        dropped: applied.events.iter().skip(1).map(|event| event.message.clone()).collect(),
        recent: wire::Recent::default(),
    }
}

/// Read the file again
#[utoipa::path(post, path = "/v1/config/reload", request_body = Option<wire::Reason>,
    responses((status = 200, body = wire::ReloadAnswer)))]
pub(crate) async fn reload(
    State(app): State<App>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    let change = match call.reload(&app, body.reason).await? {
        Reloaded::Changed(applied) => Some(wire::Change::from(&*applied.entry)),
        Reloaded::Unchanged => None,
    };
    let generation = match &change {
        Some(change) => change.generation,
        None => app.control.live().peek().generation,
    };
    let answer = wire::ReloadAnswer {
        ok: true,
        generation,
        changed: change.is_some(),
        change,
        dry_run: call.dry_run.then_some(true),
    };
    Ok(tagged(generation, answer))
}
