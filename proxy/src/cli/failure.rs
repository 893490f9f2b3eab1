//! Why a command did not do it: what, where and what next, and the exit code.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use tidegate_admin::client::ClientError;
use tidegate_core::validate::Problem;

use super::paint::{Paint, Tone};
use super::words::plural;

/// Why a command did not do it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The admin API could not be reached, or refused.
    Call(ClientError),
    /// What was typed cannot be meant.
    Usage {
        /// What, and where.
        what: String,
        /// What next.
        hint: String,
    },
    /// Something else went wrong.
    Other {
        /// What, and where.
        what: String,
        /// What next.
        hint: Option<String>,
    },
    /// A file is not good.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problems: Vec<Problem>,
    },
    /// Somebody looked away before the end: nothing has failed, and nothing is known to be done.
    Left(String),
    /// The results could not be printed.
    Output(io::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other { what: format!("{error:#}"), hint: None }
    }
}

impl Failure {
    /// A failure with advice.
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Other { what: what.into(), hint: Some(hint.into()) }
    }

    /// What was typed cannot be meant, with advice.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: hint.into() }
    }

    /// 1 refused or failed, 2 wrong usage, 3 cannot reach it, 130 left by Ctrl-C, as shells have it. Who reads only the first lines is not failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Call(error) if error.is_unreachable() => ExitCode::from(3),
            Self::Usage { .. } => ExitCode::from(2),
            Self::Left(_) => ExitCode::from(130),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    /// Says it on the standard error.
    pub(crate) fn tell(&self) {
        let text = self.render(Paint::of(&io::stderr()));
        if !text.is_empty() {
            eprint!("{text}");
        }
    }

    /// What people read.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let (what, hints) = match self {
            Self::Call(error) => (error.to_string(), advice(error)),
            Self::Usage { what, hint } => (what.clone(), vec![hint.clone()]),
            Self::Other { what, hint } => (what.clone(), hint.iter().cloned().collect()),
            Self::File { path, problems } => {
                let number = plural(problems.len() as u64, "problem", "problems");
                let lines = problems.iter().map(|problem| in_file(path, problem)).collect();
                (format!("{number} in {}", path.display()), lines)
            }
            Self::Left(what) => return format!("{what}\n"),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return String::new(),
            Self::Output(error) => (format!("cannot print: {error}"), Vec::new()),
        };
        let mut text = format!("{} {what}\n", paint.apply(Tone::Bad, "error:"));
        for hint in hints {
            let _ = writeln!(text, "  {} {hint}", paint.faint("→"));
        }
        text
    }
}

fn advice(error: &ClientError) -> Vec<String> {
    match error {
        ClientError::Unreachable { .. } => vec![
            "is it running? start it with `tidegate run`, or say where it is with --admin (TIDEGATE_ADMIN)"
                .into(),
        ],
        ClientError::Timeout { .. } => vec!["it may be overloaded; a change may have been made".into()],
        ClientError::Strange { .. } => vec!["--admin is the address of [admin], not of a listener".into()],
        ClientError::Token { .. } => vec!["--token-file (TIDEGATE_TOKEN_FILE) names its file".into()],
        ClientError::Refused { status, problem } => refusal(*status, problem),
    }
}

fn refusal(status: u16, problem: &Value) -> Vec<String> {
    let problems = problem.get("problems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut advice: Vec<String> = match problems {
        // The detail has said it already.
        [one] => one.get("hint").and_then(Value::as_str).map(str::to_owned).into_iter().collect(),
        many => many.iter().map(one_problem).collect(),
    };
    match status {
        404 => advice.push(
            "`tidegate status` shows splits, pools and endpoints, `tidegate history` generations".into(),
        ),
        409 if problem["detail"].as_str().is_some_and(|detail| detail.contains("\"force\": true")) => {
            advice.push("on the command line that is --force".into());
        }
        401 => advice.push("name the file with the token with --token-file (TIDEGATE_TOKEN_FILE)".into()),
        403 => advice.push("use a loopback address, or add the host to admin.allowed_hosts".into()),
        412 => advice.push("somebody changed it meanwhile: look at `tidegate status`, then try again".into()),
        _ => {}
    }
    advice
}

/// A problem on one line: `weights.x: there is no pool `x`; did you mean `y`?`.
fn one_problem(problem: &Value) -> String {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut line = text("path").map(|path| format!("{path}: ")).unwrap_or_default();
    line.push_str(text("message").unwrap_or("not valid"));
    if let Some(hint) = text("hint") {
        line.push_str("; ");
        line.push_str(hint);
    }
    line
}

/// A problem with its place, as editors and CI systems read it.
fn in_file(file: &Path, Problem { path, line, message, hint }: &Problem) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}{line}: {path}{message}{hint}", file.display())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_says_what_and_what_next() {
        let target = "http://127.0.0.1:9900".parse().expect("a target");
        let cases = [
            (
                Failure::Call(ClientError::Unreachable { target, why: "connection refused".into() }),
                "error: cannot reach Tidegate at http://127.0.0.1:9900: connection refused\n  \
                 → is it running? start it with `tidegate run`, or say where it is with --admin (TIDEGATE_ADMIN)\n",
            ),
            (
                Failure::Call(ClientError::Refused {
                    status: 422,
                    problem: json!({
                        "detail": "weights.x: no such pool",
                        "problems": [{ "path": "weights.x", "message": "no such pool", "hint": "is it `y`?" }],
                    }),
                }),
                "error: weights.x: no such pool\n  → is it `y`?\n",
            ),
            (
                Failure::Call(ClientError::Refused {
                    status: 422,
                    problem: json!({
                        "detail": "weights.x: no such pool (and 1 more)",
                        "problems": [
                            { "path": "weights.x", "message": "no such pool", "hint": "is it `y`?" },
                            { "path": "", "message": "the sum is 0" },
                        ],
                    }),
                }),
                "error: weights.x: no such pool (and 1 more)\n  \
                 → weights.x: no such pool; is it `y`?\n  → the sum is 0\n",
            ),
            (
                Failure::Call(ClientError::Refused { status: 412, problem: json!({ "title": "Stale" }) }),
                "error: Stale\n  → somebody changed it meanwhile: look at `tidegate status`, then try again\n",
            ),
            (
                Failure::Call(ClientError::Refused {
                    status: 409,
                    problem: json!({ "detail": "it runs; abort it, or send \"force\": true" }),
                }),
                "error: it runs; abort it, or send \"force\": true\n  → on the command line that is --force\n",
            ),
            (Failure::Left("it goes on".into()), "it goes on\n"),
            (Failure::new("no such file", "write one"), "error: no such file\n  → write one\n"),
            (Failure::Output(io::ErrorKind::BrokenPipe.into()), ""),
        ];
        for (failure, text) in cases {
            assert_eq!(failure.render(Paint::plain()), text);
        }
    }

    #[test]
    fn exit_codes_tell_unreachable_from_refused() {
        let target = "http://127.0.0.1:1".parse().expect("a target");
        let unreachable = Failure::Call(ClientError::Unreachable { target, why: String::new() });
        assert_eq!(unreachable.exit_code(), ExitCode::from(3));
        let refused = Failure::Call(ClientError::Refused { status: 409, problem: Value::Null });
        assert_eq!(refused.exit_code(), ExitCode::FAILURE);
        assert_eq!(Failure::Output(io::ErrorKind::BrokenPipe.into()).exit_code(), ExitCode::SUCCESS);
    }
}
