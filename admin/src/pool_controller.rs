//! The task that carries out rollouts of pools: every 100 ms it looks at each, and does what follows.
//!
//! What follows is worked out by [`tidegate_core::pool_rollout::step`]; this hands over what hooks and
//! connections have answered, and applies the finding through [`Control::apply`] like anybody else. It
//! waits for no hook: a call runs in a task of its own, which ends with the rollout that wanted it. A
//! process that starts anew finds the rollout standing still.

mod call;
mod reach;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tidegate_core::address::Address;
use tidegate_core::change::{Change, Rejected, Request};
use tidegate_core::pool::Pool;
use tidegate_core::pool_rollout::{Act, Order, PoolRollout, Progress, Seen, Stage, Wish, step};
use tidegate_core::rollout::{ACTOR, Held};
use tidegate_core::units::Generation;
use tokio::time::MissedTickBehavior;

use crate::control::Control;
use call::Calls;
use reach::Reach;

const EVERY: Duration = Duration::from_millis(100);
/// A finding that could not be carried out is tried again after this.
const AGAIN_AFTER_MS: u64 = 1_000;
/// What follows from a look at once: more is left to the next tick.
const MOST_LOOKS: usize = 64;

/// What is known of a pool's rollout at its last look, for whoever wants to see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    id: Generation,
    pub(crate) held: Option<Held>,
    /// Endpoints in hand that nothing checks, and that accept no connection.
    pub(crate) unreachable: Vec<Address>,
}

/// All rollouts of pools, by pool.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Watched>>);

impl Board {
    /// The rollout's last look, if there was one.
    pub(crate) fn get(&self, pool: &str, rollout: &PoolRollout) -> Watched {
        self.0.lock().get(pool).filter(|watched| watched.id == rollout.id).cloned().unwrap_or_default()
    }
}

/// Looks after all rollouts of pools until `stop`.
pub async fn control_pool_rollouts(control: Arc<Control>, stop: impl Future<Output = ()>) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = interval.tick() => tick(&control, &mut running).await,
        }
    }
}

async fn tick(control: &Arc<Control>, running: &mut BTreeMap<String, Running>) {
    let table = control.live().snapshot();
    let active = |pool: &str| active(table.pool_named(pool)?);
    running.retain(|pool, _| active(pool).is_some());
    control.board().pools.0.lock().retain(|pool, _| active(pool).is_some());
    for pool in &table.pools {
        let Some(rollout) = self::active(pool) else { continue };
        let one = running.entry(pool.name.to_string()).or_default();
        if one.id != rollout.id {
            *one = Running { id: rollout.id, ..Running::default() };
        }
        if AssertUnwindSafe(one.look_after(control, &pool.name)).catch_unwind().await.is_err() {
            // Our own bug. It must not stop the rollouts of other pools.
            tracing::error!(pool = &*pool.name, rollout = rollout.id, "the look at a rollout broke off");
            running.remove(&*pool.name);
        }
    }
}

fn active(pool: &Pool) -> Option<&Arc<PoolRollout>> {
    pool.rollout.as_ref().filter(|rollout| rollout.is_active())
}

/// What is known of a rollout beside the table.
#[derive(Default)]
struct Running {
    id: Generation,
    progress: Progress,
    calls: Calls,
    reach: Reach,
    /// Nothing is tried before this, on the monotonic clock.
    not_before_ms: u64,
}

impl Running {
    /// Looks at the rollout, and does what follows, until nothing does.
    async fn look_after(&mut self, control: &Arc<Control>, name: &str) {
        let clock = control.clock();
        for _ in 0..MOST_LOOKS {
            if clock.mono_ms() < self.not_before_ms {
                return;
            }
            let table = control.live().snapshot();
            let Some(pool) = table.pool_named(name) else { return };
            let Some(rollout) = active(pool).filter(|rollout| rollout.id == self.id) else { return };
            self.listen(control, pool, rollout, clock.mono_ms()).await;
            let seen = Seen::of(pool, clock.mono_ms(), |address| self.reach.is_reached(address));
            let look = step(rollout, std::mem::take(&mut self.progress), &seen);
            self.progress = look.progress;
            let goes_on = match look.wish {
                None => false,
                Some(Wish::Call(addresses)) => {
                    self.calls.begin(control, name, rollout, addresses);
                    true
                }
                Some(Wish::Act(act)) => self.carry_out(control, name, rollout, act).await,
            };
            self.show(control, name);
            if !goes_on {
                return;
            }
        }
    }

    /// Takes in what calls and connections have come to, and begins connections that are due.
    async fn listen(&mut self, control: &Control, pool: &Pool, rollout: &PoolRollout, now_ms: u64) {
        for (addresses, result) in self.calls.ended().await {
            if let Err(why) = &result {
                tracing::warn!(pool = &*pool.name, rollout = rollout.id, ?addresses, "not replaced: {why}");
            }
            self.progress.answered(&addresses, result, now_ms);
        }
        let asked = rollout.in_hand().filter(|item| item.stage != Stage::Draining);
        let asked = asked.map(|item| (item.address.clone(), item.stage)).filter(|_| pool.health.is_none());
        self.reach.follow(control, asked.collect(), now_ms).await;
    }

    /// Whether it was done.
    async fn carry_out(
        &mut self,
        control: &Arc<Control>,
        name: &str,
        rollout: &PoolRollout,
        act: Act,
    ) -> bool {
        let reason = match &act {
            Act::Fail { why, .. } => Some(why.clone()),
            Act::Finish { why } => why.clone(),
            Act::Take(_) | Act::Replace(_) | Act::Await(_) | Act::Back(_) => None,
        };
        let change = Change::PoolRollout {
            pool: name.to_owned(),
            order: Order::Found(act),
            seen: Some(rollout.revision),
        };
        match control.apply(Request { change, actor: ACTOR.into(), reason, if_match: None }).await {
            Ok(_) => true,
            // Somebody else was quicker; the next look sees what they did.
            Err(Rejected::Stale { .. } | Rejected::TakingOver) => false,
            Err(rejected) => {
                tracing::error!(pool = name, rollout = rollout.id, %rejected, "a rollout cannot go on");
                self.progress.held = Some(Held { by: "state".into(), why: rejected.to_string() });
                self.not_before_ms = control.clock().mono_ms() + AGAIN_AFTER_MS;
                false
            }
        }
    }

    fn show(&self, control: &Control, name: &str) {
        let watched =
            Watched { id: self.id, held: self.progress.held.clone(), unreachable: self.reach.unreachable() };
        control.board().pools.0.lock().insert(name.to_owned(), watched);
    }
}
