//! Changes of pools' rollouts: starting one, ordering one about, and what it forbids others.

use super::{By, Context, Next, Rejected, Request, check_generation, check_pool, not_found};
use crate::address::Address;
use crate::config::{self, PoolStrategy};
use crate::pool::{Pool, Usable};
use crate::pool_rollout::{self, Order, Ordered};
use crate::validate::{self, Problem};

/// Starts a rollout: of this plan, or of the file's.
pub(super) fn start(
    next: &mut Next,
    request: &Request,
    context: Context<'_>,
    name: &str,
    sent: Option<&config::PoolRollout>,
    by: By<'_>,
) -> Result<(), Rejected> {
    check_pool(request, context, name)?;
    let of_file = || context.config.pools.get(name)?.rollout.as_ref();
    let Some(plan) = sent.or_else(of_file) else {
        return Err(Rejected::Invalid(vec![Problem {
            path: String::new(),
            line: None,
            message: format!("pool `{name}` has no plan in the file"),
            hint: Some(format!("send one, or write [pools.{name}.rollout]")),
        }]));
    };
    if let Some(first) = context.state.active_pool_rollout(name) {
        let first = first.describe();
        return Err(Rejected::Conflict(format!("pool `{name}` has {first} already; abort it first")));
    }
    let mut problems = validate::pool_rollout(plan, "");
    if sent.is_some() {
        problems.extend(validate::sent_hooks(&plan.hooks));
    }
    if !problems.is_empty() {
        return Err(Rejected::Invalid(problems));
    }
    let Some(pool) = context.snapshot.pool_named(name) else { return Ok(()) };
    check_endpoints(pool, plan.strategy)?;
    let endpoints = pool.endpoints.iter().map(|endpoint| endpoint.address().clone());
    let id = context.state.generation + 1;
    let rollout = pool_rollout::start(plan.clone(), by.said(), id, endpoints);
    next.state.pool_rollouts.insert(name.to_owned(), rollout);
    next.pools.insert(name.to_owned());
    Ok(())
}

fn check_endpoints(pool: &Pool, strategy: PoolStrategy) -> Result<(), Rejected> {
    let name = &pool.name;
    let refuse = |why: String| Err(Rejected::Conflict(why));
    match (strategy, pool.endpoints.len()) {
        _ if pool.discovery.is_some() => refuse(format!(
            "the endpoints of pool `{name}` are found by `dns`, and what is replaced may come back under \
             another address; replace it where it runs"
        )),
        (_, 0) => refuse(format!("pool `{name}` has no endpoints; put some first")),
        _ if pool.is_draining() => refuse(format!("pool `{name}` is being drained; undrain it first")),
        (PoolStrategy::Rolling, 1) => refuse(format!(
            "pool `{name}` has one endpoint, and a rolling rollout never takes the last one away; \
             use \"strategy\": \"recreate\", by which requests wait meanwhile"
        )),
        _ => Ok(()),
    }
}

/// Carries out an order; `seen` is the revision that whoever gives it has looked at.
pub(super) fn order(
    next: &mut Next,
    request: &Request,
    context: Context<'_>,
    name: &str,
    (order, seen): (&Order, Option<u64>),
    by: By<'_>,
) -> Result<(), Rejected> {
    let Some(pool) = context.snapshot.pool_named(name) else {
        return Err(not_found("pool", name, context.config.pools.keys().map(String::as_str)));
    };
    let Some(rollout) = context.state.pool_rollouts.get(name) else {
        return Err(not_found("rollout of pool", name, std::iter::empty()));
    };
    if !order.is_abort() {
        check_generation(request, pool.generation)?;
    }
    if seen.is_some_and(|seen| seen != rollout.revision) {
        return Err(Rejected::Stale { current: pool.generation });
    }
    next.is_urgent = order.is_abort();
    let now_ms = context.now.mono_ms;
    let serves = |address: &Address| {
        pool.endpoints.iter().any(|e| e.address() == address && pool.usable(e, now_ms) != Usable::No)
    };
    let drains = next.state.drains.remove(name).unwrap_or_default();
    let Ordered { rollout, drains } =
        pool_rollout::apply(rollout, drains, order, by.said(), serves).map_err(Rejected::Conflict)?;
    next.put_drains(name, drains);
    next.state.pool_rollouts.insert(name.to_owned(), rollout);
    next.pools.insert(name.to_owned());
    Ok(())
}
