//! What a running rollout is told of a request.
//!
//! A ticket is taken once the decision stands, and given back when the context is dropped, so on
//! every path; between the two the ledger sees for itself when the request never ends.

use std::time::{Duration, Instant, SystemTime};

use tidegate_core::ledger::{Ended, Excluded, FailedRequest, Place, Side};

use super::{CLIENT_GONE, Context};

/// The error code of an answer that the client did not wait for.
pub(crate) const CLIENT_GONE_CODE: &str = "client_gone";

impl Context {
    /// Counts the request for a rollout, if one watches the pool that was chosen. Called once, when
    /// the decision is final; `now_ms` is on the monotonic clock.
    pub(crate) fn watch(&mut self, now_ms: u64) {
        let Some(decision) = self.decision else { return };
        let split = self.snapshot.split(decision.split);
        let Some(watch) = &split.watch else { return };
        let Some(side) = watch.side(decision.chosen) else { return };
        if decision.forced {
            watch.ledger.excluded_unbegun(Excluded::Override);
        } else if self.snapshot.pool(split.member(decision.chosen).pool).is_draining() {
            watch.ledger.excluded_unbegun(Excluded::Drained);
        } else {
            let spread = self.entropy.next_u64();
            let endpoint = decision.endpoint.filter(|_| decision.member == decision.chosen);
            let endpoint = endpoint.and_then(|at| u32::try_from(at).ok());
            let place = Place { route: decision.taken.route, endpoint };
            self.ticket = Some(watch.ledger.begin_at(side, decision.key_hash, now_ms, spread, place));
            self.watched_from = Some(Instant::now());
        }
    }

    /// Lets the rollout forget the request, which goes on under another table.
    pub(crate) fn unwatch(&mut self) {
        let (Some(ticket), Some(decision)) = (self.ticket.take(), self.decision) else { return };
        if let Some(watch) = &self.snapshot.split(decision.split).watch {
            watch.ledger.exclude(ticket, Excluded::OwnLimit);
        }
    }

    /// Tells the rollout of a request that a limit of ours refuses before it has watched it.
    pub(crate) fn exclude(&self) {
        let Some(decision) = self.decision else { return };
        if let Some(watch) = &self.snapshot.split(decision.split).watch
            && watch.side(decision.chosen).is_some()
            && self.tries.count == 0
        {
            watch.ledger.excluded_unbegun(Excluded::OwnLimit);
        }
    }

    /// Tells the rollout how the request ended. Time that it spent waiting for a pool to come back is
    /// none that the pool took.
    pub(super) fn end_watch(&mut self) {
        let (Some(ticket), Some(decision)) = (self.ticket.take(), self.decision) else { return };
        let Some(watch) = &self.snapshot.split(decision.split).watch else { return };
        let side = ticket.side();
        let time = self.watched_from.map_or(Duration::ZERO, |since| since.elapsed());
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let counted = match (self.failure, self.no_evidence()) {
            (None, Some(why)) => watch.ledger.exclude(ticket, why),
            (failure, _) => {
                let served = decision.endpoint.is_some() && decision.member == decision.chosen;
                watch.ledger.end(ticket, Ended { failure, us: served.then_some(us) })
            }
        };
        // One that was stuck has been told of already.
        if let Some(failure) = self.failure.filter(|_| counted && side == Side::Candidate) {
            watch.ledger.note_failure(|| self.failed_request(failure.as_str()));
        }
    }

    /// Why a request that no upstream failed says nothing of the pool.
    fn no_evidence(&self) -> Option<Excluded> {
        match (self.status, self.error_code) {
            (0 | CLIENT_GONE, _) | (_, Some(CLIENT_GONE_CODE)) => Some(Excluded::ClientGone),
            (_, Some(_)) => Some(Excluded::OwnLimit),
            // Nobody was left to say how it ended.
            (_, None) if self.was_cut_off => Some(Excluded::ClientGone),
            (_, None) => None,
        }
    }

    fn failed_request(&self, reason: &str) -> FailedRequest {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let own = self.decision.is_some_and(|decision| decision.member == decision.chosen);
        FailedRequest {
            time_ms: since_epoch.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            route: self.route().map(|r| r.name.to_string()).unwrap_or_default(),
            status: self.status_told(),
            reason: reason.to_owned(),
            // Where another pool stood in, its endpoint has nothing to do with the failure.
            endpoint: self.last_endpoint().filter(|_| own).map(ToString::to_string),
            request_id: self.facts.as_ref().map(|f| f.ids.request().to_owned()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
