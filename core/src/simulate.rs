//! Virtual traffic through the very guard: a seed in, figures out.
//!
//! Pure, on a virtual clock that ticks every 100 ms as the controller's does. It answers what no test
//! with a real clock can: how long the guard takes to see a bad candidate, and how often it would stop a
//! good one, over thousands of runs. Requests come as a Poisson stream. Where nobody needs to be told
//! from anybody, a tick's counts are drawn as such ([`Scenario::users`] and [`Scenario::latency`] both
//! absent); else every request is drawn and counted by the true [`crate::ledger`].
//!
//! Not here: the plan's state machine. The share follows a schedule, and stays where it is after a pause.

mod clock;
mod each;
mod population;
mod random;
mod summary;

use crate::guard::{Action, Counts, Settings, State, TestName, Tick};

pub use clock::Lateness;
pub use each::Latency;
pub use population::Users;
pub use summary::{Spread, Summary};

use clock::Clock;
use each::Each;
use random::Random;

/// The virtual world of a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Requests a second.
    pub rps: f64,
    /// The chance that a request fails in the baseline.
    pub baseline_failures: f64,
    /// The chance that a request fails in the candidate.
    pub candidate_failures: f64,
    /// The candidate's shares, one after the other; the last one stays.
    pub schedule: Vec<Stage>,
    /// What the guard looks for.
    pub settings: Settings,
    /// Who asks; absent = requests have no key.
    pub users: Option<Users>,
    /// How long requests take; absent = nobody looks.
    pub latency: Option<Latency>,
    /// A time in which both pools fail alike.
    pub incident: Option<Incident>,
    /// One user of the candidate who tries again and again, with these many requests a second, all of
    /// which fail. Needs `users`.
    pub patient_rps: f64,
    /// How late ticks are.
    pub lateness: Lateness,
    /// When a run ends without a verdict.
    pub max_ms: u64,
}

/// A share of the candidate, and how long it is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The share, as a fraction of 1.
    pub share: f64,
    /// How long, in milliseconds.
    pub for_ms: u64,
}

/// A time in which both pools fail alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// When it begins.
    pub from_ms: u64,
    /// When it is over.
    pub to_ms: u64,
    /// The chance that a request fails, in either pool.
    pub failures: f64,
}

/// What the guard said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The time since the start.
    pub at_ms: u64,
    /// The test that said it.
    pub test: TestName,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The abort that ended it.
    pub abort: Option<Verdict>,
    /// The first pause; the run goes on after it.
    pub pause: Option<Verdict>,
    /// What was counted of the candidate until the end.
    pub candidate: Counts,
    /// What was counted of the baseline until the end.
    pub baseline: Counts,
}

impl Scenario {
    /// A scenario at one share: `rps` requests a second, of which the candidate fails as often as the
    /// baseline does.
    pub fn new(rps: f64, share: f64, failures: f64, settings: Settings, max_ms: u64) -> Self {
        Self {
            rps,
            baseline_failures: failures,
            candidate_failures: failures,
            schedule: vec![Stage { share, for_ms: u64::MAX }],
            settings,
            users: None,
            latency: None,
            incident: None,
            patient_rps: 0.0,
            lateness: Lateness::default(),
            max_ms,
        }
    }

    /// Runs once.
    pub fn run(&self, seed: u64) -> Outcome {
        let mut random = Random::new(seed);
        let mut each = (self.users.is_some() || self.latency.is_some()).then(|| Each::new(self, seed));
        let mut clock = Clock::new(self.lateness);
        let (mut guard, mut outcome) = (State::new(), Outcome::default());
        // The schedule stands still after a pause, as a rollout's plan does.
        let mut scheduled_ms = 0;
        while clock.now_ms < self.max_ms {
            let share = self.share_at(scheduled_ms);
            let from_ms = clock.now_ms;
            clock.next(&mut random);
            let part = Part { from_ms, to_ms: clock.now_ms, share };
            let tick = match &mut each {
                Some(each) => each.tick(self, &part, &mut random),
                None => self.counted(&part, &mut random),
            };
            guard.observe(&self.settings, &tick, share);
            if outcome.pause.is_none() {
                scheduled_ms += clock.now_ms - from_ms;
            }
            if may_raise_evidence(&tick) {
                match guard.assess(&self.settings).action {
                    Some((Action::Abort, test)) => {
                        outcome.abort = Some(Verdict { at_ms: clock.now_ms, test });
                        break;
                    }
                    Some((Action::Pause, test)) if outcome.pause.is_none() => {
                        outcome.pause = Some(Verdict { at_ms: clock.now_ms, test });
                    }
                    _ => {}
                }
            }
        }
        Outcome { candidate: guard.candidate, baseline: guard.baseline, ..outcome }
    }

    fn share_at(&self, ms: u64) -> f64 {
        let mut end_ms = 0u64;
        let stage = self.schedule.iter().find(|stage| {
            end_ms = end_ms.saturating_add(stage.for_ms);
            ms < end_ms
        });
        stage.or(self.schedule.last()).map_or(0.0, |stage| stage.share)
    }

    /// The chance that a request fails at a time in the candidate, and in the baseline.
    fn failures_at(&self, ms: u64) -> (f64, f64) {
        match self.incident {
            Some(incident) if (incident.from_ms..incident.to_ms).contains(&ms) => {
                (incident.failures, incident.failures)
            }
            _ => (self.candidate_failures, self.baseline_failures),
        }
    }

    /// A tick's counts, drawn as such: parts of a Poisson stream are Poisson streams.
    fn counted(&self, part: &Part, random: &mut Random) -> Tick {
        let seconds = (part.to_ms - part.from_ms) as f64 / 1e3;
        let (candidate, baseline) = self.failures_at(part.from_ms);
        let mut of = |share: f64, failing: f64| {
            let mean = self.rps * seconds * share;
            let failures = random.poisson(mean * failing);
            let requests = failures + random.poisson(mean * (1.0 - failing));
            Counts {
                requests,
                failures,
                users: requests,
                failed_users: failures,
                failed_keys: failures,
                ..Counts::default()
            }
        };
        Tick { candidate: of(part.share, candidate), baseline: of(1.0 - part.share, baseline) }
    }
}

/// From one tick to the next.
struct Part {
    from_ms: u64,
    to_ms: u64,
    /// The candidate's share meanwhile.
    share: f64,
}

/// Whether it is worth while to look: requests that went well can only lower evidence.
fn may_raise_evidence(tick: &Tick) -> bool {
    let bad = |counts: &Counts| counts.failures + counts.over_max + counts.over_ratio > 0;
    bad(&tick.candidate) || bad(&tick.baseline)
}
