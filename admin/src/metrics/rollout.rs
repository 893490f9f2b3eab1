//! Rollouts: their state, and how loud the evidence against the candidate is.

use tidegate_core::rollout::Status;
use tidegate_core::snapshot::Snapshot;

use super::family::Family;
use crate::control::Control;

pub(super) fn families(control: &Control, snapshot: &Snapshot) -> Vec<Family> {
    let mut states = Family::gauge("tidegate_rollout_state", "1 for the state that a rollout is in, else 0.");
    let mut evidence = Family::gauge(
        "tidegate_rollout_evidence",
        "Evidence of a running rollout's guard, by test: log10 of the e-value.",
    );
    for split in snapshot.named_splits() {
        let Some(rollout) = &split.rollout else { continue };
        for state in Status::ALL {
            let is_in = f64::from(u8::from(state == rollout.status()));
            states.add(&[("split", &split.name), ("state", state.as_str())], is_in);
        }
        let Some(watched) = control.board().get(&split.name, rollout.id) else { continue };
        for test in &watched.tests {
            if let Some(log10_e) = test.log10_e {
                evidence.add(&[("split", &split.name), ("guard", test.name.as_str())], log10_e);
            }
        }
    }
    vec![states, evidence]
}
