//! `tidegate check`: every problem of a configuration file, or what it holds.
//!
//! Text in every case: `FILE:LINE: path: message` is what editors and CI systems know how to read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_admin::clock::Clock;
use tidegate_admin::problems_of_files;
use tidegate_core::config::Config;
use tidegate_core::config::read::read;
use tidegate_core::state::split_names;
use tidegate_core::validate::Problem;

use super::failure::Failure;
use super::paint::{Paint, Tone};
use super::screen::print;
use super::words::plural;

/// Check a configuration file: every problem with its line, or a summary.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file; the files that it names (certificates, the admin API's token) are read, too.
    #[arg(value_name = "FILE", default_value = "tidegate.toml")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            format!("{} cannot be read: {error}", file.display()),
            "name a configuration file: tidegate check FILE",
        )
    })?;
    let paint = Paint::of(&std::io::stdout());
    let config = read(&text, &|name| std::env::var(name).ok());
    let checked = config.and_then(|config| {
        let problems = problems_of_files(file, &config, Clock::start().now());
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    });
    match checked {
        Ok(config) => {
            print(&summary(file, &config, paint))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            print(&report(file, &problems, paint))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn report(file: &Path, problems: &[Problem], paint: Paint) -> String {
    let mut text = String::new();
    for problem in problems {
        let line = problem.line.map(|line| format!("{line}:")).unwrap_or_default();
        let place = format!("{}:{line}", file.display());
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        let _ = writeln!(text, "{} {}{}", paint.faint(&place), paint.strong(&path), problem.message);
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "  {} {hint}", paint.faint("→"));
        }
    }
    let number = plural(problems.len() as u64, "problem", "problems");
    let _ = writeln!(text, "{} in {}", paint.apply(Tone::Bad, &number), file.display());
    text
}

fn summary(file: &Path, config: &Config, paint: Paint) -> String {
    let listeners: Vec<String> =
        config.listeners.iter().map(|l| format!("{} {}", l.name, l.address)).collect();
    format!(
        "{} is {}: {} ({}), {}, {}, {}\n",
        file.display(),
        paint.apply(Tone::Good, "good"),
        plural(listeners.len() as u64, "listener", "listeners"),
        listeners.join(", "),
        plural(config.routes.len() as u64, "route", "routes"),
        plural(split_names(config).count() as u64, "split", "splits"),
        plural(config.pools.len() as u64, "pool", "pools"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_place_and_its_hint() {
        let problem = |path: &str, line, hint: Option<&str>| Problem {
            path: path.into(),
            line,
            message: "is not known".into(),
            hint: hint.map(str::to_owned),
        };
        let problems = [
            problem("server.wrokers", Some(2), Some("did you mean `workers`?")),
            problem("listeners", None, None),
            problem("", Some(9), None),
        ];
        assert_eq!(
            report(Path::new("x.toml"), &problems, Paint::plain()),
            "x.toml:2: server.wrokers: is not known\n  → did you mean `workers`?\n\
             x.toml: listeners: is not known\nx.toml:9: is not known\n3 problems in x.toml\n"
        );
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let text = "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n[pools.a]\nendpoints = []\n\
                    [splits.s]\nweights = { a = 1 }\n[[routes]]\nname = 'r'\nsplit = 's'\n";
        let config = read(text, &|_| None).expect("good");
        assert_eq!(
            summary(Path::new("x.toml"), &config, Paint::plain()),
            "x.toml is good: 1 listener (web 127.0.0.1:8080), 1 route, 1 split, 1 pool\n"
        );
    }
    #[test]
    fn a_token_that_a_start_cannot_use_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.toml");
        let text = "[admin]\ntoken_file = 'admin.token'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n\
                    [pools.a]\nendpoints = []\n[[routes]]\nname = 'r'\npool = 'a'\n";
        std::fs::write(&file, text).expect("written");
        let check = || run(&Arguments { file: file.clone() }).expect("checked");
        let config = read(text, &|_| None).expect("good");
        let problems = problems_of_files(&file, &config, Clock::start().now());
        assert_eq!(problems.len(), 1, "there is no such file: {problems:?}");
        assert_eq!(problems[0].path, "admin.token_file");
        assert!(problems[0].message.contains("admin.token cannot be read"), "{problems:?}");
        assert_eq!(check(), ExitCode::FAILURE);
        std::fs::write(folder.path().join("admin.token"), "secret\n").expect("written");
        assert_eq!(check(), ExitCode::SUCCESS);
    }
}
