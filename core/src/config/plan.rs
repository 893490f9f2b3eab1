//! A rollout's plan that came with a call, as JSON: held to what the file is held to, and all that
//! is wrong with it told at once.
//!
//! The stages are those of [`super::read`], without its lines and without the environment: what a
//! caller sends is taken as it stands. Paths start at the plan: `steps[1].percent`.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::schema;
use super::structure::{Report, Walk};
use super::tree::Node;
use super::{PoolRollout, Rollout};
use crate::validate::{self, MOST_PROBLEMS, Problem, path};

/// What keeps a plan from being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPlan {
    /// It holds fields that there are not: the caller means something that would not happen.
    UnknownFields(Vec<Problem>),
    /// All of its values that cannot be.
    Invalid(Vec<Problem>),
}

/// The plan of a rollout for a split of these weights, if it is one.
///
/// `keyed` tells whether the split knows its users. `json` must not nest without bounds.
pub fn rollout(json: &Json, weights: &BTreeMap<String, u32>, keyed: bool) -> Result<Rollout, BadPlan> {
    read("Rollout", json, |plan| validate::rollout(plan, weights, keyed, ""))
}

/// The plan of a rollout for a pool, if it is one.
///
/// `json` must not nest without bounds.
pub fn pool_rollout(json: &Json) -> Result<PoolRollout, BadPlan> {
    read("PoolRollout", json, |plan| validate::pool_rollout(plan, ""))
}

fn read<T: DeserializeOwned>(
    definition: &str,
    json: &Json,
    meaning: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<T, BadPlan> {
    let mut root = Node::of_json(json);
    let Report { mut problems, mended, unknown, .. } =
        Walk::of_json(schema::shared(), &BTreeSet::new()).part(definition, &mut root);
    for problem in &mut problems {
        problem.line = None;
    }
    if !unknown.is_empty() {
        problems.retain(|found| unknown.contains(&found.path));
        return Err(BadPlan::UnknownFields(problems));
    }
    if problems.len() > MOST_PROBLEMS {
        return Err(BadPlan::Invalid(problems));
    }
    let plan: T = match serde_json::from_value(root.to_json()) {
        Ok(plan) => plan,
        // A gap between the schema and the types: our own bug, but a call must not bring us down.
        Err(error) => {
            let message = format!("cannot be read: {error}");
            problems.push(Problem { path: String::new(), line: None, message, hint: None });
            return Err(BadPlan::Invalid(problems));
        }
    };
    let found = meaning(&plan);
    problems.extend(found.into_iter().filter(|p| !mended.iter().any(|mended| path::covers(mended, &p.path))));
    if problems.is_empty() { Ok(plan) } else { Err(BadPlan::Invalid(problems)) }
}

#[cfg(test)]
mod tests;
