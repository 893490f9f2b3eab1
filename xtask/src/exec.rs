//! Runs other programs: inherited output, captured output, or with a deadline.
//!
//! Errors are sentences for a person: nothing here is handled by its kind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What every step returns; the error says what to do.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that started us, so that a pinned toolchain stays in force.
fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// `cargo` with these arguments, its output shown.
pub(crate) fn cargo(arguments: &[&str]) -> Result {
    let mut command = Command::new(cargo_program());
    command.args(arguments);
    shown(&mut command)
}

/// Whether `cargo` with these arguments succeeds, its output hidden.
pub(crate) fn cargo_succeeds(arguments: &[&str]) -> bool {
    succeeds(Command::new(cargo_program()).args(arguments))
}

/// Whether the program succeeds, its output hidden.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Run a program with its output shown.
pub(crate) fn shown(command: &mut Command) -> Result {
    println!("    {}", told(command));
    let status = command.status().map_err(|error| format!("`{}`: {error}", told(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", told(command))) }
}

/// How a program that had a deadline ended.
pub(crate) enum Ended {
    /// Exit code 0.
    Well,
    /// Another exit code, or it could not be started.
    Badly,
    /// Stopped by us.
    Late,
}

/// `cargo` with these arguments, its output shown, stopped after `limit`.
pub(crate) fn cargo_within(arguments: &[&str], limit: Duration) -> Ended {
    let mut command = Command::new(cargo_program());
    command.args(arguments);
    println!("    {}", told(&command));
    let Ok(mut child) = command.stdin(Stdio::null()).spawn() else { return Ended::Badly };
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ended::Well,
            Ok(Some(_)) | Err(_) => return Ended::Badly,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(100)),
            Ok(None) => {
                // The child is ours: stop it and collect it, so that nothing outlives the step.
                let _ = child.kill();
                let _ = child.wait();
                return Ended::Late;
            }
        }
    }
}

fn told(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
