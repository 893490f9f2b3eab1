//! Bars of text: how much of something is done.

use crate::cli::paint::{Paint, Tone};
use crate::cli::words::percent;

use super::model::Rollout;

/// A bar of so many columns, filled to a fraction of 1; what is not full never looks so.
pub(super) fn bar(fraction: f64, width: usize) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the width")]
    let filled = (fraction.clamp(0.0, 1.0) * width as f64).floor() as usize;
    "━".repeat(filled) + &"─".repeat(width - filled)
}

/// More segments than this do not fit on a line.
const MOST_SEGMENTS: usize = 8;

/// The plan as segments, each with its share: those that passed are full, the present one fills.
pub(super) fn steps(rollout: &Rollout, paint: Paint) -> String {
    let bakes = rollout.plan.bake.as_deref().is_some_and(|bake| bake != "0s") && rollout.strategy != "ab";
    let mut labels: Vec<String> = rollout.steps.iter().map(|step| share(step.percent)).collect();
    if bakes {
        labels.push("bake".into());
    }
    let at = match rollout.state.as_str() {
        "succeeded" => labels.len(),
        "baking" => labels.len().saturating_sub(1),
        _ => rollout.step.saturating_sub(1),
    };
    let has_begun = rollout.step > 0;
    let width = if labels.len() <= 4 { 8 } else { 5 };
    // Those around the present one, where not all of them fit.
    let from = at.saturating_sub(2).min(labels.len().saturating_sub(MOST_SEGMENTS));
    let to = labels.len().min(from + MOST_SEGMENTS);
    let mut parts = Vec::new();
    for (number, label) in labels.iter().enumerate().take(to).skip(from) {
        let (fraction, tone) = match number.cmp(&at) {
            std::cmp::Ordering::Less => (1.0, Tone::Good),
            std::cmp::Ordering::Equal if has_begun => (rollout.progress(), Tone::Strong),
            _ => (0.0, Tone::Faint),
        };
        let is_over = rollout.state == "aborted";
        let tone = if is_over && tone == Tone::Strong { Tone::Bad } else { tone };
        parts.push(paint.apply(tone, &format!("{label} {}", bar(fraction, width))));
    }
    let before = if from > 0 { "… " } else { "" };
    let after = if to < labels.len() { " …" } else { "" };
    format!("{before}{}{after}", parts.join(" "))
}

/// `5 %`, `0.5 %`: as the plan has it.
fn share(of_100: f64) -> String {
    if of_100.fract() == 0.0 { format!("{of_100:.0} %") } else { percent(of_100 / 100.0) }
}
