//! Calls of the hooks that replace what runs behind a pool.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::address::Address;
use tidegate_core::config::{HookOn, PoolStrategy};
use tidegate_core::pool_rollout::PoolRollout;
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::hook::Caller;

/// Calls under way, and what those before them came to. Dropped, they are broken off.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    addresses: Vec<Address>,
    /// Hooks that have agreed, which are not asked again.
    agreed: usize,
    task: Option<AbortOnDropHandle<(usize, Result<(), String>)>>,
}

impl Calls {
    /// Calls the plan's hooks, one after the other, for these endpoints.
    pub(super) fn begin(
        &mut self,
        control: &Arc<Control>,
        pool: &str,
        rollout: &Arc<PoolRollout>,
        addresses: Vec<Address>,
    ) {
        let body = body(pool, rollout, &addresses);
        let place = self.0.iter().position(|call| call.addresses == addresses).unwrap_or_else(|| {
            self.0.push(Call { addresses, agreed: 0, task: None });
            self.0.len() - 1
        });
        let call = &mut self.0[place];
        let asking = ask(Arc::clone(control), Arc::clone(rollout), body, call.agreed);
        call.task = Some(AbortOnDropHandle::new(tokio::spawn(asking)));
    }

    /// Calls that have ended since this was last asked, and what they came to.
    pub(super) async fn ended(&mut self) -> Vec<(Vec<Address>, Result<(), String>)> {
        let mut ended = Vec::new();
        for call in &mut self.0 {
            let Some(task) = call.task.take_if(|task| task.is_finished()) else { continue };
            let (agreed, result) = task.await.unwrap_or_else(|error| (call.agreed, Err(error.to_string())));
            call.agreed = agreed;
            ended.push((call.addresses.clone(), result));
        }
        ended
    }
}

/// Asks the hooks after those that have agreed; how many have agreed then.
async fn ask(
    control: Arc<Control>,
    rollout: Arc<PoolRollout>,
    body: Value,
    mut agreed: usize,
) -> (usize, Result<(), String>) {
    let hooks = rollout.plan.hooks.iter().filter(|hook| hook.on == HookOn::Replace);
    for hook in hooks.skip(agreed) {
        if let Err(why) = Caller::new(hook, |file| control.resolve(file)).call(&body).await {
            return (agreed, Err(why));
        }
        agreed += 1;
    }
    (agreed, Ok(()))
}

/// What a hook is sent.
fn body(pool: &str, rollout: &PoolRollout, addresses: &[Address]) -> Value {
    let mut body = json!({
        "on": HookOn::Replace,
        "pool": pool,
        "rollout": rollout.id,
        "strategy": rollout.plan.strategy,
    });
    match (rollout.plan.strategy, addresses) {
        (PoolStrategy::Rolling, [one]) => body["endpoint"] = one.to_string().into(),
        _ => body["endpoints"] = addresses.iter().map(ToString::to_string).collect(),
    }
    body
}
