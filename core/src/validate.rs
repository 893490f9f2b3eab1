//! Whether a configuration means something: names that exist, sums above zero, one target a route.
//!
//! [`Valid::new`] is the only way to a [`Valid`] configuration, and the only one that
//! `compile` takes. Nothing stops at the first mistake: all problems are listed. The stage before is
//! [`crate::config::read`], which has already checked types, ranges of numbers and leaf formats
//! against the schema, and which adds the lines.
//!
//! The small validators at the end serve the admin API, whose bodies hold parts of a configuration.

pub mod address;
mod condition;
mod edge;
mod findings;
mod not_yet;
pub(crate) mod path;
pub mod pattern;
mod pool;
mod rollout;
mod route;
mod split;
pub mod status;
pub mod text;
pub mod url;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use crate::config::{Config, Endpoint, Hook, Pool, PoolRollout, Rollout};
pub(crate) use findings::MOST_PROBLEMS;
pub use findings::nearest;
use findings::{Findings, Names};

/// One mistake in a configuration, or in the body of a call.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Where, as `routes[2].matches[0].path`.
    pub path: String,
    /// The line in the file, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// A value that has passed validation; only this module makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid<T>(T);

impl<T> Valid<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, to be changed and validated again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Valid<Config> {
    /// A valid configuration, or every problem that [`validate`] finds.
    pub fn new(config: Config) -> Result<Self, Vec<Problem>> {
        let problems = validate(&config);
        if problems.is_empty() { Ok(Self(config)) } else { Err(problems) }
    }
}

impl<T> std::ops::Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Every problem of meaning in `config`, in the order of its sections.
pub fn validate(config: &Config) -> Vec<Problem> {
    let mut problems = not_yet::problems(config);
    problems.extend(meaning(config).into_problems());
    problems
}

fn meaning(config: &Config) -> Findings {
    let mut findings = Findings::default();
    let names = Names::of(config);
    edge::check(config, &mut findings);
    for (name, value) in &config.pools {
        pool::check(name, value, &mut findings);
    }
    for (name, value) in &config.splits {
        split::check(name, value, &names, &mut findings);
    }
    route::check_all(config, &names, &mut findings);
    findings
}

/// The problems of endpoints for a pool, as a body of `PUT /v1/pools/{pool}/endpoints` has them.
pub fn endpoints(pool: &Pool, endpoints: &[Endpoint], path: &str) -> Vec<Problem> {
    let mut findings = Findings::default();
    if let Some(dns) = &pool.dns {
        findings.hinted(
            path,
            format!("the pool's endpoints are what `{dns}` stands for, and cannot be put"),
            "replace `dns` by `endpoints` in the file",
        );
    }
    pool::endpoints(pool, endpoints, path, &mut findings);
    findings.into_problems()
}

/// The problems of a split's weights, as a body of `PUT /v1/splits/{split}/weights` has them.
pub fn weights(weights: &BTreeMap<String, u32>, known_pools: &BTreeSet<&str>, path: &str) -> Vec<Problem> {
    let mut findings = Findings::default();
    split::weights(weights, known_pools, path, &mut findings);
    findings.into_problems()
}

/// The problems of a plan for a split of these weights, as the body that starts a rollout has it.
///
/// `keyed` tells whether the split knows its users: by `key` or by `assign`.
pub fn rollout(plan: &Rollout, weights: &BTreeMap<String, u32>, keyed: bool, path: &str) -> Vec<Problem> {
    let mut findings = Findings::default();
    rollout::check(plan, weights, keyed, path, &mut findings);
    findings.into_problems()
}

/// The problems of hooks in a plan that came with a call. Whoever may call chooses the URL, too: a token
/// file is none but one beside the configuration file, or any file that the process can read could be
/// sent anywhere.
pub fn sent_hooks(hooks: &[Hook]) -> Vec<Problem> {
    let mut findings = Findings::default();
    for (index, hook) in hooks.iter().enumerate() {
        let outside = |file: &String| {
            let mut parts = Path::new(file).components();
            !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        if hook.token_file.as_ref().is_some_and(outside) {
            findings.hinted(
                path::key(&path::index("hooks", index), "token_file"),
                "a plan that is sent may name only a file in the configuration file's folder",
                "write it as a relative path, or put the plan into the file",
            );
        }
    }
    findings.into_problems()
}

/// The problems of a plan for a pool, as the body that starts its rollout has it.
pub fn pool_rollout(plan: &PoolRollout, path: &str) -> Vec<Problem> {
    let mut findings = Findings::default();
    rollout::check_pool(plan, path, &mut findings);
    findings.into_problems()
}
