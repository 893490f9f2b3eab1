//! Lets the file's value return when a runtime value's time is over.
//!
//! A tick asks a question that costs next to nothing; only when something has expired does it make
//! a change, through the same door as any other.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::change::{Change, Rejected, Request};
use tokio::time::MissedTickBehavior;

use crate::control::Control;

const EVERY: Duration = Duration::from_millis(100);

/// Ticks until `stop`.
pub async fn tick(control: Arc<Control>, stop: impl Future<Output = ()>) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = interval.tick() => expire(&control).await,
        }
    }
}

async fn expire(control: &Arc<Control>) {
    if !control.has_expired().await {
        return;
    }
    let request = Request {
        change: Change::Expire,
        actor: "ttl".into(),
        reason: Some("the time of a runtime value is over".into()),
        if_match: None,
    };
    match control.apply(request).await {
        Ok(_) | Err(Rejected::TakingOver) => {}
        Err(rejected) => {
            tracing::error!(%rejected, "a runtime value whose time is over stays in force");
        }
    }
}
