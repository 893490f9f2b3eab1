//! One split of the table, and which splits there are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use http::header::HeaderName;

use super::Input;
use crate::condition::{Conditions, PathTest};
use crate::config::{self, Config};
use crate::ledger::{Ledger, Spec};
use crate::pool::{Pool, PoolId};
use crate::record::Moved;
use crate::rollout::Rollout;
use crate::snapshot::{Key, Member, MemberId, Override, Snapshot, Split, SplitId, Watch};
use crate::split::{pool_hash, salt_seed};
use crate::state::{Weights, file_weights};
use crate::units::Span;

/// A split that the file defines: a named one, that of a route with weights, or the implicit one of
/// a route that names a pool.
pub(super) enum Definition<'a> {
    Named { name: &'a str, written: &'a config::Split },
    OfRoute { name: &'a str, weights: &'a Weights },
    OfPool { pool: &'a str },
}

/// All splits in the order of their ids.
pub(super) struct Definitions<'a> {
    pub(super) list: Vec<Definition<'a>>,
    by_name: AHashMap<&'a str, SplitId>,
    by_pool: AHashMap<&'a str, SplitId>,
}

impl Definitions<'_> {
    /// The split of a route.
    pub(super) fn of_route(&self, route: &config::Route) -> SplitId {
        let named = route.split.as_deref().or_else(|| route.weights.as_ref().map(|_| route.name.as_str()));
        let id = match (named, route.pool.as_deref()) {
            (Some(name), _) => self.by_name.get(name),
            (None, Some(pool)) => self.by_pool.get(pool),
            (None, None) => None,
        };
        *id.expect("validated: a route has a split, weights or a pool")
    }
}

/// Lists the splits that the file defines.
pub(super) fn definitions(config: &Config) -> Definitions<'_> {
    let mut all = Definitions { list: Vec::new(), by_name: AHashMap::new(), by_pool: AHashMap::new() };
    let mut add = |definition, index: &mut dyn FnMut(SplitId)| {
        index(SplitId::try_from(all.list.len()).expect("a file has fewer than 2^32 splits"));
        all.list.push(definition);
    };
    for (name, written) in &config.splits {
        add(Definition::Named { name, written }, &mut |id| {
            all.by_name.insert(name, id);
        });
    }
    let with_weights = config.routes.iter().filter_map(|r| Some((r, r.weights.as_ref()?)));
    for (route, weights) in with_weights {
        add(Definition::OfRoute { name: &route.name, weights }, &mut |id| {
            all.by_name.insert(&route.name, id);
        });
    }
    let pools: BTreeSet<&str> = config.routes.iter().filter_map(|r| r.pool.as_deref()).collect();
    for pool in pools {
        add(Definition::OfPool { pool }, &mut |id| {
            all.by_pool.insert(pool, id);
        });
    }
    all
}

/// The definition of a split that has a name.
pub(super) fn named<'a>(config: &'a Config, name: &'a str) -> Option<Definition<'a>> {
    let of_split = config.splits.get(name).map(|written| Definition::Named { name, written });
    of_split.or_else(|| Some(Definition::OfRoute { name, weights: file_weights(config, name)? }))
}

impl<'a> Definition<'a> {
    /// The split of an earlier table that this one continues.
    pub(super) fn continued<'b>(&self, before: &Before<'b>) -> Option<&'b Arc<Split>> {
        match self {
            Self::Named { name, .. } | Self::OfRoute { name, .. } => before.named.get(name).copied(),
            Self::OfPool { pool } => before.of_pool.get(pool).copied(),
        }
    }

    /// The weights in force.
    fn weights(&self, input: Input<'a>) -> Cow<'a, Weights> {
        let (name, file) = match self {
            Self::Named { name, written } => (name, &written.weights),
            Self::OfRoute { name, weights } => (name, *weights),
            Self::OfPool { pool } => return Cow::Owned(Weights::from([((*pool).to_owned(), 1)])),
        };
        Cow::Borrowed(input.state.weights.get(*name).map_or(file, |kept| &kept.value))
    }
}

/// The splits of an earlier table, by what they are known by.
#[derive(Default)]
pub(super) struct Before<'a> {
    named: AHashMap<&'a str, &'a Arc<Split>>,
    of_pool: AHashMap<&'a str, &'a Arc<Split>>,
}

impl<'a> Before<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut before = Self::default();
        for split in &snapshot.splits {
            match split.members.first() {
                Some(only) if split.name.is_empty() => before.of_pool.insert(&only.name, split),
                _ => before.named.insert(&split.name, split),
            };
        }
        before
    }
}

/// Compiles a split, which takes over the counters of `before`.
pub(super) fn compile<'a>(
    input: Input<'a>,
    definition: &Definition<'a>,
    pools: &[Arc<Pool>],
    before: Option<&Arc<Split>>,
) -> Split {
    let default = config::Split::default();
    let (name, written) = match definition {
        Definition::Named { name, written } => (*name, *written),
        Definition::OfRoute { name, .. } => (*name, &default),
        Definition::OfPool { .. } => ("", &default),
    };
    let weights = definition.weights(input);
    let rollout = input.state.rollouts.get(name);
    let active = rollout.filter(|rollout| rollout.is_active());
    let fallback_names = fallback_names(definition, written, &weights, active);
    let members = members(written, &weights, &fallback_names, pools, before);
    let place = |pool: &str| {
        let at = members.iter().position(|m| &*m.name == pool).expect("members hold every pool named");
        MemberId::try_from(at).expect("validated: a split has few pools")
    };
    let fallback: Vec<MemberId> = fallback_names.iter().map(|n| place(n)).collect();
    let mut split = Split {
        name: name.into(),
        generation: input.generation,
        key: written.key.iter().map(Key::compile).collect(),
        salt_seed: salt_seed(written.salt.as_deref().unwrap_or(name)),
        assign: written.assign.clone(),
        overrides: written.overrides.iter().map(|o| compile_override(o, place(&o.pool))).collect(),
        pool_header: pool_header(written, active),
        rollout: rollout.cloned().map(Arc::new),
        rescue: written.rescue,
        moves: moves(&members, &fallback, before),
        watch: active.and_then(|rollout| watch(rollout, &members, before)),
        fallback,
        members,
    };
    if let Some(before) = before
        && weights_of(before) == weights_of(&split)
        && words_of(before) == words_of(&split)
    {
        split.generation = before.generation;
    }
    split
}

/// The header in which the upstream is told the pool: in an A/B test it is told in any case, since what
/// came of an exposure is mostly known there.
fn pool_header(written: &config::Split, rollout: Option<&Rollout>) -> Option<HeaderName> {
    const EXPOSURE: HeaderName = HeaderName::from_static("x-tidegate-pool");
    let asked = written.pool_header.as_ref().map(|h| h.parse().expect("validated: a header name"));
    let is_ab = rollout.is_some_and(|rollout| rollout.plan.strategy == config::SplitStrategy::Ab);
    asked.or(is_ab.then_some(EXPOSURE))
}

/// What counts for a rollout: the ledger of the table before, if it is the same rollout's.
fn watch(rollout: &Rollout, members: &[Member], before: Option<&Arc<Split>>) -> Option<Watch> {
    let place = |pool: &str| {
        let at = members.iter().position(|m| &*m.name == pool)?;
        MemberId::try_from(at).ok()
    };
    let same = before.filter(|b| b.rollout.as_ref().is_some_and(|before| before.id == rollout.id));
    let ledger = same.and_then(|b| b.watch.as_ref()).map(|watch| Arc::clone(&watch.ledger));
    let guard = &rollout.plan.guard;
    let us = |span: Span| u64::try_from(span.0.as_micros()).unwrap_or(u64::MAX);
    let spec = Spec {
        stuck_after_ms: guard.stuck_after.as_ms(),
        max_us: guard.latency.as_ref().and_then(|latency| latency.max).map(us),
    };
    Some(Watch {
        ledger: ledger.unwrap_or_else(|| Arc::new(Ledger::new(spec))),
        candidate: place(&rollout.plan.candidate)?,
        baseline: place(&rollout.plan.baseline)?,
    })
}

fn compile_override(written: &config::Override, member: MemberId) -> Override {
    Override {
        path: PathTest::compile(written.path.as_ref()),
        conditions: Conditions::of_override(written),
        keys: written.keys.iter().map(|k| k.as_bytes().into()).collect(),
        trusted: written.trusted,
        member,
    }
}

/// The pools tried when the chosen one has no usable endpoint.
fn fallback_names(
    definition: &Definition<'_>,
    written: &config::Split,
    weights: &Weights,
    rollout: Option<&Rollout>,
) -> Vec<String> {
    if let Some(fallback) = &written.fallback {
        return fallback.clone();
    }
    if let Some(rollout) = rollout {
        // Whatever share the candidate has by now, the pool that is known to be good stands in.
        return vec![rollout.plan.baseline.clone()];
    }
    if matches!(definition, Definition::OfPool { .. }) {
        return Vec::new();
    }
    // Of pools that share the largest weight each is one, so that each is there for the others.
    let largest = weights.values().max();
    weights.iter().filter(|(_, weight)| Some(*weight) == largest).map(|(name, _)| name.clone()).collect()
}

/// Every pool that may take a request of the split, sorted by name.
fn members(
    written: &config::Split,
    weights: &Weights,
    fallback: &[String],
    pools: &[Arc<Pool>],
    before: Option<&Arc<Split>>,
) -> Vec<Member> {
    let all = weights.keys().chain(written.overrides.iter().map(|o| &o.pool)).chain(fallback);
    let distinct: BTreeSet<&String> = all.collect();
    distinct
        .into_iter()
        .map(|name| {
            let at = pools.binary_search_by(|p| (*p.name).cmp(name)).expect("validated: the pool exists");
            let known = before.and_then(|b| b.members.iter().find(|m| *m.name == **name));
            Member {
                pool: PoolId::try_from(at).expect("a file has fewer than 2^32 pools"),
                name: Arc::clone(&pools[at].name),
                weight: weights.get(name).copied(),
                hash: pool_hash(name),
                charges: known.map(|m| Arc::clone(&m.charges)).unwrap_or_default(),
            }
        })
        .collect()
}

/// Counters of moves from each member to each fallback, carried over by names.
fn moves(members: &[Member], fallback: &[MemberId], before: Option<&Arc<Split>>) -> Vec<Arc<Moved>> {
    let carried = |from: &str, to: &str| {
        let before = before?;
        let place = |name: &str| {
            let at = before.members.iter().position(|m| &*m.name == name)?;
            MemberId::try_from(at).ok()
        };
        before.moved(place(from)?, place(to)?).cloned()
    };
    let pairs =
        members.iter().flat_map(|from| fallback.iter().map(move |to| (from, &members[usize::from(*to)])));
    pairs.map(|(from, to)| carried(&from.name, &to.name).unwrap_or_default()).collect()
}

fn weights_of(split: &Split) -> Vec<(&str, Option<u32>)> {
    split.members.iter().map(|m| (&*m.name, m.weight)).collect()
}

/// What else was written of a split, in a form that can be compared.
fn words_of(split: &Split) -> String {
    let rollout = split.rollout.as_ref().map(|rollout| (rollout.id, rollout.revision));
    format!(
        "{:?} {} {:?} {:?} {:?} {} {:?} {rollout:?}",
        split.key,
        split.salt_seed,
        split.assign,
        split.overrides,
        split.fallback,
        split.rescue,
        split.pool_header
    )
}
