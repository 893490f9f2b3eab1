//! Traffic drawn request by request, and counted by the true ledger.

use super::population::Crowd;
use super::random::Random;
use super::{Part, Scenario};
use crate::guard::Tick;
use crate::ledger::{Ended, Ledger, Side, Spec};
use crate::record::Failure;

/// Never: virtual requests end in the tick in which they begin. So the ledger need not look for them.
const STUCK_AFTER_MS: u64 = u64::MAX;

/// How long requests take: their logarithms are normal, as is roughly true of many services.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the baseline's requests take no longer, in microseconds.
    pub median_us: f64,
    /// 99 % of the baseline's requests take no longer, in microseconds.
    pub p99_us: f64,
    /// Each of the candidate's requests takes so many times as long.
    pub slow_down: f64,
    /// The limit of `latency.max`, in microseconds.
    pub max_us: Option<u64>,
    /// `latency.ratio`.
    pub ratio: Option<f64>,
}

/// The standard normal deviate that 99 % stay below.
const NORMAL_P99: f64 = 2.326_347_874;

impl Latency {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds, saturating")]
    fn draw(&self, side: Side, random: &mut Random) -> u64 {
        let spread = (self.p99_us / self.median_us).ln() / NORMAL_P99;
        let us = self.median_us * (spread * random.normal()).exp();
        (if side == Side::Candidate { us * self.slow_down } else { us }) as u64
    }
}

/// One run's users and ledger.
pub(super) struct Each {
    crowd: Option<Crowd>,
    patient: Option<usize>,
    ledger: Ledger,
}

/// One request.
struct Asked {
    side: Side,
    key: Option<u64>,
    failed: bool,
}

impl Each {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut crowd = scenario.users.as_ref().map(|users| Crowd::new(users, seed));
        let patient = match &mut crowd {
            Some(crowd) if scenario.patient_rps > 0.0 => crowd.of_candidate(scenario.share_at(0)),
            _ => None,
        };
        let max_us = scenario.latency.and_then(|latency| latency.max_us);
        let ledger = Ledger::new(Spec { stuck_after_ms: STUCK_AFTER_MS, max_us });
        Self { crowd, patient, ledger }
    }

    /// The requests from one tick to the next, as the ledger counts them.
    pub(super) fn tick(&mut self, scenario: &Scenario, part: &Part, random: &mut Random) -> Tick {
        let seconds = (part.to_ms - part.from_ms) as f64 / 1e3;
        for _ in 0..random.poisson(scenario.rps * seconds) {
            let asked = self.ask(scenario, part, random);
            self.serve(scenario, part, &asked, random);
        }
        if let Some((crowd, patient)) = self.crowd.as_mut().zip(self.patient) {
            let (key_hash, _, _) = crowd.look_up(patient, part.share);
            let asked = Asked { side: Side::Candidate, key: Some(key_hash), failed: true };
            for _ in 0..random.poisson(scenario.patient_rps * seconds) {
                self.serve(scenario, part, &asked, random);
            }
        }
        let tick = self.ledger.tick(part.to_ms);
        self.freeze_limit(scenario);
        tick
    }

    fn ask(&mut self, scenario: &Scenario, part: &Part, random: &mut Random) -> Asked {
        let (key, is_broken, candidate) = match &mut self.crowd {
            Some(crowd) => {
                let at = crowd.draw(random);
                let (key_hash, is_broken, candidate) = crowd.look_up(at, part.share);
                (Some(key_hash), is_broken, candidate)
            }
            None => (None, false, random.happens(part.share)),
        };
        let (of_candidate, of_baseline) = scenario.failures_at(part.from_ms);
        let (side, failures) =
            if candidate { (Side::Candidate, of_candidate) } else { (Side::Baseline, of_baseline) };
        Asked { side, key, failed: is_broken || random.happens(failures) }
    }

    fn serve(&self, scenario: &Scenario, part: &Part, asked: &Asked, random: &mut Random) {
        let ticket = self.ledger.begin(asked.side, asked.key, part.from_ms, random.word());
        let failure = asked.failed.then_some(Failure::Status5xx);
        let us = scenario.latency.map(|latency| latency.draw(asked.side, random));
        self.ledger.end(ticket, Ended { failure, us });
    }

    /// The limit against the baseline stays as it is until the next tick.
    fn freeze_limit(&self, scenario: &Scenario) {
        let ratio = scenario.latency.and_then(|latency| latency.ratio);
        let quantile = scenario.settings.latency.map(|latency| latency.quantile);
        if let Some((ratio, quantile)) = ratio.zip(quantile) {
            self.ledger.freeze_ratio_limit(quantile, ratio);
        }
    }
}
