//! What names stand for, for one process alone: an `/etc` of its own, with a hosts file that a test writes.
//!
//! The process runs in a mount namespace in which a folder lies over `/etc`, so that the system's own
//! resolver answers what the test wants, and nothing asks a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tidegate::BINARY;

/// The system's certificate authorities stay where they are.
const NAMESPACE: &str = "mount --bind /etc/ssl \"$0/ssl\" && mount --rbind \"$0\" /etc && exec \"$@\"";

/// The folder that lies over `/etc`.
pub(crate) struct Names {
    etc: PathBuf,
}

impl Names {
    /// In a folder of the test; nothing has a name yet.
    pub(crate) fn new(folder: &Path) -> Self {
        let etc = folder.join("etc");
        fs::create_dir_all(etc.join("ssl")).unwrap();
        fs::write(etc.join("nsswitch.conf"), "hosts: files\n").unwrap();
        // As systems have it: a name may stand in more than one line.
        fs::write(etc.join("host.conf"), "multi on\n").unwrap();
        let names = Self { etc };
        names.set("");
        names
    }

    /// These lines, `ADDRESS NAME` each, from now on and in one step.
    pub(crate) fn set(&self, lines: &str) {
        let next = self.etc.join("next");
        fs::write(&next, format!("{lines}\n")).unwrap();
        fs::rename(next, self.etc.join("hosts")).unwrap();
    }

    /// Whoever looks a name up waits from now on, until it is released.
    pub(crate) fn hang(&self) {
        let next = self.etc.join("next");
        assert!(Command::new("mkfifo").arg(&next).status().unwrap().success());
        fs::rename(next, self.etc.join("hosts")).unwrap();
    }

    /// Ends the waiting: from now on these lines are what names stand for.
    pub(crate) fn release(&self, lines: &str) {
        let waiting = self.etc.join("waiting");
        fs::rename(self.etc.join("hosts"), &waiting).unwrap();
        self.set(lines);
        // Opens when somebody waits, which is sure: the test has seen it. A pipe is no file that the
        // resolver reads from: what waited fails, and the next lookup finds the lines.
        drop(fs::OpenOptions::new().write(true).open(&waiting).unwrap());
    }

    /// The command that runs the binary where these names hold.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", NAMESPACE]).arg(&self.etc).arg(BINARY);
        command
    }
}
