//! The upgrade in place: a new process takes the sockets of a running one over, and no client notices.
//!
//! ```text
//! old (SIGQUIT)                                  new (`run --upgrade`, its file already found good)
//!   Hello ─────────────────────────────────────►
//!   ◄───────────────────────────────────────────  Welcome, or Refused
//!   changes wait, the state folder is let go
//!   Estate, then the sockets ──────────────────►  opens the state folder, binds what is new, accepts
//!   ◄───────────────────────────────────────────  Serving, or Failed
//!   Farewell ──────────────────────────────────►  is the one from here on
//!   stops accepting, drains, ends
//! ```
//!
//! Until the farewell the old process accepts, and if the new one fails by then, in whatever way, it goes
//! on as if nothing had been. Both accept on the same sockets for a moment, so that no connection finds
//! nobody. A new process without a farewell gives up.
//!
//! [`place`] is where they meet, [`channel`] how they talk, [`give`] the old one's part and [`take`] the
//! new one's. Draining is [`crate::shutdown`]'s, what is handed over `tidegate_core::handover`'s.

mod channel;
mod give;
mod inherited;
mod place;
mod take;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::handover::Handover;
use tidegate_core::state::Entry;

pub(crate) use give::{NotGiven, Offer, give};
pub(crate) use inherited::{ADMIN, Inherited, canonical};
pub(crate) use place::Place;
pub(crate) use take::Predecessor;

/// The form of what is said. A process that speaks another is told so, and nothing changes.
const PROTOCOL: u32 = 1;
/// From SIGQUIT to `Serving`, all together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who speaks.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    version: String,
    pid: u32,
}

impl Hello {
    fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
    }
}

/// What the new process says to a hello.
#[derive(Debug, Serialize, Deserialize)]
enum Greeting {
    Welcome(Hello),
    Refused { why: String },
}

/// Everything that the old process has; the sockets follow, in this order.
#[derive(Debug, Serialize, Deserialize)]
struct Estate {
    sockets: Vec<Socket>,
    handover: Handover,
}

/// A socket on which the old process listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Socket {
    /// The listener's name; [`ADMIN`] for the admin API.
    name: String,
    /// As written, in its one form.
    address: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    /// The new process accepts on these sockets, by their place in the estate.
    Serving {
        taken: Vec<usize>,
    },
    Failed {
        why: String,
    },
}

/// The old process lets go.
#[derive(Debug, Serialize, Deserialize)]
struct Farewell {
    /// Aborts that it made after it had told its state.
    aborts: Vec<Arc<Entry>>,
}

/// The sockets on which another process accepts now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Of these listeners.
    pub(crate) listeners: BTreeSet<String>,
    /// Whether also of the admin API.
    pub(crate) admin: bool,
}
