//! What an earlier process left in the state folder.
//!
//! Snapshot, then the journal's records that are later than it. A file that cannot be used is set
//! aside under a name with `.bad-` and the time, and then nothing of the runtime values is used: an
//! old snapshot without its journal could bring back weights that were since called off. Only the
//! generation goes on from where it is known to have been.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::handover::Handover;
use tidegate_core::state::{Entry, Record, State};
use tidegate_core::units::Generation;

use super::frame::{self, Damage};
use super::{Folded, JOURNAL, SNAPSHOT};

/// What a start begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovered {
    /// Runtime changes.
    pub(crate) state: State,
    /// Past changes, oldest first.
    pub(crate) history: VecDeque<Arc<Entry>>,
}

impl Recovered {
    /// What a running process hands over.
    pub(crate) fn handed_over(handover: &Handover) -> Self {
        Self { state: handover.state.clone(), history: handover.history.iter().cloned().collect() }
    }

    pub(super) fn of(folded: &Folded) -> Self {
        let history = folded.history.iter().cloned().map(Arc::new).collect();
        Self { state: folded.state.clone(), history }
    }
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) folded: Folded,
    /// The length of the journal's good part; 0 = a new one is needed.
    pub(super) journal_bytes: u64,
    pub(super) records: usize,
}

/// Reads the folder; sets aside what cannot be used.
pub(super) fn recover(folder: &Path, wall_ms: u64) -> io::Result<Found> {
    let snapshot = read(folder, SNAPSHOT).and_then(|content| {
        let Some(content) = content else { return Ok(Folded::default()) };
        let (mut values, _) = frame::values::<Folded>(&content).map_err(|damage| damage.to_string())?;
        // Renamed only when whole: less than its one line is damage.
        values.pop().ok_or_else(|| Damage::Line(2).to_string())
    });
    let journal = read(folder, JOURNAL).and_then(|content| {
        frame::values::<Record>(&content.unwrap_or_default()).map_err(|damage| damage.to_string())
    });
    match (snapshot, journal) {
        (Ok(snapshot), Ok((records, journal_bytes))) => Ok(join(snapshot, records, journal_bytes)),
        (snapshot, journal) => {
            let generation = last_known(snapshot.as_ref().ok(), journal.as_ref().ok());
            let why = [(SNAPSHOT, snapshot.err()), (JOURNAL, journal.err())];
            for (name, why) in why.iter().filter_map(|(name, why)| Some((name, why.as_ref()?))) {
                tracing::error!("{}: {why}", folder.join(name).display());
            }
            set_aside(folder, wall_ms)?;
            tracing::error!(
                "runtime changes of an earlier process are NOT in force: the configuration file alone is"
            );
            let state = State { generation, ..State::default() };
            Ok(Found { folded: Folded { state, history: VecDeque::new() }, ..Found::default() })
        }
    }
}

fn join(mut folded: Folded, records: Vec<Record>, journal_bytes: u64) -> Found {
    let count = records.len();
    for record in records {
        if record.state.generation > folded.state.generation {
            folded.take(record);
        }
    }
    Found { folded, journal_bytes, records: count }
}

fn last_known(snapshot: Option<&Folded>, journal: Option<&(Vec<Record>, u64)>) -> Generation {
    let of_snapshot = snapshot.map_or(0, |folded| folded.state.generation);
    let of_journal = journal.and_then(|(records, _)| records.last()).map_or(0, |r| r.state.generation);
    of_snapshot.max(of_journal)
}

/// A file's content; `None` when there is none.
fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(folder.join(name)) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// Keeps both files for whoever wants to look at them.
fn set_aside(folder: &Path, wall_ms: u64) -> io::Result<()> {
    for name in [SNAPSHOT, JOURNAL] {
        let kept = folder.join(format!("{name}.bad-{wall_ms}"));
        match std::fs::rename(folder.join(name), &kept) {
            Ok(()) => tracing::error!("kept as {}", kept.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    super::sync_folder(folder)
}
