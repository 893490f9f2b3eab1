//! The command line as a shell sees it: exit codes, what goes to which stream, and words that other
//! programs and people have come to rely on. Nothing here needs a Tidegate that runs already.

mod demo;
mod simulate;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the program with nothing in its environment but what a case sets.
fn tidegate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(words).env_clear().stdin(Stdio::null());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { code: status.code().expect("not killed"), out: text(stdout), err: text(stderr) }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

#[test]
fn a_good_file_is_summed_up_on_one_line() {
    let file = examples().join("canary.toml");
    let file = file.to_str().expect("text");
    let ran = run(&mut tidegate(&["check", file]));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with(&format!("{file} is good: 1 listener (")), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn every_example_is_good() {
    let files: Vec<_> = std::fs::read_dir(examples())
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["shop", "api", "partners", "internal-ca", "tidegate"] {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let beside = |extension| folder.path().join(name).with_extension(extension);
        std::fs::write(beside("pem"), made.cert.pem()).expect("written");
        std::fs::write(beside("key"), made.key_pair.serialize_pem()).expect("written");
    }
    for file in files {
        let copy = folder.path().join(file.file_name().expect("a name"));
        std::fs::copy(&file, &copy).expect("copied");
        let ran = run(&mut tidegate(&["check", copy.to_str().expect("text")]));
        assert_eq!(ran.code, 0, "{}", ran.out);
    }
}

#[test]
fn ten_mistakes_are_ten_problems_each_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.toml");
    let text = "\
[server]
wrokers = 2
shutdown_timeout = \"soon\"
[[listeners]]
name = \"a b\"
address = \"nowhere\"
[pools.stable]
endpoints = [\"127.0.0.1\"]
balance = \"fastest\"
[splits.shop]
weights = { stable = -1, canary = 5 }
key = [\"head:x\"]
[[routes]]
name = \"shop\"
split = \"shpo\"
retry = { attempts = \"many\" }
";
    std::fs::write(&file, text).expect("written");
    let ran = run(&mut tidegate(&["check", file.to_str().expect("text")]));
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let place = format!("{}:", file.display());
    let lines: Vec<&str> = ran.out.lines().filter_map(|line| line.strip_prefix(&place)).collect();
    for (line, path) in [
        (2, "server.wrokers"),
        (3, "server.shutdown_timeout"),
        (5, "listeners[0].name"),
        (6, "listeners[0].address"),
        (8, "pools.stable.endpoints[0]"),
        (9, "pools.stable.balance"),
        (11, "splits.shop.weights.stable"),
        (12, "splits.shop.key[0]"),
        (15, "routes[0].split"),
        (16, "routes[0].retry.attempts"),
    ] {
        let start = format!("{line}: {path}: ");
        assert!(lines.iter().any(|found| found.starts_with(&start)), "{start} in\n{}", ran.out);
    }
    assert!(ran.out.contains("did you mean `workers`?"), "{}", ran.out);
    assert!(ran.out.ends_with(&format!("problems in {}\n", file.display())), "{}", ran.out);
}

#[test]
fn a_file_is_checked_in_its_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tidegate.toml");
    let text = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:${PORT}\"\n";
    std::fs::write(&file, text).expect("written");
    // The file's usual name, in the folder in which it runs.
    let ran = run(tidegate(&["check"]).current_dir(&folder).env("PORT", "8080"));
    assert_eq!((ran.code, ran.out.contains("(web 127.0.0.1:8080)")), (0, true), "{}", ran.out);
    let ran = run(tidegate(&["check"]).current_dir(&folder));
    assert_eq!((ran.code, ran.out.contains("PORT")), (1, true), "{}", ran.out);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for words in [&["check", "/nowhere/x.toml"][..], &["run", "--config", "/nowhere/x.toml"]] {
        let ran = run(&mut tidegate(words));
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.err.contains("/nowhere/x.toml"), "{words:?}: {}", ran.err);
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_why() {
    for (words, why) in [
        (&[][..], "Usage:"),
        (&["shfit"], "shift"),
        (&["shift", "shop"], "POOL=WEIGHT"),
        (&["shift", "shop", "canary"], "write POOL=WEIGHT"),
        (&["shift", "shop", "canary=-1"], "not a whole number"),
        (&["shift", "shop", "canary=1000000000000"], "at most 1000000"),
        (&["shift", "shop", "canary=1", "--ttl", "soon"], "not a duration"),
        (&["drain", "canary", "nowhere"], "ENDPOINT"),
        (&["restore", "yesterday"], "GENERATION"),
        (&["explain", "/checkout"], "with its host"),
        (&["explain", "http://shop/", "-H", "alice"], "NAME: VALUE"),
        (&["status", "--json", "--text"], "cannot be used with"),
        (&["rollout"], "Usage:"),
        (&["rollout", "start"], "SPLIT"),
        (&["rollout", "start", "shop", "--pool", "stable"], "cannot be used with"),
        (&["rollout", "start", "shop", "--watch", "--dry-run"], "cannot be used with"),
        (&["rollout", "promote", "--pool", "stable"], "--pool"),
        (&["rollout", "watch", "shop", "--interval", "1ms"], "at least 100ms"),
        (&["cutover", "shop", "canary", "--bake", "soon"], "not a duration"),
        (&["status", "--admin", "https://127.0.0.1:9900"], "plain HTTP"),
        (&["completions", "tcsh"], "possible values"),
    ] {
        let ran = run(&mut tidegate(words));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
    }
}

#[test]
fn nobody_there_exits_with_3_for_every_command_that_calls() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    for words in [
        &["status"][..],
        &["status", "--watch"],
        &["shift", "shop", "canary=5"],
        &["cutover", "shop", "canary"],
        &["revert", "shop"],
        &["drain", "canary"],
        &["drain", "canary", "127.0.0.1:9001", "--no-wait"],
        &["undrain", "canary"],
        &["explain", "http://shop/"],
        &["history"],
        &["restore", "7"],
        &["rollout", "start", "shop"],
        &["rollout", "start", "--pool", "stable", "--watch"],
        &["rollout", "status", "shop"],
        &["rollout", "watch", "shop"],
        &["rollout", "pause", "shop"],
        &["rollout", "resume", "--pool", "stable"],
        &["rollout", "promote", "shop", "--full"],
        &["rollout", "abort", "shop"],
        &["events"],
    ] {
        let ran = run(tidegate(words).env("TIDEGATE_ADMIN", &admin));
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}");
        let said = format!("error: cannot reach Tidegate at {admin}: connection refused\n");
        assert!(ran.err.starts_with(&said), "{words:?}: {}", ran.err);
        assert!(ran.err.contains("tidegate run") && ran.err.contains("--admin"), "{}", ran.err);
    }
    let ran = run(&mut tidegate(&["status", "--admin", "unix:/nowhere/admin.sock"]));
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("unix:/nowhere/admin.sock: no such socket"), "{}", ran.err);
}

#[test]
fn a_token_that_cannot_be_read_is_not_the_servers_fault() {
    let ran = run(tidegate(&["status"]).env("TIDEGATE_TOKEN_FILE", "/nowhere/token"));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("/nowhere/token") && ran.err.contains("--token-file"), "{}", ran.err);
}

#[test]
fn help_and_version_exit_with_0() {
    let ran = run(&mut tidegate(&["--version"]));
    assert_eq!((ran.code, ran.out), (0, format!("tidegate {}\n", env!("CARGO_PKG_VERSION"))));
    let ran = run(&mut tidegate(&["--help"]));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for command in
        ["run", "check", "demo", "status", "shift", "cutover", "revert", "rollout", "drain", "undrain"]
    {
        assert!(ran.out.contains(&format!("\n  {command} ")), "{command} in\n{}", ran.out);
    }
    assert!(ran.out.contains("Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot reach"));
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&mut tidegate(&["completions", shell]));
        assert_eq!((ran.code, ran.out.contains("cutover")), (0, true), "{shell}");
        assert!(ran.out.contains("promote"), "{shell}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man");
    // What somebody has in their environment is nobody else's default.
    let ran = run(tidegate(&["man", pages.to_str().expect("text")]).env("TIDEGATE_ADMIN", "http://secret:1"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let page = std::fs::read_to_string(pages.join("tidegate-shift.1")).expect("a page");
    assert!(page.contains("TIDEGATE_ADMIN") && !page.contains("secret"), "{page}");
    assert!(pages.join("tidegate.1").is_file());
    for verb in ["start", "status", "watch", "pause", "resume", "promote", "abort"] {
        assert!(pages.join(format!("tidegate-rollout-{verb}.1")).is_file(), "{verb}");
    }
}

#[test]
fn who_reads_only_the_first_line_is_not_failed() {
    let mut child = tidegate(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn no_colour_where_nobody_watches() {
    let ran = run(&mut tidegate(&["check", "/dev/null"]));
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{}", ran.out);
}
