//! The task that carries rollouts out: every 100 ms it looks at each, and does what follows.
//!
//! What follows is worked out by [`tidegate_core::rollout::step`]; this reads the ledger, hands over what
//! hooks and checks have answered, and applies the finding through [`Control::apply`] like anybody else.
//! It holds nothing that cannot be had again from the table: a process that starts anew finds the
//! rollout paused, with the evidence of its last change.
//!
//! A look waits for nothing: not for a hook, which holds its rollout while the guard is asked all the
//! same, and not for a disk. What it finds is carried out in a task of its own, and an abort takes the
//! candidate's requests away before that ([`tidegate_core::ledger::Ledger::cut`]).

mod ask;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use tidegate_core::change::{Change, Now, Rejected, Request};
use tidegate_core::ledger::{FailedRequest, Ledger, Place, Side};
use tidegate_core::pool::Pool;
use tidegate_core::rollout::{
    Act, Decided, Finding, Found, Held, Known, Look, Order, Progress, Quantiles, Rollout, Seen, Verdict, step,
};
use tidegate_core::snapshot::{Snapshot, Split, Watch};
use tidegate_core::units::Generation;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::board::Watched;
use crate::control::Control;
use ask::Asking;

const EVERY: Duration = Duration::from_millis(100);
/// A finding that could not be carried out is tried again after this.
const AGAIN_AFTER_MS: u64 = 1_000;
/// So many stuck requests are told of at a tick: as many as are kept.
const MOST_STUCK: usize = 20;

/// Looks after all rollouts of splits until `stop`.
pub async fn control_rollouts(control: Arc<Control>, stop: impl Future<Output = ()>) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last_ms = control.clock().mono_ms();
    let mut controller = Controller { control, running: BTreeMap::new(), saving: None, last_ms };
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = interval.tick() => controller.tick(),
        }
    }
}

struct Controller {
    control: Arc<Control>,
    /// By split.
    running: BTreeMap<String, Running>,
    /// What is in force and not written down is being written.
    saving: Option<JoinHandle<()>>,
    last_ms: u64,
}

/// What is known of a rollout beside the table.
struct Running {
    id: Generation,
    revision: u64,
    progress: Progress,
    asking: Option<Asking>,
    /// A finding that is being carried out: disks can be slow, and a look waits for none.
    under_way: Option<JoinHandle<Result<(), Rejected>>>,
    /// Why the last finding could not be carried out.
    trouble: Option<Held>,
    /// A finding is not tried again before this, on the monotonic clock.
    not_before_ms: u64,
}

impl Controller {
    fn tick(&mut self) {
        let now = self.control.clock().now();
        let dt_ms = now.mono_ms.saturating_sub(self.last_ms);
        self.last_ms = now.mono_ms;
        if self.saving.as_ref().is_none_or(JoinHandle::is_finished) {
            let control = Arc::clone(&self.control);
            self.saving = Some(tokio::spawn(async move { control.save_unsaved().await }));
        }
        for (split, ended) in self.control.board().take_ended() {
            tokio::spawn(ask::tell(Arc::clone(&self.control), split, ended));
        }
        let table = self.control.live().snapshot();
        let is_running = |name: &str| {
            let split = table.split_named(name);
            split.and_then(|s| s.rollout.as_ref()).is_some_and(|rollout| rollout.is_active())
        };
        self.running.retain(|name, _| is_running(name));
        self.control.board().retain(is_running);
        for split in table.named_splits() {
            if let (Some(rollout), Some(watch)) = (&split.rollout, &split.watch) {
                let look = || self.look_after(&table, split, rollout, watch, Beat { now, dt_ms });
                if catch_unwind(AssertUnwindSafe(look)).is_err() {
                    // Our own bug. It must not keep the guard from the other rollouts.
                    let (split, rollout) = (&*split.name, rollout.id);
                    tracing::error!(split, rollout, "the look at a rollout broke off");
                    self.running.remove(split);
                }
            }
        }
    }

    /// Looks at one rollout, and sees to what follows.
    fn look_after(
        &mut self,
        table: &Snapshot,
        split: &Arc<Split>,
        rollout: &Arc<Rollout>,
        watch: &Watch,
        beat: Beat,
    ) {
        let running = self.running.entry(split.name.to_string()).or_insert_with(|| Running::of(rollout));
        running.follow(rollout);
        running.listen(beat.now.mono_ms);
        let look = running.look(table, split, rollout, watch, beat);
        running.progress = look.progress.clone();
        running.ask(&self.control, &split.name, rollout);
        if let Some(finding) = &look.finding {
            if finding.act == Act::Abort {
                watch.ledger.cut();
            }
            if running.may_act(finding.act, beat.now.mono_ms) {
                let verdict = verdict(table, rollout, watch, &look, beat.now);
                running.carry_out(&self.control, &split.name, rollout, finding, verdict);
            } else if let Some(trouble) = &running.trouble {
                running.progress.held = Some(trouble.clone());
            }
        }
        let known = Known { revision: running.revision, progress: running.progress.clone() };
        let watched = Watched { id: running.id, known, tests: look.assessment.tests };
        self.control.board().put(&split.name, watched);
    }
}

/// The time of a tick.
#[derive(Clone, Copy)]
struct Beat {
    now: Now,
    /// Since the last one.
    dt_ms: u64,
}

impl Running {
    fn of(rollout: &Rollout) -> Self {
        Self {
            id: rollout.id,
            revision: rollout.revision,
            progress: rollout.progress.clone(),
            asking: None,
            under_way: None,
            trouble: None,
            not_before_ms: 0,
        }
    }

    /// Takes over what a change of the rollout has done; what the guard knows is never reset.
    fn follow(&mut self, rollout: &Rollout) {
        if self.id != rollout.id {
            *self = Self::of(rollout);
        } else if self.revision != rollout.revision {
            let known = &self.progress;
            self.progress = Progress {
                guard: known.guard.clone(),
                candidate_us: known.candidate_us,
                baseline_us: known.baseline_us,
                ..rollout.progress.clone()
            };
            self.revision = rollout.revision;
            // What hooks have answered was about the rollout as it was.
            self.asking = None;
            self.trouble = None;
            self.not_before_ms = 0;
        }
    }

    fn look(
        &self,
        table: &Snapshot,
        split: &Split,
        rollout: &Rollout,
        watch: &Watch,
        Beat { now, dt_ms }: Beat,
    ) -> Look {
        let candidate = table.pool(split.member(watch.candidate).pool);
        let mut stuck = Vec::new();
        let tick = watch.ledger.tick_telling(now.mono_ms, |side, place| {
            if side == Side::Candidate && stuck.len() < MOST_STUCK {
                stuck.push(place);
            }
        });
        for place in stuck {
            watch.ledger.note_failure(|| stuck_request(table, candidate, place, now.wall_ms));
        }
        if let Some(latency) = &rollout.plan.guard.latency
            && let Some(ratio) = latency.ratio
        {
            watch.ledger.freeze_ratio_limit(latency.quantile, ratio);
        }
        let answer = self.asking.as_ref().and_then(Asking::answer);
        let settings = rollout.guard_settings(split.is_keyed());
        let seen = Seen {
            tick,
            dt_ms,
            settings: &settings,
            healthy: candidate.healthy(now.mono_ms),
            draining: candidate.is_draining(),
            share: share(split, watch),
            answer: answer.as_ref(),
        };
        let mut look = step(rollout, self.progress.clone(), &seen);
        look.progress.candidate_us = quantiles(&watch.ledger, Side::Candidate);
        look.progress.baseline_us = quantiles(&watch.ledger, Side::Baseline);
        look
    }

    /// Has hooks and checks asked where they stand before the next step, and no longer where not.
    fn ask(&mut self, control: &Arc<Control>, split: &str, rollout: &Arc<Rollout>) {
        match self.progress.asking {
            None => self.asking = None,
            Some(step) if self.asking.as_ref().is_none_or(|asking| asking.step() != step) => {
                let asking = Asking::begin(control, split, rollout, step);
                self.asking = Some(asking);
            }
            Some(_) => {}
        }
    }

    /// Takes in what came of a finding that was being carried out.
    fn listen(&mut self, now_ms: u64) {
        let Some(result) = self.under_way.as_mut().and_then(FutureExt::now_or_never) else { return };
        self.under_way = None;
        match result {
            // Somebody else was quicker; this look sees what they did.
            Ok(Ok(()) | Err(Rejected::Stale { .. } | Rejected::TakingOver)) => self.trouble = None,
            Ok(Err(rejected)) => {
                self.trouble = Some(Held { by: "state".into(), why: rejected.to_string() });
                self.not_before_ms = now_ms + AGAIN_AFTER_MS;
            }
            // Our own bug, or the end of the process.
            Err(_) => self.not_before_ms = now_ms + AGAIN_AFTER_MS,
        }
    }

    fn may_act(&self, act: Act, now_ms: u64) -> bool {
        self.under_way.is_none() && (now_ms >= self.not_before_ms || act == Act::Abort)
    }

    fn carry_out(
        &mut self,
        control: &Arc<Control>,
        split: &str,
        rollout: &Rollout,
        finding: &Finding,
        verdict: Option<Verdict>,
    ) {
        let found = Found { act: finding.act, verdict, id: rollout.id, revision: rollout.revision };
        let change = Change::Rollout {
            split: split.to_owned(),
            order: Order::Found(Box::new(found)),
            known: Some(Box::new(Known { revision: rollout.revision, progress: self.progress.clone() })),
        };
        let reason = Some(finding.why.clone());
        let request = Request { change, actor: finding.actor().into(), reason, if_match: None };
        let (control, split, id) = (Arc::clone(control), split.to_owned(), rollout.id);
        let action = request.change.action();
        self.under_way = Some(tokio::spawn(async move {
            let made = control.apply(request).await.map(|_| ());
            if let Err(rejected) = &made
                && !matches!(rejected, Rejected::Stale { .. } | Rejected::TakingOver)
            {
                tracing::error!(split, rollout = id, action, %rejected, "a rollout cannot go on");
            }
            made
        }));
    }
}

/// The candidate's part of what it and the baseline have together.
fn share(split: &Split, watch: &Watch) -> f64 {
    let weight = |member| f64::from(split.member(member).weight.unwrap_or(0));
    let (candidate, baseline) = (weight(watch.candidate), weight(watch.baseline));
    if candidate == 0.0 { 0.0 } else { candidate / (candidate + baseline) }
}

/// What can be told of a request that has not ended: its id is known only at its end.
fn stuck_request(table: &Snapshot, pool: &Pool, place: Place, wall_ms: u64) -> FailedRequest {
    let route = table.routes.get(place.route as usize).map(|route| route.name.to_string());
    let endpoint = place.endpoint.and_then(|at| pool.endpoints.get(at as usize));
    FailedRequest {
        time_ms: wall_ms,
        route: route.unwrap_or_default(),
        status: 0,
        reason: "stuck".into(),
        endpoint: endpoint.map(|endpoint| endpoint.address().to_string()),
        request_id: String::new(),
    }
}

fn quantiles(ledger: &Ledger, side: Side) -> Quantiles {
    Quantiles { p50_us: ledger.quantile_us(side, 0.5), p99_us: ledger.quantile_us(side, 0.99) }
}

/// A finding with all that explains it.
fn verdict(table: &Snapshot, rollout: &Rollout, watch: &Watch, look: &Look, now: Now) -> Option<Verdict> {
    let finding = look.finding.as_ref().filter(|finding| finding.is_verdict)?;
    let failures: Vec<FailedRequest> = watch.ledger.failures();
    let mut endpoints = BTreeMap::new();
    for endpoint in failures.iter().filter_map(|failed| failed.endpoint.clone()) {
        *endpoints.entry(endpoint).or_default() += 1;
    }
    let guard = &look.progress.guard;
    Some(Verdict {
        time_ms: now.wall_ms,
        generation: table.generation,
        decided: match finding.act {
            Act::Abort => Decided::Abort,
            Act::Pause { passed: false } => Decided::Pause,
            Act::Pause { passed: true } | Act::Enter(_) | Act::Bake | Act::Succeed => Decided::Pass,
        },
        by: finding.by.clone(),
        why: finding.why.clone(),
        step: rollout.step,
        percent: rollout.percent,
        candidate: guard.candidate,
        baseline: guard.baseline,
        candidate_us: look.progress.candidate_us,
        baseline_us: look.progress.baseline_us,
        excluded: watch.ledger.excluded().into_iter().map(|(why, n)| (why.as_str().to_owned(), n)).collect(),
        tests: look.assessment.tests.clone(),
        failures,
        endpoints,
    })
}

/// Rollouts that have ended and whose hooks are to be told, by split.
pub(crate) type Ended = VecDeque<(String, Arc<Rollout>)>;
