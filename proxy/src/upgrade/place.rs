//! Where the two processes meet: a Unix socket that nobody but their owner can use.
//!
//! Both find it by the path of the configuration file, as it was given and without following links: a
//! release that swaps a link is upgraded, too, and one that changes `state_dir` as well. A lock beside the
//! socket keeps a second process from waiting there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use xxhash_rust::xxh3::xxh3_64;

/// Where a process that is to hand over finds the one that takes over.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    socket: PathBuf,
    /// Whether the folder is made if it is not there.
    is_default: bool,
}

/// A process waits at the place for as long as this lives.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) listener: UnixListener,
    socket: PathBuf,
    _lock: File,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The lock is still held, so it is ours.
        let _ = fs::remove_file(&self.socket);
    }
}

impl Place {
    /// The place that was asked for, or the one that belongs to a configuration file.
    pub(crate) fn of(asked: Option<&Path>, config: &Path) -> Self {
        if let Some(socket) = asked {
            return Self { socket: socket.to_owned(), is_default: false };
        }
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        let folder = std::env::temp_dir().join(format!("tidegate-{}", geteuid().as_raw()));
        let name = format!("{:016x}.sock", xxh3_64(config.as_os_str().as_bytes()));
        Self { socket: folder.join(name), is_default: true }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }

    /// Begins to wait there; an error when another process does.
    pub(super) fn wait(&self) -> Result<Waiting, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.socket.display());
        self.check_folder().map_err(|why| failed(&why))?;
        let lock = self.lock().map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(failed(&"another process waits to take over")),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            // What a process left that was killed.
            _ => {}
        }
        let listener = tidegate_admin::private_socket(&self.socket).map_err(|error| failed(&error))?;
        Ok(Waiting { listener, socket: self.socket.clone(), _lock: lock })
    }

    /// Reaches the process that waits there; `None` when there is none.
    pub(super) fn connect(&self) -> Result<Option<UnixStream>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.socket.display());
        match UnixStream::connect(&self.socket) {
            Ok(stream) => {
                // Whoever can replace the socket could have put another one there.
                self.check_folder().map_err(|why| failed(&why))?;
                Ok(Some(stream))
            }
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.socket.with_extension("lock");
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
    }

    /// Makes sure that nobody else can put anything into the socket's folder.
    fn check_folder(&self) -> Result<(), String> {
        let folder = self.socket.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if self.is_default {
            let made = DirBuilder::new().mode(0o700).create(folder);
            made.or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(format!("the folder cannot be made: {error}")),
            })?;
        }
        let meta = fs::symlink_metadata(folder).map_err(|error| format!("the folder: {error}"))?;
        let is_ours = [geteuid().as_raw(), 0].contains(&meta.uid());
        if meta.is_dir() && is_ours && meta.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err("its folder must be one that only its owner can write to; name another with --upgrade-socket"
            .into())
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place(folder: &Path) -> Place {
        Place::of(Some(&folder.join("upgrade.sock")), Path::new("tidegate.toml"))
    }

    #[test]
    fn both_find_it_by_the_file() {
        let found = |config: &str| Place::of(None, Path::new(config)).socket;
        let here = std::env::current_dir().expect("a folder").join("a.toml");
        assert_eq!(found("a.toml"), found(here.to_str().expect("text")));
        assert_eq!(found("a.toml"), found("./a.toml"));
        assert_ne!(found("a.toml"), found("b.toml"));
    }

    #[test]
    fn one_process_waits_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(folder.path());
        assert!(place.connect().expect("nobody").is_none());
        let waiting = place.wait().expect("the first");
        let mode = fs::metadata(place.path()).expect("a socket").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(place.wait().expect_err("the second").contains("another process waits"));
        assert!(place.connect().expect("somebody").is_some());
        drop(waiting);
        assert!(place.connect().expect("nobody").is_none());
        let waiting = place.wait().expect("the next");
        // As a process that is killed: the lock is gone with it, the socket is not.
        let Waiting { listener, .. } = &waiting;
        let left = listener.try_clone().expect("a handle");
        drop(waiting);
        drop(left);
        drop(tidegate_admin::private_socket(place.path()).expect("left behind"));
        assert!(place.connect().expect("nobody").is_none());
        assert!(place.wait().is_ok(), "in the place of what was left behind");
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("allowed");
        let error = place(folder.path()).wait().expect_err("refused");
        assert!(error.contains("only its owner"), "{error}");
    }
}
