//! What is known of the process as a whole: its version, its listeners, whether it is ready.
//!
//! The proxy writes it as it starts and stops; `/readyz`, `/v1/status` and `/metrics` read it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tidegate_core::change::Now;
use tidegate_core::edge::ListenerCell;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not listening yet.
    Starting = 0,
    /// Listening, with a table in force.
    Ready = 1,
    /// Asked to stop: still serving, but no longer to be sent new traffic.
    Stopping = 2,
}

impl Phase {
    /// The word shown in `/v1/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// The process.
#[derive(Debug)]
pub struct Process {
    /// When it started.
    pub started: Now,
    /// Log lines that were dropped because nobody took them.
    pub dropped_log_lines: AtomicU64,
    phase: AtomicU8,
    listeners: RwLock<Vec<Arc<ListenerCell>>>,
    admin_address: OnceLock<String>,
    admin_handed_over: AtomicBool,
}

impl Process {
    /// A process that starts now.
    pub fn new(started: Now) -> Self {
        Self {
            started,
            dropped_log_lines: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Starting as u8),
            listeners: RwLock::default(),
            admin_address: OnceLock::new(),
            admin_handed_over: AtomicBool::new(false),
        }
    }

    /// The program's version.
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The commit it was built from, if the build was told.
    pub fn commit(&self) -> &'static str {
        option_env!("TIDEGATE_COMMIT").unwrap_or("unknown")
    }

    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Ready,
            2 => Phase::Stopping,
            _ => Phase::Starting,
        }
    }

    /// Enters a phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The listeners, as bound.
    pub fn listeners(&self) -> Vec<Arc<ListenerCell>> {
        self.listeners.read().clone()
    }

    /// Tells which listeners have been bound.
    pub fn set_listeners(&self, listeners: Vec<Arc<ListenerCell>>) {
        *self.listeners.write() = listeners;
    }

    /// The address that the admin API is bound to; `None` before.
    pub fn admin_address(&self) -> Option<&str> {
        self.admin_address.get().map(String::as_str)
    }

    /// Whether another process answers on the admin address now.
    pub fn is_admin_handed_over(&self) -> bool {
        self.admin_handed_over.load(Ordering::Acquire)
    }

    /// Tells that another process answers on the admin address from now on.
    pub fn hand_over_admin(&self) {
        self.admin_handed_over.store(true, Ordering::Release);
    }

    pub(crate) fn set_admin_address(&self, address: String) {
        // Bound once a process; a second bind, in a test, keeps the first address.
        let _ = self.admin_address.set(address);
    }
}
