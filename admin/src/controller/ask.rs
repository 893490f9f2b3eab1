//! Hooks and checks: asked before a step is entered, told when all is over.
//!
//! Each question runs in a task of its own and is asked again, with growing waits, until it is answered
//! with yes; dropping an [`Asking`] ends it. A hook that has said yes is not asked again.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidegate_core::address::Address;
use tidegate_core::backoff;
use tidegate_core::config::{Hook, HookOn};
use tidegate_core::pool::Usable;
use tidegate_core::rollout::{Answer, Held, Rollout, Status, hooks_before};
use tokio::task::JoinHandle;

use crate::ask::Speech;
use crate::control::Control;
use crate::hook::Caller;
use crate::rollouts::show;
use crate::smoke;

/// A hook that is only told is given up after so many tries.
const MOST_TELLS: u32 = 6;

/// A question that is being asked.
pub(super) struct Asking {
    step: usize,
    answer: Arc<Mutex<Option<Answer>>>,
    task: JoinHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asking {
    /// Asks whether a step may be entered.
    pub(super) fn begin(control: &Arc<Control>, split: &str, rollout: &Arc<Rollout>, step: usize) -> Self {
        let answer = Arc::new(Mutex::new(None));
        let question = Question {
            control: Arc::clone(control),
            split: split.to_owned(),
            rollout: Arc::clone(rollout),
            step,
        };
        let task = tokio::spawn(question.ask_until_yes(Arc::clone(&answer)));
        Self { step, answer, task }
    }

    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// The last answer.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.lock().clone()
    }
}

struct Question {
    control: Arc<Control>,
    split: String,
    rollout: Arc<Rollout>,
    step: usize,
}

impl Question {
    async fn ask_until_yes(self, answer: Arc<Mutex<Option<Answer>>>) {
        let mut agreed = 0;
        for failures in 1.. {
            let result = self.ask(&mut agreed).await;
            let refused = result.as_ref().err().cloned();
            *answer.lock() = Some(Answer { step: self.step, result });
            let Some(held) = refused else { return };
            let wait = backoff::after(failures);
            let Self { split, rollout, step, .. } = &self;
            tracing::warn!(split, rollout = rollout.id, step, by = held.by, ?wait, "held: {}", held.why);
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks checks, then hooks in their order; `agreed` hooks have said yes before.
    async fn ask(&self, agreed: &mut usize) -> Result<(), Held> {
        if self.step == 1 {
            let (candidates, speech) = self.candidates();
            let checked = smoke::check(&self.rollout.plan.checks, &candidates, &speech).await;
            checked.map_err(|why| Held { by: "check".into(), why })?;
        }
        let hooks: Vec<&Hook> = hooks_before(&self.rollout, self.step).collect();
        for hook in hooks.iter().skip(*agreed) {
            let called = call(&self.control, hook, &self.body(hook.on)).await;
            called.map_err(|why| Held { by: "hook".into(), why })?;
            *agreed += 1;
        }
        Ok(())
    }

    /// The candidate's endpoints that would get requests, and how they are spoken to.
    fn candidates(&self) -> (Vec<Address>, Speech) {
        let table = self.control.live().snapshot();
        let now_ms = self.control.clock().mono_ms();
        let Some(pool) = table.pool_named(&self.rollout.plan.candidate) else { return Default::default() };
        let usable = pool.endpoints.iter().filter(|e| pool.usable(e, now_ms) != Usable::No);
        let places = usable.map(|endpoint| self.control.locate(endpoint.address())).collect();
        (places, self.control.speech(pool))
    }

    fn body(&self, on: HookOn) -> Value {
        let percent = self.rollout.steps().get(self.step - 1).map(|step| step.percent);
        body(&self.control, &self.split, &self.rollout, on, (self.step, percent.unwrap_or(100.0)))
    }
}

/// What a hook is sent. The step and its percentage are those that are asked about.
fn body(
    control: &Control,
    split: &str,
    rollout: &Rollout,
    on: HookOn,
    (step, percent): (usize, f64),
) -> Value {
    json!({
        "on": on,
        "split": split,
        "rollout": rollout.id,
        "strategy": rollout.plan.strategy,
        "baseline": rollout.plan.baseline,
        "candidate": rollout.plan.candidate,
        "step": step,
        "steps": rollout.steps().len(),
        "percent": percent,
        "evidence": show::evidence(control, split, rollout),
    })
}

async fn call(control: &Control, hook: &Hook, body: &Value) -> Result<(), String> {
    Caller::new(hook, |file| control.resolve(file)).call(body).await
}

/// Tells the hooks of a rollout how it ended.
pub(super) async fn tell(control: Arc<Control>, split: String, rollout: Arc<Rollout>) {
    let on = if rollout.status() == Status::Succeeded { HookOn::Success } else { HookOn::Abort };
    let mut body = body(&control, &split, &rollout, on, (rollout.step, rollout.percent));
    if let (Some(body), Some((_, said))) = (body.as_object_mut(), &rollout.ended) {
        body.insert("by".into(), said.by.clone().into());
        body.insert("why".into(), said.why.clone().into());
    }
    for hook in rollout.plan.hooks.iter().filter(|hook| hook.on == on) {
        for failures in 1..=MOST_TELLS {
            let Err(why) = call(&control, hook, &body).await else { break };
            tracing::warn!(split, rollout = rollout.id, tries = failures, "could not be told: {why}");
            if failures < MOST_TELLS {
                tokio::time::sleep(backoff::after(failures)).await;
            }
        }
    }
}
