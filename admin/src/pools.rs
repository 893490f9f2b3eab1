//! Pools and their endpoints: what is in force, draining, and replacing endpoints.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tidegate_core::address::Address;
use tidegate_core::cell::LastCheck;
use tidegate_core::change::Change;
use tidegate_core::live::Applied;
use tidegate_core::pool::{Endpoint, Pool};
use tidegate_core::units::Span;
use tidegate_core::warming::FULL;

use crate::body::Input;
use crate::call::{At, Call, Table, check_ttl, tagged};
use crate::clock::rfc3339;
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// A pool as the API shows it.
pub(crate) fn show(table: Table<'_>, pool: &Pool) -> wire::Pool {
    let kept = table.state.endpoints.get(&*pool.name);
    let in_flight = pool.cell.in_flight();
    let state = match (pool.draining, in_flight) {
        (None, _) => "ready",
        (Some(_), 0) => "drained",
        (Some(_), _) => "draining",
    };
    let leaving = pool.leaving.iter().map(|cell| wire::Leaving {
        address: cell.address.to_string(),
        in_flight: cell.in_flight(),
        connections: cell.connections(),
    });
    // The table holds on to the others only until the next one is made.
    let leaving = leaving.filter(|leaving| leaving.in_flight > 0 || leaving.connections > 0);
    wire::Pool {
        name: pool.name.to_string(),
        generation: pool.generation,
        state,
        panic: pool.panics(table.mono_ms),
        endpoints: pool.endpoints.iter().map(|e| show_endpoint(pool, e, table.mono_ms)).collect(),
        leaving: leaving.collect(),
        in_flight,
        waiting: pool.waiting(),
        source: if kept.is_some() { "api" } else { "file" },
        dns: pool.discovery.as_ref().map(|discovery| wire::Dns {
            name: discovery.name.to_string(),
            refresh: Span(discovery.refresh).to_string(),
            last_lookup: pool.cell.lookup.lock().clone().map(show_check),
        }),
        runtime: kept.map(wire::Runtime::of),
        dry_run: wire::DryRun::default(),
    }
}

fn show_endpoint(pool: &Pool, endpoint: &Endpoint, mono_ms: u64) -> wire::Endpoint {
    let part = pool.part(&endpoint.cell, mono_ms);
    wire::Endpoint {
        address: endpoint.address().to_string(),
        weight: endpoint.weight,
        warming: (part < FULL).then(|| f64::from(part) / f64::from(FULL)),
        state: pool.state(endpoint, mono_ms).as_str(),
        in_flight: endpoint.cell.in_flight(),
        connections: endpoint.cell.connections(),
        last_check: endpoint.cell.last_check().map(show_check),
    }
}

fn show_check(check: LastCheck) -> wire::LastCheck {
    wire::LastCheck { at: rfc3339(check.at_ms), ok: check.ok, detail: check.detail }
}

fn answer(app: &App, call: &Call, applied: &Applied, name: &str) -> Result<Response, Failure> {
    let table = Table::of_change(applied, app);
    let pool = applied.snapshot.pool_named(name).ok_or_else(|| Failure::not_found("pool", name))?;
    let mut shown = show(table, pool);
    if call.dry_run {
        shown.dry_run = wire::DryRun::of(&applied.entry);
    }
    Ok(tagged(shown.generation, shown))
}

/// An endpoint's address in a path: `127.0.0.1:9001`, `[::1]:9001` or `unix:/run/app.sock`, escaped.
fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|_| Failure::not_found("endpoint", text))
}

/// All pools
#[utoipa::path(get, path = "/v1/pools", responses((status = 200, body = wire::PoolList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<wire::PoolList> {
    let view = app.control.view().await;
    let table = Table::of_view(&view, &app);
    Json(wire::PoolList { pools: view.snapshot.pools.iter().map(|pool| show(table, pool)).collect() })
}

/// One pool
#[utoipa::path(get, path = "/v1/pools/{pool}", params(("pool" = String, Path)),
    responses((status = 200, body = wire::Pool)))]
pub(crate) async fn get(State(app): State<App>, At(name): At<String>) -> Result<Response, Failure> {
    let view = app.control.view().await;
    let pool = view.snapshot.pool_named(&name).ok_or_else(|| Failure::not_found("pool", &name))?;
    Ok(tagged(pool.generation, show(Table::of_view(&view, &app), pool)))
}

/// Replace a pool's endpoints
#[utoipa::path(put, path = "/v1/pools/{pool}/endpoints", params(("pool" = String, Path)),
    request_body = wire::SetEndpoints, responses((status = 200, body = wire::Pool)))]
pub(crate) async fn set_endpoints(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::SetEndpoints>,
) -> Result<Response, Failure> {
    let ttl = check_ttl(body.ttl)?;
    let endpoints = body.endpoints.into_iter().map(Into::into).collect();
    let change = Change::SetEndpoints { pool: pool.clone(), endpoints, ttl };
    let applied = call.make(&app, change, body.reason).await?;
    answer(&app, &call, &applied, &pool)
}

/// Drain a pool
#[utoipa::path(post, path = "/v1/pools/{pool}/drain", params(("pool" = String, Path)),
    request_body = Option<wire::Drain>, responses((status = 200, body = wire::Pool)))]
pub(crate) async fn drain(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::Drain>,
) -> Result<Response, Failure> {
    drain_it(&app, &call, pool, None, body).await
}

/// Drain an endpoint
#[utoipa::path(post, path = "/v1/pools/{pool}/endpoints/{address}/drain",
    params(("pool" = String, Path), ("address" = String, Path)),
    request_body = Option<wire::Drain>, responses((status = 200, body = wire::Pool)))]
pub(crate) async fn drain_endpoint(
    State(app): State<App>,
    At((pool, endpoint)): At<(String, String)>,
    call: Call,
    Input(body): Input<wire::Drain>,
) -> Result<Response, Failure> {
    let endpoint = address(&endpoint)?;
    drain_it(&app, &call, pool, Some(endpoint), body).await
}

async fn drain_it(
    app: &App,
    call: &Call,
    pool: String,
    endpoint: Option<Address>,
    body: wire::Drain,
) -> Result<Response, Failure> {
    let change = Change::Drain { pool: pool.clone(), endpoint, timeout: body.timeout };
    let applied = call.make(app, change, body.reason).await?;
    answer(app, call, &applied, &pool)
}

/// Call a pool's drain off
#[utoipa::path(post, path = "/v1/pools/{pool}/undrain", params(("pool" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Pool)))]
pub(crate) async fn undrain(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    undrain_it(&app, &call, pool, None, body).await
}

/// Call an endpoint's drain off
#[utoipa::path(post, path = "/v1/pools/{pool}/endpoints/{address}/undrain",
    params(("pool" = String, Path), ("address" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Pool)))]
pub(crate) async fn undrain_endpoint(
    State(app): State<App>,
    At((pool, endpoint)): At<(String, String)>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    let endpoint = address(&endpoint)?;
    undrain_it(&app, &call, pool, Some(endpoint), body).await
}

async fn undrain_it(
    app: &App,
    call: &Call,
    pool: String,
    endpoint: Option<Address>,
    body: wire::Reason,
) -> Result<Response, Failure> {
    let change = Change::Undrain { pool: pool.clone(), endpoint };
    let applied = call.make(app, change, body.reason).await?;
    answer(app, call, &applied, &pool)
}
