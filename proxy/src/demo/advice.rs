//! What is said at the top: where everything is, and what to try.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cli::{Paint, Tone};

use super::setup::{SPLIT, STEPS, VISITOR_HEADER};
use super::shop::{BROKEN, CANARY, STABLE};
use super::visitors::{REQUESTS_PER_SECOND, VISITORS};

/// Where everything is.
#[derive(Debug)]
pub(super) struct Places {
    /// Where the proxy listens.
    pub(super) proxy: SocketAddr,
    /// Where the admin API listens.
    pub(super) admin: String,
    /// Where the canary itself listens.
    pub(super) canary: SocketAddr,
    /// Whether the proxy's usual port was taken.
    pub(super) taken: bool,
    /// What to type to run this program.
    pub(super) program: String,
}

/// The admin address that commands use when they are told none.
const USUAL_ADMIN: &str = "127.0.0.1:9900";

/// The top of the screen.
pub(super) fn welcome(places: &Places, paint: Paint) -> String {
    let Places { proxy, admin, canary: port, taken, program } = places;
    let (stable, canary) = (STABLE.name, CANARY.name);
    let mut text = format!(
        "{}\n{REQUESTS_PER_SECOND} requests a second from {VISITORS} visitors, each known by its {VISITOR_HEADER}, \
         to two versions of a shop.\n\n",
        paint.strong("Tidegate's demo, all on this machine")
    );
    let note = if *taken { "  (8080 is taken, so another port)" } else { "" };
    let _ = writeln!(text, "  proxy  http://{proxy}{note}\n  admin  http://{admin}\n");
    let _ = writeln!(text, "{}", paint.strong("Try in another terminal:"));
    let flag = if admin == USUAL_ADMIN { String::new() } else { format!(" --admin http://{admin}") };
    let url = format!("http://{proxy}/ -H '{VISITOR_HEADER}: alice'");
    let guarded = format!("all of them, guarded: {STEPS}");
    let tries = [
        (format!("{program} shift {SPLIT} {stable}=50 {canary}=50{flag}"), "half of the visitors"),
        (format!("{program} explain {url}{flag}"), "where alice goes, and why"),
        (format!("{program} drain {canary}{flag}"), "its visitors go to the other"),
        (format!("{program} undrain {canary}{flag}"), "and come back, the same ones"),
        (format!("{program} revert {SPLIT}{flag}"), "the weights before the last change"),
        (format!("{program} rollout start {SPLIT} --watch{flag}"), &guarded),
        (format!("curl 'http://{port}/break?rate={BROKEN}'"), "meanwhile: it fails, and the guard stops it"),
        (format!("curl http://{port}/mend"), "it is good again: start another"),
        (format!("{program} status --watch{flag}"), "everything at a glance"),
        (format!("curl -i {url}"), "be alice"),
        (format!("curl http://{admin}/v1/splits/{SPLIT}"), "the API, as JSON"),
    ];
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in &tries {
        let gap = " ".repeat(width - command.len());
        let _ = writeln!(text, "  {}{gap}  {}", paint.apply(Tone::Good, command), paint.faint(what));
    }
    text.push_str("\nCtrl-C ends it.\n\n");
    text
}

/// What to type to run this program: its name if the shell finds it, else a path to it.
pub(super) fn program() -> String {
    let Ok(exe) = std::env::current_exe() else { return "tidegate".into() };
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("tidegate")).find(|file| file.is_file())
    });
    let here = std::env::current_dir().ok();
    name_for(&exe, found.and_then(|file| file.canonicalize().ok()), here.as_deref())
}

fn name_for(exe: &Path, found: Option<PathBuf>, here: Option<&Path>) -> String {
    if found.is_some_and(|found| found == exe) {
        return "tidegate".into();
    }
    match here.and_then(|here| exe.strip_prefix(here).ok()) {
        Some(below) if below.components().count() == 1 => format!("./{}", below.display()),
        Some(below) => below.display().to_string(),
        None => exe.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_as_they_stand() {
        let mut places = Places {
            proxy: ([127, 0, 0, 1], 8080).into(),
            admin: USUAL_ADMIN.into(),
            canary: ([127, 0, 0, 1], 9002).into(),
            taken: false,
            program: "tidegate".into(),
        };
        let text = welcome(&places, Paint::plain());
        for line in [
            "  tidegate shift shop stable=50 canary=50 ",
            "  tidegate explain http://127.0.0.1:8080/ -H 'x-user-id: alice' ",
            "  tidegate drain canary ",
            "  tidegate revert shop ",
            "  tidegate rollout start shop --watch ",
            "  curl 'http://127.0.0.1:9002/break?rate=0.2' ",
            "  curl http://127.0.0.1:9002/mend ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        places.admin = "127.0.0.1:9901".into();
        places.taken = true;
        let text = welcome(&places, Paint::plain());
        assert!(text.contains("drain canary --admin http://127.0.0.1:9901 "), "{text}");
        assert!(text.contains("8080 is taken"), "{text}");
    }

    #[test]
    fn the_program_is_called_as_it_can_be() {
        let exe = Path::new("/src/target/release/tidegate");
        let found = |path: &str| Some(PathBuf::from(path));
        for (found, here, name) in [
            (found("/src/target/release/tidegate"), "/src", "tidegate"),
            (found("/usr/bin/tidegate"), "/src", "target/release/tidegate"),
            (None, "/src/target/release", "./tidegate"),
            (None, "/home", "/src/target/release/tidegate"),
        ] {
            assert_eq!(name_for(exe, found, Some(Path::new(here))), name);
        }
    }
}
