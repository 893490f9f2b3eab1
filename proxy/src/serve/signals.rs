//! The signals that the process answers to, and what each of them does.

use std::io;
use std::sync::Arc;

use tidegate_admin::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::notify;
use crate::telemetry::Telemetry;
use crate::upgrade::{NotGiven, Offer, Place, Taken, give};

/// Why the process stops serving.
#[derive(Debug)]
pub(crate) enum Because {
    /// Somebody wants it to end.
    Asked,
    /// Another process serves in its place.
    HandedOver(Taken),
}

pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Serves SIGHUP and SIGQUIT until there is a reason to stop.
    pub(super) async fn until_it_ends(
        &mut self,
        telemetry: &Telemetry,
        control: &Arc<Control>,
        place: &Place,
        offers: &Arc<Vec<Offer>>,
    ) -> Because {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reload(telemetry, control).await,
                _ = self.quit.recv() => {
                    if let Some(taken) = hand_over(control, place, offers).await {
                        return Because::HandedOver(taken);
                    }
                }
                _ = self.terminate.recv() => return Because::Asked,
                _ = self.interrupt.recv() => return Because::Asked,
            }
        }
    }

    /// Resolves at SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn reload(telemetry: &Telemetry, control: &Arc<Control>) {
    notify::reloading();
    telemetry.reopen();
    // What came of it is logged, counted and shown in /v1/status.
    let reloaded = control.reload().await;
    notify::reloaded(reloaded.is_ok(), control.live().peek().generation);
}

/// Hands everything over to the process that waits for it, if one does.
async fn hand_over(control: &Arc<Control>, place: &Place, offers: &Arc<Vec<Offer>>) -> Option<Taken> {
    match give(place, control, offers).await {
        Ok(taken) => return Some(taken),
        Err(NotGiven::Nobody) => tracing::warn!(
            socket = %place.path().display(),
            "SIGQUIT hands over to a new process, and none waits: start one with `tidegate run --upgrade` and \
             the same --config first; nothing has changed"
        ),
        Err(NotGiven::Failed { why, taken_back }) => {
            tracing::error!("the new process has not taken over, and this one goes on: {why}");
            if taken_back {
                control.reload_if_other().await;
            }
        }
    }
    None
}
