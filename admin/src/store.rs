//! What survives a restart: a journal of changes and, now and then, a snapshot of where they led.
//!
//! A change is appended and synced before it is in force. A snapshot is written beside the old one,
//! synced and renamed; then a new journal is begun in the same way. So at every instant the folder
//! holds the state before or after a change, never a mixture. Files that are corrupt or from a newer
//! version are set aside, not guessed at: the configuration file alone then decides.
//!
//! The lock file keeps a second process out. See [`frame`] for the form of the files.

mod frame;
mod recover;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_core::live::HISTORY_LIMIT;
use tidegate_core::state::{Entry, Record, State};

pub(crate) use recover::Recovered;

/// Changes after which the journal is folded into a snapshot.
const FOLD_AFTER: usize = 500;
/// So is one that has grown as long as this by fewer.
const FOLD_AFTER_BYTES: u64 = 8 << 20;
/// Changes until a fold that failed is tried again.
const FOLD_AGAIN_AFTER: usize = 50;

/// What could not be written down is tried again after this, in milliseconds.
const AGAIN_AFTER_MS: u64 = 1_000;

const MOST_OWED: usize = 64;

const HEADER_BYTES: u64 = frame::HEADER.len() as u64;

const SNAPSHOT: &str = "snapshot";
const JOURNAL: &str = "journal";

/// Where all changes up to a generation led.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Folded {
    state: State,
    /// Past changes, oldest first.
    history: VecDeque<Entry>,
}

/// The state folder, held by this process alone.
pub(crate) struct Store {
    folder: PathBuf,
    /// Open for as long as the folder is ours.
    _lock: File,
    journal: File,
    /// So much of the journal is known to be good, in bytes.
    journal_bytes: u64,
    /// Whether there may be something behind that, left by an append that failed.
    has_remains: bool,
    /// Whether a rename may not have reached the disk yet.
    has_unsynced_name: bool,
    /// Records in the journal.
    records: usize,
    folded: Folded,
    /// What is in force and could not be written down yet, oldest first.
    owed: VecDeque<Record>,
    /// The next try to write it down, on the monotonic clock.
    try_again_ms: u64,
}

impl Store {
    /// Takes the folder, and recovers what an earlier process left.
    pub(crate) fn open(folder: &Path, wall_ms: u64) -> Result<(Self, Recovered), String> {
        let unusable =
            |error: io::Error| format!("admin.state_dir: {} cannot be used: {error}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let lock = lock(folder)?;
        let found = recover::recover(folder, wall_ms).map_err(unusable)?;
        let (journal, journal_bytes) = open_journal(folder, found.journal_bytes).map_err(unusable)?;
        let recovered = Recovered::of(&found.folded);
        let store = Self {
            folder: folder.to_owned(),
            _lock: lock,
            journal,
            journal_bytes,
            has_remains: false,
            has_unsynced_name: false,
            records: found.records,
            folded: found.folded,
            owed: VecDeque::new(),
            try_again_ms: 0,
        };
        Ok((store, recovered))
    }

    /// Writes a change down; it is on disk when this returns without an error.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), String> {
        self.append_owed()?;
        self.append_record(record)?;
        let many = self.records >= FOLD_AFTER || self.journal_bytes >= FOLD_AFTER_BYTES;
        let due = many && self.records.is_multiple_of(FOLD_AGAIN_AFTER);
        if due && let Err(error) = self.fold() {
            tracing::warn!(%error, "the journal could not be folded into a snapshot; it goes on growing");
        }
        Ok(())
    }

    /// Takes a change that is in force and could not be written down, to be written later.
    pub(crate) fn owe(&mut self, record: Record) {
        // Each holds all that is in force: of many only entries of the history are lost.
        self.owed.truncate(MOST_OWED - 1);
        self.owed.push_back(record);
    }

    /// Whether something is in force that has not been written down.
    pub(crate) fn is_behind(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Tries, now and then, to write down what is owed; whether it has succeeded.
    pub(crate) fn catch_up(&mut self, now_ms: u64) -> bool {
        if !self.is_behind() || now_ms < self.try_again_ms {
            return false;
        }
        self.try_again_ms = now_ms + AGAIN_AFTER_MS;
        self.append_owed().is_ok()
    }

    fn append_owed(&mut self) -> Result<(), String> {
        while let Some(record) = self.owed.pop_front() {
            if let Err(error) = self.append_record(&record) {
                self.owed.push_front(record);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes down what is owed.
    pub(crate) fn pay(&mut self) -> Result<(), String> {
        self.append_owed()
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has this in the folder, in place of whatever is there.
    pub(crate) fn write_anew(&mut self, state: State, history: VecDeque<Entry>) -> Result<(), String> {
        self.folded = Folded { state, history };
        self.fold().map_err(|error| error.to_string())
    }

    /// Writes a change down, and begins a new journal.
    pub(crate) fn append_and_snapshot(&mut self, record: &Record) -> Result<(), String> {
        self.append_record(record)?;
        self.fold().map_err(|error| error.to_string())
    }

    fn append_record(&mut self, record: &Record) -> Result<(), String> {
        let line = frame::line(record).map_err(|error| error.to_string())?;
        self.append_line(&line).map_err(|error| error.to_string())?;
        self.records += 1;
        self.folded.take(record.clone());
        Ok(())
    }

    fn append_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.has_unsynced_name {
            self.sync_names()?;
        }
        if self.has_remains {
            self.cut_remains()?;
        }
        self.has_remains = true;
        let written = self.journal.write_all(line).and_then(|()| self.journal.sync_data());
        if let Err(error) = written {
            // A second failure is no worse: the next append tries again before it writes.
            let _ = self.cut_remains();
            return Err(error);
        }
        self.has_remains = false;
        self.journal_bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Removes what a failed append may have left, so that later records are not behind it.
    fn cut_remains(&mut self) -> io::Result<()> {
        self.journal.set_len(self.journal_bytes)?;
        self.journal.sync_data()?;
        self.has_remains = false;
        Ok(())
    }

    /// Writes a snapshot, then begins a new journal.
    fn fold(&mut self) -> io::Result<()> {
        let mut content = frame::HEADER.to_vec();
        content.extend(frame::line(&self.folded).map_err(io::Error::other)?);
        replace(&self.folder, SNAPSHOT, &content)?;
        self.sync_names()?;
        // From here on the new journal is the journal, also if syncing its name fails.
        self.journal = replace(&self.folder, JOURNAL, frame::HEADER)?;
        self.journal_bytes = HEADER_BYTES;
        self.has_remains = false;
        self.records = 0;
        self.sync_names()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.has_unsynced_name = true;
        sync_folder(&self.folder)?;
        self.has_unsynced_name = false;
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Makes appends fail, as on a disk that is full; gives what heals it.
    pub(crate) fn fail(&mut self) -> File {
        let unwritable = File::open(self.folder.join(JOURNAL)).expect("it is there");
        std::mem::replace(&mut self.journal, unwritable)
    }

    pub(crate) fn heal(&mut self, journal: File) {
        self.journal = journal;
    }
}

impl Folded {
    /// Takes a change in.
    fn take(&mut self, record: Record) {
        self.state = record.state;
        self.history.push_back(record.entry);
        while self.history.len() > HISTORY_LIMIT {
            self.history.pop_front();
        }
    }
}

fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join("lock");
    let failed = |why: &dyn std::fmt::Display| format!("admin.state_dir: {}: {why}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(failed(&"another process uses this folder")),
        Err(fs::TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// The journal, cut to its good part, open for appending.
fn open_journal(folder: &Path, good_bytes: u64) -> io::Result<(File, u64)> {
    if good_bytes == 0 {
        let journal = replace(folder, JOURNAL, frame::HEADER)?;
        sync_folder(folder)?;
        return Ok((journal, HEADER_BYTES));
    }
    let journal = OpenOptions::new().append(true).open(folder.join(JOURNAL))?;
    // Reaches the disk with the next append, before anything can be behind what is cut off.
    journal.set_len(good_bytes)?;
    Ok((journal, good_bytes))
}

/// Makes renames in a folder last.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts a file in another's place in one step, and gives it open for appending; the caller syncs
/// the folder.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<File> {
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    let appending = OpenOptions::new().append(true).open(&temporary)?;
    fs::rename(&temporary, folder.join(name))?;
    Ok(appending)
}

#[cfg(test)]
mod tests;
