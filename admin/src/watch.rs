//! Watches the configuration file and those that it names for TLS, and has them read again when they may
//! have changed.
//!
//! Folders are watched, not files: an editor's rename gives the name another inode, and
//! Kubernetes swaps a symbolic link further up. Every folder in which some part of the way to a
//! file could change is watched: that of each link on the way, and that of the file itself.
//!
//! Only names on that way count, as other files may be in the same folders, the log among them: what
//! is logged must not lead to the next reading. What exactly happened does not matter: after a burst
//! of events each file is read once, and what says what it said before is not told again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::Instant;

use crate::control::Control;

/// Events within this time of each other are one reload.
const QUIET: Duration = Duration::from_millis(100);
/// A stream of events without a pause is looked at this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// Links on the way to the file; more are a loop.
const MOST_LINKS: usize = 40;

/// Watches until `stop`. Without a file there is nothing to watch.
pub async fn watch(control: Arc<Control>, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    if control.config_path().is_none() {
        return stop.await;
    }
    // One place is enough: a signal that is there already says all that another would.
    let (sender, mut signals) = mpsc::channel(1);
    let mut watcher = match Watcher::new(sender) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::error!(%error, "the configuration file cannot be watched; SIGHUP and the API reload it");
            return stop.await;
        }
    };
    watcher.follow(&control.watched_files());
    // They may have changed between the start's reading and now.
    control.reload_if_other().await;
    control.reread_material().await;
    loop {
        tokio::select! {
            () = &mut stop => return,
            signal = signals.recv() => if signal.is_none() { return stop.await },
        }
        settle(&mut signals).await;
        watcher.follow(&control.watched_files());
        control.reload_if_other().await;
        control.reread_material().await;
        // A reload may have named others.
        watcher.follow(&control.watched_files());
    }
}

/// Waits until a burst of events is over, but not without end.
async fn settle(signals: &mut Receiver<()>) {
    let latest = Instant::now() + AT_LEAST_EVERY;
    loop {
        let until = latest.min(Instant::now() + QUIET);
        match tokio::time::timeout_at(until, signals.recv()).await {
            Ok(Some(())) if Instant::now() < latest => {}
            _ => return,
        }
    }
}

/// The places where one of the files, or the way to it, can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Way {
    /// The folder of each file, of each link on the way to it, and of what each link points to.
    folders: BTreeSet<PathBuf>,
    /// The names in them of the files and of the links, without their folders: a folder can be
    /// reached by several paths, and events tell only one of them.
    names: BTreeSet<OsString>,
}

impl Way {
    /// The ways to all of these files as they are now.
    fn to_all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let mut all = Self::default();
        for path in paths {
            let way = Self::to(&std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            all.folders.extend(way.folders);
            all.names.extend(way.names);
        }
        all
    }

    /// The way to a file as it is now.
    fn to(path: &Path) -> Self {
        let mut way = Self::default();
        let mut pending = vec![path.to_owned()];
        let mut links = 0;
        while let Some(path) = pending.pop() {
            way.add(&path);
            for part in path.ancestors() {
                let Ok(target) = std::fs::read_link(part) else { continue };
                let Some(folder) = part.parent() else { continue };
                way.add(part);
                links += 1;
                if links > MOST_LINKS {
                    break;
                }
                let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
                let onwards = folder.join(target);
                pending.push(if rest.as_os_str().is_empty() { onwards } else { onwards.join(rest) });
                break;
            }
        }
        way.folders.retain(|folder| folder.is_dir());
        way
    }

    fn add(&mut self, path: &Path) {
        self.folders.extend(path.parent().map(Path::to_owned));
        self.names.extend(path.file_name().map(OsString::from));
    }

    /// Whether one of the files may say something else after an event.
    fn is_touched_by(&self, event: &Event) -> bool {
        // Reading the file is an access too, and must not lead to the next reading.
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        // Lost events have no paths, and those of a watched folder itself have no name in it.
        event.need_rescan()
            || event.paths.iter().any(|path| {
                self.folders.contains(path) || path.file_name().is_some_and(|name| self.names.contains(name))
            })
    }
}

/// The system's watcher, and the folders that it watches.
struct Watcher {
    system: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    /// The ways to the files when they were last looked at.
    way: Arc<Mutex<Way>>,
}

impl Watcher {
    fn new(sender: mpsc::Sender<()>) -> notify::Result<Self> {
        let way = Arc::new(Mutex::new(Way::default()));
        let known = Arc::clone(&way);
        let system = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| known.lock().is_touched_by(&event)) {
                let _ = sender.try_send(());
            }
        })?;
        Ok(Self { system, folders: BTreeSet::new(), way })
    }

    /// Watches the folders on today's ways to the files, and no others.
    fn follow(&mut self, paths: &BTreeSet<PathBuf>) {
        let way = Way::to_all(paths);
        let wanted = way.folders.clone();
        // Before the folders are watched, so that no event of a new one is taken for another file's.
        *self.way.lock() = way;
        for gone in self.folders.difference(&wanted) {
            // It may have been removed, and its watch with it.
            let _ = self.system.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            if self.folders.contains(&folder) {
                watched.insert(folder);
                continue;
            }
            match self.system.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(error) => tracing::warn!(%error, folder = %folder.display(), "cannot be watched"),
            }
        }
        self.folders = watched;
    }
}

#[cfg(test)]
mod tests;
