//! `tidegate completions`: what a shell needs to complete this command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::failure::Failure;
use super::screen::print;

/// Print the completions of a shell.
///
/// For bash: tidegate completions bash > /etc/bash_completion.d/tidegate
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Into memory first: the generator panics when its output is a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "tidegate", &mut script);
    print(&String::from_utf8_lossy(&script))
}
