//! Splits: what is in force, and how an operator shifts it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tidegate_core::change::Change;
use tidegate_core::live::Applied;
use tidegate_core::snapshot;
use tidegate_core::state::file_weights;

use crate::body::Input;
use crate::call::{At, Call, Table, check_ttl, tagged};
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// A split as the API shows it.
pub(crate) fn show(table: Table<'_>, split: &snapshot::Split) -> wire::Split {
    let name = &*split.name;
    let kept = table.state.weights.get(name);
    let weights = split.members.iter().filter_map(|m| Some((m.name.to_string(), m.weight?)));
    let tally = |m: &snapshot::Member| wire::Tally { total: m.charges.total(), failed: m.charges.failed() };
    wire::Split {
        name: name.to_owned(),
        generation: split.generation,
        weights: weights.collect(),
        shares: split.shares().map(|(m, share)| (m.name.to_string(), share)).collect(),
        configured_weights: file_weights(table.config, name).cloned().unwrap_or_default(),
        source: match kept {
            Some(kept) if kept.by_rollout => "rollout",
            Some(_) => "api",
            None => "file",
        },
        runtime: kept.map(wire::Runtime::of),
        key: split.key.iter().map(ToString::to_string).collect(),
        fallback: split.fallback.iter().map(|m| split.member(*m).name.to_string()).collect(),
        rollout: split.rollout.as_deref().map(wire::RolloutSummary::of),
        requests: split.members.iter().map(|m| (m.name.to_string(), tally(m))).collect::<BTreeMap<_, _>>(),
        durable: None,
        dry_run: wire::DryRun::default(),
    }
}

/// The answer to a change: the split as it is then, or by a dry run would be.
fn answer(app: &App, call: &Call, applied: &Applied, name: &str) -> Result<Response, Failure> {
    let table = Table::of_change(applied, app);
    let split = applied.snapshot.split_named(name).ok_or_else(|| Failure::not_found("split", name))?;
    let mut shown = show(table, split);
    if call.dry_run {
        shown.dry_run = wire::DryRun::of(&applied.entry);
    }
    shown.durable = applied.unsaved.as_ref().map(|_| false);
    Ok(tagged(shown.generation, shown))
}

/// All splits
#[utoipa::path(get, path = "/v1/splits", responses((status = 200, body = wire::SplitList)))]
pub(crate) async fn list(State(app): State<App>) -> Json<wire::SplitList> {
    let view = app.control.view().await;
    let table = Table::of_view(&view, &app);
    let mut splits: Vec<_> = view.snapshot.named_splits().map(|split| show(table, split)).collect();
    splits.sort_by(|a, b| a.name.cmp(&b.name));
    Json(wire::SplitList { splits })
}

/// One split
#[utoipa::path(get, path = "/v1/splits/{split}", params(("split" = String, Path)),
    responses((status = 200, body = wire::Split)))]
pub(crate) async fn get(State(app): State<App>, At(name): At<String>) -> Result<Response, Failure> {
    let view = app.control.view().await;
    let split = view.snapshot.split_named(&name).ok_or_else(|| Failure::not_found("split", &name))?;
    Ok(tagged(split.generation, show(Table::of_view(&view, &app), split)))
}

/// Replace a split's weights
#[utoipa::path(put, path = "/v1/splits/{split}/weights", params(("split" = String, Path)),
    request_body = wire::SetWeights, responses((status = 200, body = wire::Split)))]
pub(crate) async fn set_weights(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::SetWeights>,
) -> Result<Response, Failure> {
    let ttl = check_ttl(body.ttl)?;
    let wire::SetWeights { weights, force, .. } = body;
    let change = Change::SetWeights { split: split.clone(), weights, ttl, force };
    let applied = call.make(&app, change, body.reason).await?;
    answer(&app, &call, &applied, &split)
}

/// Send all of a split's traffic to one pool
#[utoipa::path(post, path = "/v1/splits/{split}/cutover", params(("split" = String, Path)),
    request_body = wire::Cutover, responses((status = 200, body = wire::Split)))]
pub(crate) async fn cutover(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Cutover>,
) -> Result<Response, Failure> {
    let wire::Cutover { to, min_healthy, bake, force, reason } = body;
    let bake = bake.filter(|bake| bake.limit().is_some());
    let change = Change::Cutover { split: split.clone(), to, min_healthy, bake, force };
    let applied = call.make(&app, change, reason).await?;
    answer(&app, &call, &applied, &split)
}

/// Bring back the weights before the split's last change
#[utoipa::path(post, path = "/v1/splits/{split}/revert", params(("split" = String, Path)),
    request_body = Option<wire::Reason>, responses((status = 200, body = wire::Split)))]
pub(crate) async fn revert(
    State(app): State<App>,
    At(split): At<String>,
    call: Call,
    Input(body): Input<wire::Reason>,
) -> Result<Response, Failure> {
    let change = Change::Revert { split: split.clone() };
    let applied = call.make(&app, change, body.reason).await?;
    answer(&app, &call, &applied, &split)
}
