//! Tells a service manager (systemd, or whoever made `NOTIFY_SOCKET`) how the process is.
//!
//! Without that variable nothing is told. A process that takes over tells its own process id, so that the
//! service goes on with it; the one that has handed over tells nothing any more, since its end is not the
//! service's.

use sd_notify::NotifyState;

/// The process serves.
pub(crate) fn ready(generation: u64) {
    let status = format!("serving, generation {generation}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The process serves in the place of another one, and is the service from now on.
pub(crate) fn took_over(generation: u64) {
    let status = format!("serving, generation {generation}, taken over");
    let pid = NotifyState::MainPid(std::process::id());
    tell(&[pid, NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The file is read again; [`reloaded`] follows.
pub(crate) fn reloading() {
    // Without a clock, none; the service manager would only not know when it began.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration file")]);
    }
}

/// The file has been read, and put in force if it was good.
pub(crate) fn reloaded(is_good: bool, generation: u64) {
    let but = if is_good { "" } else { "; the configuration file is NOT good, see the log" };
    let status = format!("serving, generation {generation}{but}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The process drains, and then ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}
