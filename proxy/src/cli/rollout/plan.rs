//! A plan from a file: TOML with the keys of `[splits.*.rollout]`, or JSON if its name ends so.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_core::config;
use tidegate_core::config::plan_file::{Plan, PlanOf, read_plan};
use tidegate_core::validate::Problem;

use crate::cli::failure::Failure;

/// A plan that was read.
#[derive(Debug)]
pub(super) struct PlanFile {
    path: PathBuf,
    /// As it is sent.
    pub(super) body: Value,
    /// Where its keys are written.
    lines: Option<Plan>,
}

impl PlanFile {
    /// Reads a plan; all mistakes of its shape are told with their lines.
    pub(super) fn read(path: &Path, of_pool: bool) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                format!("{} cannot be read: {error}", path.display()),
                "name a file with a plan; without --plan, the one in the configuration file is started",
            )
        })?;
        Self::parse(path, &text, of_pool)
            .map_err(|problems| Failure::File { path: path.to_owned(), problems })
    }

    fn parse(path: &Path, text: &str, of_pool: bool) -> Result<Self, Vec<Problem>> {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            let body =
                if of_pool { json::<config::PoolRollout>(text) } else { json::<config::Rollout>(text) };
            return Ok(Self { path: path.to_owned(), body: body?, lines: None });
        }
        let of = if of_pool { PlanOf::Pool } else { PlanOf::Split };
        let plan = read_plan(text, of, &|name| std::env::var(name).ok())?;
        Ok(Self { path: path.to_owned(), body: plan.to_json(), lines: Some(plan) })
    }

    /// A refusal of what the plan means, told with the file's lines.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let Failure::Call(tidegate_admin::client::ClientError::Refused { status: 422, problem }) = &failure
        else {
            return failure;
        };
        let text = |problem: &Value, key: &str| problem[key].as_str().map(str::to_owned);
        let found = problem["problems"].as_array().map_or(&[][..], Vec::as_slice).iter();
        let problems: Vec<Problem> = found
            .map(|problem| {
                let path = text(problem, "path").unwrap_or_default();
                let line = self.lines.as_ref().filter(|_| !path.is_empty()).map(|plan| plan.line_of(&path));
                let message = text(problem, "message").unwrap_or_else(|| "not valid".into());
                Problem { path, line, message, hint: text(problem, "hint") }
            })
            .collect();
        if problems.is_empty() { failure } else { Failure::File { path: self.path.clone(), problems } }
    }
}

/// The text as it is, if it can be read as a plan.
fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<Value, Vec<Problem>> {
    let mistake = |error: &serde_json::Error| {
        let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        vec![Problem { path: String::new(), line, message, hint: None }]
    };
    serde_json::from_str::<T>(text).map_err(|error| mistake(&error))?;
    serde_json::from_str(text).map_err(|error| mistake(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, text: &str) -> String {
        let problems = PlanFile::parse(Path::new(name), text, false).expect_err("not good");
        let failure = Failure::File { path: name.into(), problems };
        failure.render(crate::cli::Paint::plain())
    }

    #[test]
    fn mistakes_have_their_file_and_line() {
        assert_eq!(
            told("x.toml", "baseline = \"a\"\ncandidate = \"b\"\n[[steps]]\npercnt = 5\n"),
            "error: 1 problem in x.toml\n  \
             → x.toml:4: steps[0].percnt: unknown key `percnt`; did you mean `percent`?\n"
        );
        let json = told("x.json", "{\n  \"baseline\": \"a\",\n  \"candidat\": \"b\"\n}\n");
        assert!(json.contains("→ x.json:3: unknown field `candidat`, expected one of "), "{json}");
        assert!(told("x.JSON", "baseline = 1").contains("x.JSON:1: expected value"));
    }

    #[test]
    fn what_the_api_refuses_is_told_with_its_line() {
        let text = "baseline = \"a\"\ncandidate = \"b\"\n[[steps]]\npercent = 500\n";
        let Ok(plan) = PlanFile::parse(Path::new("x.toml"), &text.replace("500", "50"), false) else {
            panic!("a good plan")
        };
        let problem = serde_json::json!({ "problems": [
            { "path": "steps[0].percent", "message": "must be 100 at the end", "hint": null },
            { "path": "", "message": "there is a rollout already" },
        ]});
        let refused = tidegate_admin::client::ClientError::Refused { status: 422, problem };
        assert_eq!(
            plan.explain(Failure::Call(refused)).render(crate::cli::Paint::plain()),
            "error: 2 problems in x.toml\n  → x.toml:4: steps[0].percent: must be 100 at the end\n  \
             → x.toml: there is a rollout already\n"
        );
    }
}
