//! `tidegate shift`: other weights for some pools of a split.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate_core::units::{MAX_WEIGHT, Span, is_name};

use super::connection::{Connection, Intent};
use super::failure::Failure;
use super::weights::Before;

/// Change the weights of a split; pools not named keep theirs.
///
/// The change is refused if somebody else changes the split at the same time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tidegate shift checkout stable=90 canary=10 --ttl 1h --reason 'try 10 %'")]
pub(super) struct Arguments {
    /// The split.
    split: String,
    /// A pool and its weight, from 0 to 1000000; a share is a weight divided by the sum.
    #[arg(required = true, value_name = "POOL=WEIGHT", value_parser = parse)]
    weights: Vec<(String, u64)>,
    /// Let the file's weights return after this time.
    #[arg(long, value_name = "TIME")]
    ttl: Option<Span>,
    /// Abort a rollout that decides over the weights.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(pool) = named_twice(&arguments.weights) {
        return Err(Failure::usage(format!("pool `{pool}` is named twice"), "give each pool one weight"));
    }
    let before = Before::of(&arguments.connection, &arguments.split).await?;
    let weights = shifted(&before.split().weights, &arguments.weights);
    let ttl = arguments.ttl.map(|ttl| ttl.to_string());
    let more = [("ttl", ttl.map(Value::from)), ("force", arguments.force.then_some(true.into()))];
    before.put(&weights, more, &arguments.intent).await
}

fn named_twice(named: &[(String, u64)]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    named.iter().map(|(pool, _)| pool.as_str()).find(|pool| !seen.insert(*pool))
}

fn shifted(now: &BTreeMap<String, u64>, named: &[(String, u64)]) -> BTreeMap<String, u64> {
    let mut weights = now.clone();
    weights.extend(named.iter().cloned());
    weights
}

fn parse(text: &str) -> Result<(String, u64), String> {
    let (pool, weight) = text.split_once('=').ok_or("write POOL=WEIGHT, as in canary=10")?;
    if !is_name(pool) {
        return Err(format!("`{pool}` cannot be the name of a pool"));
    }
    let weight: u64 = weight.parse().map_err(|_| format!("`{weight}` is not a whole number"))?;
    if weight > u64::from(MAX_WEIGHT) {
        return Err(format!("a weight is at most {MAX_WEIGHT}"));
    }
    Ok((pool.to_owned(), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_not_named_keep_their_weight() {
        let now = BTreeMap::from([("stable".into(), 95), ("canary".into(), 5)]);
        let after = shifted(&now, &[("canary".into(), 0), ("green".into(), 7)]);
        let expected = [("stable", 95), ("canary", 0), ("green", 7)];
        assert_eq!(after, expected.map(|(pool, weight)| (pool.to_owned(), weight)).into());
    }

    #[test]
    fn a_pool_has_one_weight() {
        let named = |pools: &[&str]| pools.iter().map(|pool| ((*pool).to_owned(), 1)).collect::<Vec<_>>();
        assert_eq!(named_twice(&named(&["stable", "canary"])), None);
        assert_eq!(named_twice(&named(&["stable", "canary", "stable"])), Some("stable"));
    }

    #[test]
    fn weights_read() {
        assert_eq!(parse("canary=10"), Ok(("canary".into(), 10)));
        for text in ["canary", "canary=", "canary=-1", "canary=1.5", "canary=1000001", "=1", "a b=1", "a=1=2"]
        {
            assert!(parse(text).is_err(), "{text} must be refused");
        }
    }
}
