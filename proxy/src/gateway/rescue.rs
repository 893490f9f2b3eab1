//! Whether a request that has failed for good in its pool is sent to another once more.
//!
//! Where to is decided by [`tidegate_core::decide::rescue`]; what it holds meanwhile, and how it is
//! counted, is in [`crate::context`]. Stage before: [`super::retry`], which has no try left; next: the
//! other pool's upstream, whose answer the client gets, whatever it is.

use tidegate_core::record::Failure;

use super::retry::Ask;
use super::{Gateway, admit};
use crate::context::Context;

/// Prepares a rescue from this failure; false when there is none.
pub(super) fn prepare(
    gateway: &Gateway,
    ask: &Ask<'_>,
    context: &mut Context,
    failure: Failure,
    nothing_sent: bool,
) -> bool {
    let is_one = matches!(failure, Failure::Connect | Failure::Reset | Failure::Timeout | Failure::Status5xx);
    let may = is_one
        && context.split().is_some_and(|split| split.rescue)
        && !context.is_rescued()
        && context.deadline_ms.is_none_or(|at| gateway.now_ms() < at)
        && !context.exchange.timed_out()
        && ask.can_be_repeated(nothing_sent);
    may && admit::elsewhere(gateway, ask.head, context).is_some_and(|there| context.prepare_rescue(there))
}
