//! What the checks need beside cargo and a C compiler, found or installed.
//!
//! The programs from the system are those that tests put before and behind the proxy: nginx, curl, h2load and
//! openssl. As root on Debian they are installed; anywhere else the message says exactly what to install.
//! Nothing else of the system is touched.

use std::path::Path;
use std::process::Command;

use crate::exec::{Result, cargo, cargo_succeeds, shown, succeeds};

/// The version of cargo-deny that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

/// rustfmt and clippy, which rustup's minimal profile leaves out.
pub(crate) fn components() -> Result {
    let have = cargo_succeeds(&["fmt", "--version"]) && cargo_succeeds(&["clippy", "--version"]);
    if have {
        println!("    rustfmt and clippy are here");
        return Ok(());
    }
    shown(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]))
        .map_err(|why| format!("install rustfmt and clippy for this toolchain ({why})"))
}

/// A program of the system's, how it is asked whether it is there, and the Debian packages that have it.
pub(crate) struct Program {
    pub(crate) names: &'static [&'static str],
    pub(crate) version: &'static str,
    pub(crate) packages: &'static [&'static str],
}

const PROGRAMS: [Program; 4] = [
    // Debian keeps it where an ordinary user's PATH does not look.
    Program { names: &["nginx", "/usr/sbin/nginx"], version: "-v", packages: &["nginx-light", "nginx"] },
    Program { names: &["curl"], version: "--version", packages: &["curl"] },
    Program { names: &["h2load"], version: "--version", packages: &["nghttp2-client"] },
    Program { names: &["openssl"], version: "version", packages: &["openssl"] },
];

/// The programs of the system that the end-to-end tests run.
pub(crate) fn programs() -> Result {
    install("the end-to-end tests", &PROGRAMS)
}

/// Those of the programs that are missing, for whoever needs them.
pub(crate) fn install(who: &str, programs: &[Program]) -> Result {
    let missing: Vec<&Program> = programs.iter().filter(|program| !program.is_here()).collect();
    if missing.is_empty() {
        println!("    all of them are here");
        return Ok(());
    }
    if !(is_root() && Path::new("/etc/debian_version").exists()) {
        let names: Vec<&str> = missing.iter().map(|program| program.names[0]).collect();
        let packages: Vec<&str> = missing.iter().map(|program| program.packages[0]).collect();
        return Err(format!(
            "{who} need {}, and only root on Debian can have them installed here. Install them (Debian, Ubuntu: \
             `sudo apt-get install {}`; elsewhere the packages have similar names) and run this again",
            names.join(", "),
            packages.join(" ")
        ));
    }
    shown(apt().args(["update", "-qq"]))?;
    missing.into_iter().try_for_each(Program::install)
}

impl Program {
    fn is_here(&self) -> bool {
        self.names.iter().any(|name| succeeds(Command::new(name).arg(self.version)))
    }

    fn install(&self) -> Result {
        let name = self.names[0];
        let installed = self.packages.iter().any(|package| {
            shown(apt().args(["install", "-y", "-qq", "--no-install-recommends", package])).is_ok()
        });
        if installed && self.is_here() { Ok(()) } else { Err(format!("{name} could not be installed")) }
    }
}

/// cargo-deny, built from crates.io when it is missing.
pub(crate) fn cargo_deny() -> Result {
    if cargo_succeeds(&["deny", "--version"]) {
        println!("    cargo-deny is here");
        return Ok(());
    }
    cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY])
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
