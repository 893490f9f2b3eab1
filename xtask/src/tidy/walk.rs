//! The files of the tree, without what is built or belongs to others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// One file of the tree.
pub(crate) struct Found {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its path from the repository's top folder, with `/`.
    pub(crate) name: String,
}

impl Found {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Every file under the current folder, sorted by name.
pub(crate) fn files() -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() && !is_skipped(&path) {
                folders.push(path);
            } else if kind.is_file() && path.file_name().is_some_and(|name| name != ".git") {
                let name = path.strip_prefix(".").unwrap_or(&path).to_string_lossy().replace('\\', "/");
                found.push(Found { path, name });
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn is_skipped(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped))
}
