//! Rollouts of splits: start, look, order about.
//!
//! Orders carry what the controller knows by now, so that what is journaled with a change is what
//! was seen up to it. An abort is answered also when it could not be written down: it is in force.

pub(crate) mod show;

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use tidegate_core::change::Change;
use tidegate_core::config::{self, plan};
use tidegate_core::live::Applied;
use tidegate_core::rollout::Order;
use tidegate_core::snapshot::{Snapshot, Split};
use tidegate_core::validate::nearest;

use crate::body::{Input, Plan};
use crate::call::{At, Call, check_reason, tagged};
use crate::error::Failure;
use crate::router::App;
use crate::wire;

fn answer(app: &App, call: &Call, applied: &Applied, name: &str) -> Result<Response, Failure> {
    let split = applied.snapshot.split_named(name).ok_or_else(|| Failure::not_found("split", name))?;
    let shown = show::rollout(&app.control, split);
    let mut shown = shown.ok_or_else(|| Failure::not_found("rollout of split", name))?;
    if call.dry_run {
        shown.dry_run = wire::DryRun::of(&applied.entry);
    }
    shown.durable = applied.unsaved.as_ref().map(|_| false);
    Ok(tagged(shown.generation, shown))
}

/// Start a split's rollout
///
/// The body is a plan, as in the file, and may have a `reason`; an empty one, or `{}`, starts the
/// file's plan.
#[utoipa::path(post, path = "/v1/splits/{split}/rollout", params(("split" = String, Path)),
    request_body = Option<wire::StartRollout>, responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn start(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Plan { plan, reason }: Plan,
) -> Result<Response, Failure> {
    let plan = match plan {
        Some(json) => Some(read_plan(&app, &split, &json)?),
        None => None,
    };
    let change = Change::StartRollout { split: split.clone(), plan: plan.map(Box::new) };
    let applied = call.make(&app, change, reason).await?;
    answer(&app, &call, &applied, &split)
}

/// What a call's plan says for the split as it is now.
fn read_plan(app: &App, name: &str, json: &Value) -> Result<config::Rollout, Failure> {
    let table = app.control.live().snapshot();
    let split = named(&table, name)?;
    let weights = split.members.iter().filter_map(|m| Some((m.name.to_string(), m.weight?))).collect();
    Ok(plan::rollout(json, &weights, split.is_keyed())?)
}

fn named<'a>(table: &'a Snapshot, name: &str) -> Result<&'a Split, Failure> {
    table.split_named(name).map(|split| &**split).ok_or_else(|| {
        let near = nearest(name, table.named_splits().map(|split| &*split.name));
        Failure::not_found_near("split", name, near)
    })
}

/// A split's rollout: the one that runs, or the last
#[utoipa::path(get, path = "/v1/splits/{split}/rollout", params(("split" = String, Path)),
    responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn get(State(app): State<App>, At(name): At<String>) -> Result<Response, Failure> {
    let table = app.control.live().snapshot();
    let split = named(&table, &name)?;
    let shown = show::rollout(&app.control, split);
    let shown = shown.ok_or_else(|| Failure::not_found("rollout of split", &name))?;
    Ok(tagged(shown.generation, shown))
}

async fn order(
    app: &App,
    call: &Call,
    split: String,
    order: Order,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let table = app.control.live().snapshot();
    let id = table.split_named(&split).and_then(|s| s.rollout.as_ref()).map(|rollout| rollout.id);
    let watched = id.and_then(|id| app.control.board().get(&split, id));
    if let (Order::Abort, false, Some(watch)) =
        (&order, call.dry_run, table.split_named(&split).and_then(|split| split.watch.as_ref()))
    {
        // What could refuse it comes first; then it must not wait for a disk that another change waits for.
        check_reason(reason.as_deref())?;
        watch.ledger.cut();
    }
    let known = watched.map(|watched| Box::new(watched.known));
    let change = Change::Rollout { split: split.clone(), order, known };
    let applied = call.make(app, change, reason).await?;
    answer(app, call, &applied, &split)
}

/// Stay at the present share
#[utoipa::path(post, path = "/v1/splits/{split}/rollout/pause", params(("split" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn pause(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    order(&app, &call, split, Order::Pause, body.reason).await
}

/// Go on after a pause, or without the hook or check that holds it
#[utoipa::path(post, path = "/v1/splits/{split}/rollout/resume", params(("split" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn resume(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    order(&app, &call, split, Order::Resume, body.reason).await
}

/// Go on to the next step at once, or to all of the traffic
#[utoipa::path(post, path = "/v1/splits/{split}/rollout/promote", params(("split" = String, Path)),
    request_body = Option<wire::Promote>, responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn promote(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Promote>,
) -> Result<Response, Failure> {
    order(&app, &call, split, Order::Promote { full: body.full }, body.reason).await
}

/// Give the candidate's share to the baseline
#[utoipa::path(post, path = "/v1/splits/{split}/rollout/abort", params(("split" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Rollout)))]
pub(crate) async fn abort(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    order(&app, &call, split, Order::Abort, body.reason).await
}
