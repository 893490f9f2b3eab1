//! The project's own commands, so that nothing but cargo need be installed: `cargo xtask <command>`.
//!
//! Each command is a list of steps. A step is announced, timed, and stops the run when it fails, so the
//! last lines printed always say what went wrong and how long everything took. People and CI run the same
//! list (`.ci/run` only calls `cargo xtask test`). No dependencies: this has to build in seconds on a fresh
//! machine, before anything else does.

mod deny;
mod exec;
mod guard_cost;
mod load;
mod steps;
mod tidy;
mod tools;

use std::process::ExitCode;

use exec::{Result, cargo};
use steps::Steps;

const HELP: &str = "\
cargo xtask <command>

  test     all that CI does: set-up, fmt, tidy, clippy, licences and layers, every test
  check    the quick part of it: fmt, tidy, clippy, unit tests
  tidy     only the rules of writing (length of files and functions, headers, leftovers)
  deny     only licences, bans, sources, and advisories when their database can be fetched
  setup    only what the tests need beside cargo (nginx, curl, h2load, openssl, rustfmt, clippy, cargo-deny)
  bench    criterion benches; further arguments go to them (cargo xtask bench -- decide)
  guard-cost   what a running guard adds to the CPU time of a request (Linux); --null measures the noise,
               --rounds N, --requests N and --connections N its size, --binary PATH takes another build
  load     the same work through Tidegate and other proxies (Linux): tables with ratios to HAProxy into docs/,
           and what Tidegate's own features cost; --quick to try, --rounds N, --only ROWS (`cost` is that last
           part), --peers PROXIES, --out FOLDER, --help for the rest
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if let Err(error) = std::env::set_current_dir(exec::root()) {
        eprintln!("cannot enter the repository: {error}");
        return ExitCode::FAILURE;
    }
    let mut steps = Steps::default();
    let outcome = match command.as_str() {
        "test" => test(&mut steps),
        "check" => check(&mut steps),
        "tidy" => steps.run("tidy", tidy::run),
        "deny" => deny_steps(&mut steps),
        "setup" => setup(&mut steps),
        "bench" => steps.run("bench", || bench(&rest)),
        "load" => load::run(&mut steps, &rest),
        "guard-cost" => guard_cost::run(&mut steps, &rest),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    steps.report(outcome)
}

fn test(steps: &mut Steps) -> Result {
    setup(steps)?;
    quick(steps)?;
    deny_steps(steps)?;
    steps.run("tests", || cargo(&["test", "--workspace"]))
}

fn check(steps: &mut Steps) -> Result {
    steps.run("set-up: rustfmt and clippy", tools::components)?;
    quick(steps)?;
    steps.run("unit tests", || cargo(&["test", "--workspace", "--lib", "--bins"]))
}

fn setup(steps: &mut Steps) -> Result {
    steps.run("set-up: rustfmt and clippy", tools::components)?;
    steps.run("set-up: nginx, curl, h2load, openssl", tools::programs)?;
    steps.run("set-up: cargo-deny", tools::cargo_deny)
}

fn quick(steps: &mut Steps) -> Result {
    steps.run("fmt", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::run)?;
    steps.run("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn deny_steps(steps: &mut Steps) -> Result {
    steps.run("licences, bans, sources", deny::law)?;
    steps.run("advisories", deny::advisories)
}

fn bench(rest: &[String]) -> Result {
    // Only the benches: a library's own test harness would not know criterion's arguments.
    let mut arguments = vec!["bench", "--package", "tidegate-core", "--bench", "*"];
    arguments.extend(rest.iter().map(String::as_str));
    cargo(&arguments)
}
