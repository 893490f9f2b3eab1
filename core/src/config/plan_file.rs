//! A rollout's plan in a file of its own, with the keys of `[splits.*.rollout]` or `[pools.*.rollout]`.
//!
//! Read as the configuration file is, so that every mistake of syntax and of shape has its line. What the
//! plan means is checked where it is started, by [`super::plan`]: only there it is known which pools there
//! are. The paths of those problems find their line here again.

use serde_json::Value as Json;

use super::read::{Shaped, listed, shape};
use super::tree::Node;
use crate::validate::Problem;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanOf {
    /// A split's rollout, [`super::Rollout`].
    Split,
    /// A pool's rollout, [`super::PoolRollout`].
    Pool,
}

/// A plan as it was written.
#[derive(Debug)]
pub struct Plan {
    root: Node,
}

impl Plan {
    /// Its keys as they were written, without the defaults of others.
    pub fn to_json(&self) -> Json {
        self.root.to_json()
    }

    /// The line, from 1, of a path such as `steps[1].percent`, or of what holds it.
    pub fn line_of(&self, path: &str) -> u32 {
        self.root.line_of(path)
    }
}

/// The plan that `text` holds, or every problem of its shape, by line.
///
/// `env` gives the value of an environment variable.
pub fn read_plan(text: &str, of: PlanOf, env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Vec<Problem>> {
    let definition = match of {
        PlanOf::Split => "Rollout",
        PlanOf::Pool => "PoolRollout",
    };
    let Shaped { root, problems, .. } = shape(text, Some(definition), env)?;
    if problems.is_empty() { Ok(Plan { root }) } else { Err(listed(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PoolRollout, Rollout};

    fn read(text: &str, of: PlanOf) -> Result<Plan, Vec<Problem>> {
        read_plan(text, of, &|name| (name == "CANARY").then(|| "canary".to_owned()))
    }

    #[test]
    fn a_plan_is_read_as_in_the_file() {
        let text = "baseline = \"stable\"\ncandidate = \"${CANARY}\"\nmin_requests = 50\n\
                    [[steps]]\npercent = 5\nhold = \"10s\"\n[[steps]]\npercent = 0.5\n\
                    [guard]\nlatency = { quantile = 0.99, max = \"500ms\" }\n";
        let plan = read(text, PlanOf::Split).unwrap_or_else(|problems| panic!("{problems:?}"));
        let meant: Rollout = serde_json::from_value(plan.to_json()).expect("a plan");
        assert_eq!((&*meant.candidate, meant.min_requests, meant.steps.len()), ("canary", 50, 2));
        for (path, line) in [("steps[1].percent", 8), ("guard.latency.max", 10), ("bake", 1), ("", 1)] {
            assert_eq!(plan.line_of(path), line, "{path}");
        }
        let plan = read("strategy = \"rolling\"\n", PlanOf::Pool).unwrap_or_else(|found| panic!("{found:?}"));
        let meant: PoolRollout = serde_json::from_value(plan.to_json()).expect("a plan");
        assert_eq!(meant.max_unavailable, 1);
    }

    #[test]
    fn every_mistake_has_its_line() {
        let text = "baseline = \"stable\"\nsteps = [\n  { percnt = 5 },\n]\nbake = \"soon\"\n";
        let problems = read(text, PlanOf::Split).expect_err("not good");
        let found: Vec<_> = problems.iter().map(|p| (p.line, p.path.as_str())).collect();
        let expected = [(Some(1), "candidate"), (Some(3), "steps[0].percnt"), (Some(5), "bake")];
        assert_eq!(found, expected, "{problems:?}");
        let problems = read("strategy = oops\n", PlanOf::Split).expect_err("not good");
        assert_eq!(problems[0].line, Some(1), "{problems:?}");
        let problems = read("baseline = \"a\"\n", PlanOf::Pool).expect_err("not good");
        assert!(problems.iter().any(|p| p.path == "strategy"), "{problems:?}");
    }
}
