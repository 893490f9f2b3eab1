//! Routes in the order in which they are tried.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use tidegate_core::config::{Config, Match, Route};
use tidegate_core::route::Candidate;

use crate::router::App;
use crate::wire;

/// Routes in the order in which they are tried
#[utoipa::path(get, path = "/v1/routes", responses((status = 200, body = wire::RouteList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<wire::RouteList> {
    let view = app.control.view().await;
    let candidates = view.snapshot.table.candidates().iter();
    Json(wire::RouteList { routes: candidates.filter_map(|one| show(&view.config, one)).collect() })
}

fn show(config: &Config, candidate: &Candidate) -> Option<wire::Route> {
    let route = config.routes.get(candidate.route as usize)?;
    let split = route.split.as_ref().or_else(|| route.weights.as_ref().map(|_| &route.name));
    Some(wire::Route {
        name: route.name.clone(),
        number: candidate.number,
        host: candidate.host.to_string(),
        path: candidate.path.to_string(),
        conditions: route.matches.get(candidate.number as usize).map(conditions).unwrap_or_default(),
        split: split.cloned(),
        pool: route.pool.clone(),
        answers: answers(route),
    })
}

/// How a route answers by itself, if it does.
fn answers(route: &Route) -> Option<&'static str> {
    match (&route.redirect, &route.respond) {
        (Some(_), _) => Some("redirect"),
        (None, Some(_)) => Some("respond"),
        (None, None) => None,
    }
}

/// A match's conditions but for the path, as written; those that are absent are left out.
fn conditions(written: &Match) -> Map<String, Value> {
    let Ok(Value::Object(mut conditions)) = serde_json::to_value(written) else { return Map::new() };
    conditions.retain(|name, value| name != "path" && value.as_array().is_none_or(|list| !list.is_empty()));
    conditions
}
