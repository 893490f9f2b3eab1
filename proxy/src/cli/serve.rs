//! `tidegate run`: serve.

use std::path::PathBuf;
use std::process::ExitCode;

use super::failure::Failure;

/// Run the proxy with a configuration file, until SIGTERM or SIGINT.
///
/// SIGTERM and SIGINT drain and exit 0; a second one exits at once. SIGHUP reads the file again.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    Ok(crate::serve::run(&arguments.config)?)
}
