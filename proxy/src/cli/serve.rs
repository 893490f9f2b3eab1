//! `tidegate run`: serve.

use std::path::PathBuf;
use std::process::ExitCode;

use super::failure::Failure;
use crate::serve::Plan;

/// Run the proxy with a configuration file, until SIGTERM or SIGINT.
///
/// SIGTERM and SIGINT drain and exit 0; a second one exits at once. SIGHUP reads the file again. SIGQUIT
/// hands over to a process started with --upgrade, and changes nothing when there is none.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
    /// Take the place of the running process: wait for its SIGQUIT, then take its listeners, its runtime
    /// changes and its knowledge of endpoints over. It goes on if this one fails.
    #[arg(long)]
    upgrade: bool,
    /// Where the two processes meet: a socket in a folder that only its owner can write to. The default is
    /// made of the configuration file's path, in a folder for temporary files. Give it to both.
    #[arg(long, value_name = "PATH", env = "TIDEGATE_UPGRADE_SOCKET")]
    upgrade_socket: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { config, upgrade, upgrade_socket } = arguments;
    Ok(crate::serve::run(&Plan {
        config: config.clone(),
        upgrade: *upgrade,
        socket: upgrade_socket.clone(),
    })?)
}
