//! One more try in another pool, when the one that was chosen has failed.
//!
//! It is prepared while the failed try is at hand, with a seat at the other pool and the request counted
//! in flight there: a failure that nobody can make good is told to the client as it is. The request stays
//! that of the pool that failed, which is charged with it; the other pool's charges and a rollout's
//! evidence know nothing of it.

use tidegate_core::cell::InFlight;
use tidegate_core::decide::Decision;
use tidegate_core::gate::Seat;
use tidegate_core::record::Outcome;
use tidegate_core::snapshot::MemberId;

use super::Context;

/// Whether another pool is to help, or does.
#[derive(Debug, Default)]
pub(super) enum Rescue {
    #[default]
    None,
    /// The next try is there.
    Prepared(Box<(Decision, Seat, InFlight)>),
    /// The try is there, and ended so, once it has.
    Begun { from: MemberId, outcome: Option<Outcome> },
}

impl Rescue {
    /// A try has ended.
    pub(super) fn ended(&mut self, with: Outcome) {
        if let Self::Begun { outcome, .. } = self {
            *outcome = Some(with);
        }
    }
}

impl Context {
    /// Whether the request has had the one rescue that it may have, or is about to.
    pub(crate) fn is_rescued(&self) -> bool {
        !matches!(self.rescue, Rescue::None)
    }

    /// Prepares a rescue; false when the other pool has no room, or its endpoint was retired this moment.
    pub(crate) fn prepare_rescue(&mut self, decision: Decision) -> bool {
        let pool = self.snapshot.pool(decision.serving(&self.snapshot).pool);
        let Some(endpoint) = decision.endpoint.and_then(|at| pool.endpoints.get(at)) else { return false };
        let in_flight = InFlight::new(pool.cell.clone(), endpoint.cell.clone());
        let (Some(seat), Some(in_flight)) = (Seat::take(&pool.cell), in_flight) else { return false };
        self.rescue = Rescue::Prepared(Box::new((decision, seat, in_flight)));
        true
    }

    /// Goes over to the other pool, if that is prepared.
    pub(crate) fn begin_rescue(&mut self) {
        let Some(failed) = self.decision.filter(|_| matches!(self.rescue, Rescue::Prepared(_))) else {
            return;
        };
        // A pool that had itself stood in for another counts as that.
        failed.count_fallback(self.snapshot.split(failed.split));
        let begun = Rescue::Begun { from: failed.member, outcome: None };
        let Rescue::Prepared(prepared) = std::mem::replace(&mut self.rescue, begun) else { return };
        let (decision, seat, in_flight) = *prepared;
        self.seat = Some(seat);
        self.decision = Some(decision);
        self.tries.endpoint = decision.endpoint;
        self.tries.in_flight = Some(in_flight);
        self.tries.stay = false;
    }

    /// Counts a rescue; false when there was none.
    pub(super) fn count_rescue(&self) -> bool {
        let (Rescue::Begun { from, outcome }, Some(decision)) = (&self.rescue, self.decision) else {
            return false;
        };
        let split = self.snapshot.split(decision.split);
        decision.count_rescue(split, *from, outcome.unwrap_or(Outcome::Client));
        true
    }
}
