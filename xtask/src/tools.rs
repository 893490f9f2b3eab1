//! What the checks need beside cargo and a C compiler, found or installed.
//!
//! nginx is the one program from the system (a test puts a real nginx behind the proxy). As root on Debian
//! it is installed; anywhere else the message says exactly what to install. Nothing else of the system is
//! touched.

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

/// A real nginx for the end-to-end tests.
pub(crate) fn nginx() -> Result {
    if nginx_is_here() {
        println!("    nginx is here");
        return Ok(());
    }
    if !(is_root() && Path::new("/etc/debian_version").exists()) {
        return Err("the end-to-end tests need nginx, and only root on Debian can have it installed here. \
                    Install it (Debian, Ubuntu: `sudo apt-get install nginx-light`; Fedora: `sudo dnf install nginx`; \
                    macOS: `brew install nginx`) and run this again"
            .to_owned());
    }
    shown(apt().args(["update", "-qq"]))?;
    let light = shown(apt().args(["install", "-y", "-qq", "--no-install-recommends", "nginx-light"]));
    if light.is_err() {
        shown(apt().args(["install", "-y", "-qq", "--no-install-recommends", "nginx"]))?;
    }
    if nginx_is_here() { Ok(()) } else { Err("nginx was installed but `nginx -v` does not run".to_owned()) }
}

/// cargo-deny, built from crates.io when it is missing.
pub(crate) fn cargo_deny() -> Result {
    if cargo_succeeds(&["deny", "--version"]) {
        println!("    cargo-deny is here");
        return Ok(());
    }
    cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY])
}

fn nginx_is_here() -> bool {
    // Debian keeps it where an ordinary user's PATH does not look.
    ["nginx", "/usr/sbin/nginx"].iter().any(|program| succeeds(Command::new(program).arg("-v")))
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
