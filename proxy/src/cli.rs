//! The command line: what was typed, and which file carries it out, one for each command.
//!
//! Each command is its arguments, a few calls of the admin API, and pure functions from JSON to text
//! that its tests go through. Results go to the standard output, all else to the standard error, so
//! that a pipe carries results only. Where the output is not a terminal, it is the API's JSON.

mod check;
mod completions;
mod connection;
mod cutover;
mod demo;
mod drain;
mod events;
mod explain;
mod failure;
mod history;
mod man;
mod model;
mod paint;
mod progress;
mod restore;
mod revert;
mod rollout;
mod screen;
mod serve;
mod shift;
mod simulate;
mod status;
mod table;
mod undrain;
mod weights;
pub(crate) mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use failure::Failure;
pub(crate) use paint::{Paint, Tone};
pub(crate) use screen::print;
pub(crate) use table::{Align, Cell, Table, cell};

/// A reverse proxy that splits traffic between versions of a service, by weight and by user, and
/// shifts it while it flows.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot reach Tidegate.

Commands that talk to a running Tidegate find it at --admin (TIDEGATE_ADMIN), and print JSON where
their output is not a terminal, unless --text is given.

To see it work: tidegate demo";

#[derive(Debug, Subcommand)]
enum Command {
    Run(serve::Arguments),
    Check(check::Arguments),
    Demo(demo::Arguments),
    Status(status::Arguments),
    Shift(shift::Arguments),
    Cutover(cutover::Arguments),
    Revert(revert::Arguments),
    Rollout(rollout::Arguments),
    Drain(drain::Arguments),
    Undrain(undrain::Arguments),
    Explain(explain::Arguments),
    History(history::Arguments),
    Restore(restore::Arguments),
    Events(events::Arguments),
    Simulate(simulate::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Carries out what was typed, and says how it went.
pub(crate) fn run(typed: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(typed) {
        Ok(arguments) => arguments,
        Err(refused) => {
            // Help and version are "errors" that go to the standard output and exit 0.
            let _ = refused.print();
            return ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(arguments) => return serve::run(&arguments),
        Command::Check(arguments) => return check::run(&arguments),
        Command::Demo(arguments) => return demo::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments)?,
        Command::Completions(arguments) => completions::run(&arguments)?,
        Command::Man(arguments) => man::run(&arguments)?,
        other => calls(other)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands that talk to a running Tidegate.
#[tokio::main(flavor = "current_thread")]
async fn calls(command: Command) -> Result<(), Failure> {
    match command {
        Command::Status(arguments) if arguments.is_endless() => until_ctrl_c(status::run(&arguments)).await,
        Command::Status(arguments) => status::run(&arguments).await,
        Command::Shift(arguments) => shift::run(&arguments).await,
        Command::Cutover(arguments) => cutover::run(&arguments).await,
        Command::Revert(arguments) => revert::run(&arguments).await,
        Command::Rollout(arguments) => rollout::run(&arguments).await,
        Command::Drain(arguments) => drain::run(&arguments).await,
        Command::Undrain(arguments) => undrain::run(&arguments).await,
        Command::Explain(arguments) => explain::run(&arguments).await,
        Command::History(arguments) => history::run(&arguments).await,
        Command::Restore(arguments) => restore::run(&arguments).await,
        Command::Events(arguments) => until_ctrl_c(events::run(&arguments)).await,
        Command::Run(_)
        | Command::Check(_)
        | Command::Demo(_)
        | Command::Simulate(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

/// Runs a command that has no end of its own: Ctrl-C is not its failure.
async fn until_ctrl_c(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        done = command => done,
        Ok(()) = tokio::signal::ctrl_c() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_is_for() {
        let command = Arguments::command();
        let mut commands: Vec<_> = command.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            commands.extend(command.get_subcommands());
        }
    }

    #[test]
    fn help_names_the_environment_and_the_defaults() {
        let mut command = Arguments::command();
        let status = command.find_subcommand_mut("status").expect("there");
        let help = status.render_long_help().to_string();
        for said in ["TIDEGATE_ADMIN", "http://127.0.0.1:9900", "TIDEGATE_TOKEN_FILE", "--json", "--text"] {
            assert!(help.contains(said), "{said} in\n{help}");
        }
    }
}
