//! `tidegate man`: a page for the program and one for each command.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::failure::Failure;
use super::screen::print;

/// Write the man pages into a folder.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder; it is made if need be.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(super::Arguments::command(), folder))
        .map_err(|error| {
            Failure::new(format!("{} cannot be written: {error}", folder.display()), "name another folder")
        })?;
    print(&format!("the man pages are in {}\n", folder.display()))
}
