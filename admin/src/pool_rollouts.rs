//! Rollouts of pools: start, look, order about.

use axum::extract::State;
use axum::response::Response;
use tidegate_core::change::Change;
use tidegate_core::config::plan;
use tidegate_core::live::Applied;
use tidegate_core::pool::Pool;
use tidegate_core::pool_rollout::Order;
use tidegate_core::units::Span;
use tidegate_core::validate::nearest;

use crate::body::{Input, Plan};
use crate::call::{At, Call, tagged};
use crate::error::Failure;
use crate::pool_controller::Watched;
use crate::router::App;
use crate::wire;

/// A pool's rollout, if it has or had one.
fn show(app: &App, pool: &Pool) -> Option<wire::PoolRollout> {
    let rollout = pool.rollout.as_deref()?;
    let now_ms = app.control.clock().now().wall_ms;
    let until_ms = rollout.ended.as_ref().map_or(now_ms, |(_, said)| said.at_ms);
    let elapsed_ms = until_ms.saturating_sub(rollout.started.at_ms);
    let is_running = rollout.is_active() && rollout.paused.is_none();
    let endpoint = |item: &tidegate_core::pool_rollout::Item| wire::RolledEndpoint {
        address: item.address.to_string(),
        state: item.stage.as_str(),
    };
    Some(wire::PoolRollout {
        pool: pool.name.to_string(),
        id: rollout.id,
        generation: pool.generation,
        strategy: rollout.plan.strategy,
        state: rollout.status().as_str(),
        held: watched(app, pool).held.filter(|_| is_running).as_ref().map(wire::Held::of),
        paused: rollout.paused.as_ref().map(wire::Said::of),
        ended: rollout.ended.as_ref().map(|(_, said)| wire::Said::of(said)),
        started: wire::Said::of(&rollout.started),
        endpoints: rollout.endpoints.iter().map(endpoint).collect(),
        waiting_requests: pool.cell.queue.length(),
        elapsed: Span::told_ms(elapsed_ms).to_string(),
        plan: rollout.plan.clone(),
        durable: None,
        dry_run: wire::DryRun::default(),
    })
}

/// What the controller has found of the pool's rollout.
fn watched(app: &App, pool: &Pool) -> Watched {
    let rollout = pool.rollout.as_ref();
    rollout.map(|rollout| app.control.board().pools.get(&pool.name, rollout)).unwrap_or_default()
}

fn answer(app: &App, call: &Call, applied: &Applied, name: &str) -> Result<Response, Failure> {
    let pool = applied.snapshot.pool_named(name).ok_or_else(|| Failure::not_found("pool", name))?;
    let mut shown = show(app, pool).ok_or_else(|| Failure::not_found("rollout of pool", name))?;
    if call.dry_run {
        shown.dry_run = wire::DryRun::of(&applied.entry);
    }
    shown.durable = applied.unsaved.as_ref().map(|_| false);
    Ok(tagged(shown.generation, shown))
}

/// Start a pool's rollout
///
/// The body is a plan, as in the file, and may have a `reason`; an empty one, or `{}`, starts the
/// file's plan.
#[utoipa::path(post, path = "/v1/pools/{pool}/rollout", params(("pool" = String, Path)),
    request_body = Option<wire::StartPoolRollout>, responses((status = 200, body = wire::PoolRollout)))]
pub(crate) async fn start(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Plan { plan, reason }: Plan,
) -> Result<Response, Failure> {
    let plan = plan.as_ref().map(plan::pool_rollout).transpose()?;
    let change = Change::StartPoolRollout { pool: pool.clone(), plan: plan.map(Box::new) };
    let applied = call.make(&app, change, reason).await?;
    answer(&app, &call, &applied, &pool)
}

/// A pool's rollout: the one that runs, or the last
#[utoipa::path(get, path = "/v1/pools/{pool}/rollout", params(("pool" = String, Path)),
    responses((status = 200, body = wire::PoolRollout)))]
pub(crate) async fn get(State(app): State<App>, At(name): At<String>) -> Result<Response, Failure> {
    let table = app.control.live().snapshot();
    let Some(pool) = table.pool_named(&name) else {
        let hint = nearest(&name, table.pools.iter().map(|pool| &*pool.name));
        return Err(Failure::not_found_near("pool", &name, hint));
    };
    let shown = show(&app, pool).ok_or_else(|| Failure::not_found("rollout of pool", &name))?;
    Ok(tagged(shown.generation, shown))
}

async fn order(
    app: &App,
    call: &Call,
    pool: String,
    order: impl FnOnce(Watched) -> Order,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let table = app.control.live().snapshot();
    let watched = table.pool_named(&pool).map(|pool| watched(app, pool)).unwrap_or_default();
    let change = Change::PoolRollout { pool: pool.clone(), order: order(watched), seen: None };
    let applied = call.make(app, change, reason).await?;
    answer(app, call, &applied, &pool)
}

/// Take no further endpoint
///
/// What is in hand is brought to its end. Refused while requests wait for the pool.
#[utoipa::path(post, path = "/v1/pools/{pool}/rollout/pause", params(("pool" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::PoolRollout)))]
pub(crate) async fn pause(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    order(&app, &call, pool, |_| Order::Pause, body.reason).await
}

/// Go on after a pause, or without the hook that holds it
#[utoipa::path(post, path = "/v1/pools/{pool}/rollout/resume", params(("pool" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::PoolRollout)))]
pub(crate) async fn resume(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    let resumed = |watched: Watched| Order::Resume { waive: watched.held.is_some_and(|h| h.by == "hook") };
    order(&app, &call, pool, resumed, body.reason).await
}

/// Call it off: requests flow, and what it drained comes back
#[utoipa::path(post, path = "/v1/pools/{pool}/rollout/abort", params(("pool" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::PoolRollout)))]
pub(crate) async fn abort(
    State(app): State<App>,
    At(pool): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    order(&app, &call, pool, |watched| Order::Abort { keep: watched.unreachable }, body.reason).await
}
