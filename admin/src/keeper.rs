//! Where changes are written down: nowhere, in the state folder, or in one that another process holds.
//!
//! The last is so while a new process takes over, and after one has failed to, until it is gone: then only
//! what may not wait is done without being written down. What is in force goes to the folder as a whole
//! when it is ours again, whatever the other process has left in it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tidegate_core::live::View;
use tidegate_core::state::Record;

use crate::clock::Clock;
use crate::store::Store;

/// The folder is asked for again after this, in milliseconds.
const AGAIN_AFTER_MS: u64 = 1_000;

/// Where changes are written down.
pub(crate) enum Keeper {
    /// Nowhere: a restart forgets them.
    Memory,
    /// In the state folder.
    Folder(Box<Store>),
    /// In a folder that another process holds.
    Away {
        folder: PathBuf,
        /// The next try to have it back, on the monotonic clock.
        try_again_ms: u64,
    },
}

impl Keeper {
    /// In this store, if there is one.
    pub(crate) fn of(store: Option<Store>) -> Self {
        store.map_or(Self::Memory, |store| Self::Folder(Box::new(store)))
    }

    /// Writes a change down; an error means that it was not.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), String> {
        match self {
            Self::Memory => Ok(()),
            Self::Folder(store) => store.append(record),
            Self::Away { folder, .. } => Err(format!("another process holds {}", folder.display())),
        }
    }

    /// Takes a change that is in force and could not be written down, to be written later.
    pub(crate) fn owe(&mut self, record: Record) {
        if let Self::Folder(store) = self {
            store.owe(record);
        }
    }

    /// Whether all that is in force has been written down.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(self, Self::Folder(store) if !store.is_behind())
    }

    /// Whether something is to be written down that could not be before.
    pub(crate) fn is_behind(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Folder(store) => store.is_behind(),
            Self::Away { .. } => true,
        }
    }

    /// Tries, now and then, to write down what could not be written before; whether it has succeeded.
    pub(crate) fn catch_up(&mut self, clock: Clock, view: impl FnOnce() -> View) -> bool {
        let now_ms = clock.mono_ms();
        match self {
            Self::Memory => false,
            Self::Folder(store) => store.catch_up(now_ms),
            Self::Away { try_again_ms, .. } if now_ms < *try_again_ms => false,
            Self::Away { try_again_ms, .. } => {
                *try_again_ms = now_ms + AGAIN_AFTER_MS;
                self.take_back(clock, &view()).is_ok()
            }
        }
    }

    /// Lets another process have the folder; everything is in it.
    pub(crate) fn let_go(&mut self) -> Result<(), String> {
        let Self::Folder(store) = self else { return Ok(()) };
        store.pay()?;
        *self = Self::Away { folder: store.folder().to_owned(), try_again_ms: 0 };
        Ok(())
    }

    /// Has the folder again, with what is in force and nothing else.
    pub(crate) fn take_back(&mut self, clock: Clock, view: &View) -> Result<(), String> {
        let Self::Away { folder, .. } = self else { return Ok(()) };
        let store = reopen(folder, clock, view)?;
        *self = Self::Folder(Box::new(store));
        Ok(())
    }
}

fn reopen(folder: &Path, clock: Clock, view: &View) -> Result<Store, String> {
    let (mut store, _) = Store::open(folder, clock.now().wall_ms)?;
    let history: VecDeque<_> = view.history.iter().map(|entry| (**entry).clone()).collect();
    store.write_anew(view.state.clone(), history)?;
    Ok(store)
}
