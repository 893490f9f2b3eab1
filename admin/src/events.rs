//! What happens, told to whoever listens: the bus, and `GET /v1/events`.
//!
//! The bus is bounded and never waits: a listener that is slow misses events and is told how many,
//! so that no reader can hold up a change or a health check. Nothing is kept for later; the history
//! is there for that.

pub(crate) mod stream;

use std::sync::Arc;

use tidegate_core::event::Event;
use tokio::sync::broadcast::{self, Receiver, Sender};

/// So many events are held for a listener that is slow.
const BUFFERED: usize = 1_024;

/// Where events are published.
#[derive(Debug)]
pub struct Bus {
    sender: Sender<Arc<Event>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { sender: broadcast::channel(BUFFERED).0 }
    }
}

impl Bus {
    /// Tells everyone who listens, and returns at once.
    pub fn publish(&self, event: Event) {
        // An error means that nobody listens.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Listens from now on; `RecvError::Lagged` tells how many events were missed.
    pub fn subscribe(&self) -> Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}
