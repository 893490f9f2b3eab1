//! Everything that changes weights, endpoints and drains, over seeds, against a simple model.
//!
//! The model writes the rule "the newer intent wins" down in the plainest way, and keeps a full copy
//! of what was in force with each generation instead of a history of differences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::*;
use crate::pick::Entropy;

type InForce = (BTreeMap<String, Weights>, BTreeMap<String, BTreeMap<String, u32>>);

/// A runtime value: what the file said, what holds, and until when on both clocks.
#[derive(Clone, Debug)]
struct Put<T> {
    base: T,
    value: T,
    ends: Option<Now>,
}

/// What the file says.
#[derive(Clone, Debug, Default)]
struct File {
    splits: BTreeMap<String, Weights>,
    routes: BTreeMap<String, Weights>,
    pools: BTreeMap<String, BTreeMap<String, u32>>,
}

#[derive(Default)]
struct Model {
    file: File,
    weights: BTreeMap<String, Put<Weights>>,
    endpoints: BTreeMap<String, Put<BTreeMap<String, u32>>>,
    drained_pools: BTreeSet<String>,
    drained: BTreeSet<(String, String)>,
    earlier: BTreeMap<String, Weights>,
    /// By generation, from 1.
    past: Vec<InForce>,
}

impl File {
    fn random(entropy: &mut Dice) -> Self {
        let mut file = Self::default();
        for pool in ["p", "q", "z"] {
            // Sometimes z is not there.
            if pool != "z" || entropy.below(3) > 0 {
                file.pools.insert(pool.into(), entropy.endpoints());
            }
        }
        let pools: Vec<String> = file.pools.keys().cloned().collect();
        for split in ["a", "b", "c"] {
            if entropy.below(5) > 0 {
                file.splits.insert(split.into(), entropy.weights(&pools));
            }
        }
        for route in ["r", "s"] {
            if entropy.below(4) > 0 {
                file.routes.insert(route.into(), entropy.weights(&pools));
            }
        }
        file
    }

    fn text(&self) -> String {
        let weights = |weights: &Weights| {
            weights.iter().map(|(p, w)| format!("{p} = {w}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        for (pool, endpoints) in &self.pools {
            let endpoints: Vec<String> = endpoints
                .iter()
                .map(|(address, weight)| format!("{{ address = '{address}', weight = {weight} }}"))
                .collect();
            writeln!(text, "[pools.{pool}]\nendpoints = [{}]", endpoints.join(", ")).unwrap();
        }
        for (split, value) in &self.splits {
            writeln!(text, "[splits.{split}]\nweights = {{ {} }}", weights(value)).unwrap();
        }
        for (route, value) in &self.routes {
            writeln!(text, "[[routes]]\nname = '{route}'\nweights = {{ {} }}", weights(value)).unwrap();
        }
        text
    }

    fn weights(&self, split: &str) -> Option<&Weights> {
        self.splits.get(split).or_else(|| self.routes.get(split))
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.splits.keys().chain(self.routes.keys())
    }
}

/// Few values, so that the same ones come up again.
struct Dice(Entropy);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn of<'a, T: ?Sized>(&mut self, values: &[&'a T]) -> &'a T {
        values[usize::try_from(self.below(values.len() as u64)).unwrap()]
    }

    fn weights(&mut self, pools: &[String]) -> Weights {
        let mut weights: Weights = BTreeMap::new();
        while weights.values().all(|weight| *weight == 0) {
            let pool = &pools[usize::try_from(self.below(pools.len() as u64)).unwrap()];
            weights.insert(pool.clone(), u32::try_from(self.below(3)).unwrap());
        }
        weights
    }

    fn endpoints(&mut self) -> BTreeMap<String, u32> {
        let picked: BTreeSet<u64> = (0..self.below(3)).map(|_| 1 + self.below(3)).collect();
        picked
            .into_iter()
            .map(|port| (format!("127.0.0.1:{port}"), 1 + u32::try_from(port % 2).unwrap()))
            .collect()
    }

    fn ttl(&mut self) -> Option<Span> {
        (self.below(3) == 0).then(|| Span::ms(500 * (1 + self.below(4))))
    }
}

impl Model {
    fn in_force(&self) -> InForce {
        let weights = self.file.names().map(|split| {
            let put = self.weights.get(split).map(|put| &put.value);
            (split.clone(), put.or(self.file.weights(split)).unwrap().clone())
        });
        let endpoints = self.file.pools.iter().map(|(pool, file)| {
            (pool.clone(), self.endpoints.get(pool).map_or(file, |put| &put.value).clone())
        });
        (weights.collect(), endpoints.collect())
    }

    /// A change is made: notes what was before, and keeps a copy of what is.
    fn publish(&mut self, before: Option<&InForce>) {
        let now = self.in_force();
        for (split, weights) in before.map(|b| &b.0).into_iter().flatten() {
            if now.0.get(split).is_some_and(|now| now != weights) {
                self.earlier.insert(split.clone(), weights.clone());
            }
        }
        self.drained_pools.retain(|pool| now.1.contains_key(pool));
        self.drained.retain(|(pool, address)| now.1.get(pool).is_some_and(|e| e.contains_key(address)));
        self.past.push(now);
    }

    fn put_weights(&mut self, split: &str, value: Weights, ends: Option<Now>) -> bool {
        let Some(base) = self.file.weights(split) else { return false };
        let known = value.keys().all(|pool| self.file.pools.contains_key(pool));
        if known && value.values().any(|weight| *weight > 0) {
            self.weights.insert(split.into(), Put { base: base.clone(), value, ends });
            return true;
        }
        false
    }

    fn put_endpoints(&mut self, pool: &str, value: BTreeMap<String, u32>, ends: Option<Now>) -> bool {
        let Some(base) = self.file.pools.get(pool) else { return false };
        self.endpoints.insert(pool.into(), Put { base: base.clone(), value, ends });
        true
    }

    fn load(&mut self, file: File) {
        self.file = file;
        let file = &self.file;
        self.weights.retain(|split, put| {
            file.weights(split) == Some(&put.base) && put.value.keys().all(|p| file.pools.contains_key(p))
        });
        self.endpoints.retain(|pool, put| file.pools.get(pool) == Some(&put.base));
        self.earlier.retain(|split, _| file.weights(split).is_some());
    }

    /// Whether all of it can be put back; then it is.
    fn restore(&mut self, generation: u64) -> bool {
        let Some(then) =
            usize::try_from(generation).ok().and_then(|g| self.past.get(g.checked_sub(1)?)).cloned()
        else {
            return false;
        };
        let now = self.in_force();
        let differ: Vec<_> = then
            .0
            .into_iter()
            .filter(|(split, value)| now.0.get(split).is_some_and(|n| n != value))
            .collect();
        if differ.iter().any(|(_, value)| value.keys().any(|pool| !self.file.pools.contains_key(pool))) {
            return false;
        }
        for (split, value) in differ {
            assert!(self.put_weights(&split, value, None));
        }
        for (pool, value) in then.1 {
            if now.1.get(&pool).is_some_and(|n| *n != value) {
                self.put_endpoints(&pool, value, None);
            }
        }
        true
    }

    fn is_over(ends: Option<Now>, now: Now) -> bool {
        ends.is_some_and(|ends| ends.mono_ms <= now.mono_ms)
    }

    fn expire(&mut self, now: Now) {
        self.weights.retain(|_, put| !Self::is_over(put.ends, now));
        self.endpoints.retain(|_, put| !Self::is_over(put.ends, now));
    }

    /// A restart: what has ended on the wall clock is gone, the rest ends as much later from now.
    fn restart(&mut self, file: File, now: Now) {
        let later = |ends: &mut Option<Now>| {
            if let Some(ends) = ends {
                ends.mono_ms = now.mono_ms + ends.wall_ms.saturating_sub(now.wall_ms);
            }
        };
        self.weights.values_mut().for_each(|put| later(&mut put.ends));
        self.endpoints.values_mut().for_each(|put| later(&mut put.ends));
        self.expire(now);
        self.load(file);
    }
}

fn seen(running: &Running) -> InForce {
    let snapshot = running.live.snapshot();
    let weights = snapshot.named_splits().map(|split| {
        let weighted = split.members.iter().filter_map(|m| Some((m.name.to_string(), m.weight?)));
        (split.name.to_string(), weighted.collect())
    });
    let endpoints = snapshot.pools.iter().map(|pool| {
        let endpoints = pool.endpoints.iter().map(|e| (e.address().to_string(), e.weight));
        (pool.name.to_string(), endpoints.collect())
    });
    (weights.collect(), endpoints.collect())
}

fn agree(running: &Running, model: &Model, what: &str) {
    assert_eq!(seen(running), model.in_force(), "{what}");
    let snapshot = running.live.snapshot();
    assert_eq!(snapshot.generation, model.past.len() as u64, "{what}");
    for pool in &snapshot.pools {
        assert_eq!(pool.draining.is_some(), model.drained_pools.contains(&*pool.name), "{what}");
        for endpoint in &pool.endpoints {
            let key = (pool.name.to_string(), endpoint.address().to_string());
            assert_eq!(endpoint.draining.is_some(), model.drained.contains(&key), "{what}: {key:?}");
        }
    }
    let state = running.live.view().state;
    assert!(state.weights.keys().eq(model.weights.keys()), "{what}");
    assert!(state.endpoints.keys().eq(model.endpoints.keys()), "{what}");
    assert_eq!(state.earlier, model.earlier, "{what}");
    let over = model.weights.values().map(|p| p.ends).chain(model.endpoints.values().map(|p| p.ends));
    let over = over.into_iter().any(|ends| Model::is_over(ends, running.now));
    assert_eq!(running.live.has_expired(running.now), over, "{what}");
}

fn ends(now: Now, ttl: Option<Span>) -> Option<Now> {
    let later = |ttl: Span| Now { mono_ms: now.mono_ms + ttl.as_ms(), wall_ms: now.wall_ms + ttl.as_ms() };
    ttl.map(later)
}

/// One random change, and whether the model makes it.
fn one(dice: &mut Dice, running: &Running, model: &mut Model) -> (Change, bool) {
    let pools = ["p", "q", "z"].map(str::to_owned);
    let split = dice.of(&["a", "b", "c", "r", "s"]).to_owned();
    let pool = dice.of(&["p", "q", "z"]).to_owned();
    match dice.below(9) {
        0 | 1 => {
            let (weights, ttl) = (dice.weights(&pools), dice.ttl());
            let made = model.put_weights(&split, weights.clone(), ends(running.now, ttl));
            (Change::SetWeights { split, weights, ttl, force: false }, made)
        }
        2 => {
            let (endpoints, ttl) = (dice.endpoints(), dice.ttl());
            let made = model.put_endpoints(&pool, endpoints.clone(), ends(running.now, ttl));
            let endpoints = endpoints
                .into_iter()
                .map(|(address, weight)| Endpoint::Table(EndpointTable { address, weight }))
                .collect();
            (Change::SetEndpoints { pool, endpoints, ttl }, made)
        }
        3 => {
            let mut weights = model.in_force().0.get(&split).cloned().unwrap_or_default();
            let made = weights.contains_key(&pool);
            if made {
                for (name, weight) in &mut weights {
                    *weight = if *name == pool { 100 } else { 0 };
                }
                model.put_weights(&split, weights, None);
            }
            (Change::Cutover { split, to: pool, min_healthy: 1, bake: None, force: true }, made)
        }
        4 => {
            let earlier = model.earlier.get(&split).cloned();
            let made = earlier.is_some_and(|weights| model.put_weights(&split, weights, None));
            (Change::Revert { split }, made)
        }
        5 | 6 => {
            let generation = dice.below(model.past.len() as u64 + 2);
            let made = model.restore(generation);
            (Change::Restore { generation }, made)
        }
        7 => drain(dice, model, pool),
        _ => {
            let file = File::random(dice);
            let change = Change::Reload(testing::config(&file.text()));
            model.load(file);
            (change, true)
        }
    }
}

/// A drain or its end, of a pool or an endpoint.
fn drain(dice: &mut Dice, model: &mut Model, pool: String) -> (Change, bool) {
    let port = 1 + dice.below(3);
    let endpoint = (dice.below(2) == 0).then(|| format!("127.0.0.1:{port}"));
    let known = |address: &String| model.in_force().1.get(&pool).is_some_and(|e| e.contains_key(address));
    let made = model.file.pools.contains_key(&pool) && endpoint.as_ref().is_none_or(known);
    let parsed = endpoint.as_ref().map(|address| address.parse().unwrap());
    let drain = dice.below(2) == 0;
    if made {
        match (&endpoint, drain) {
            (Some(address), true) => drop(model.drained.insert((pool.clone(), address.clone()))),
            (Some(address), false) => drop(model.drained.remove(&(pool.clone(), address.clone()))),
            (None, true) => drop(model.drained_pools.insert(pool.clone())),
            (None, false) => {
                model.drained_pools.remove(&pool);
                model.drained.retain(|(of, _)| *of != pool);
            }
        }
    }
    let change = if drain {
        Change::Drain { pool, endpoint: parsed, timeout: None }
    } else {
        Change::Undrain { pool, endpoint: parsed }
    };
    (change, made)
}

#[test]
fn the_newer_intent_wins_and_every_generation_can_be_restored() {
    for seed in 0..120 {
        let mut dice = Dice(Entropy::new(seed));
        let mut model = Model { file: File::random(&mut dice), ..Model::default() };
        let mut running = Running::start(&model.file.text());
        model.publish(None);
        for step in 0..60 {
            let what = format!("seed {seed} step {step}");
            running.pass(100 * dice.below(4));
            if dice.below(10) == 0 {
                // The wall clock jumps either way.
                running.now.wall_ms = running.now.wall_ms + dice.below(3_000) - 1_500;
            }
            let before = model.in_force();
            if running.live.has_expired(running.now) && dice.below(3) > 0 {
                running.apply(Change::Expire).unwrap();
                model.expire(running.now);
                model.publish(Some(&before));
            } else if dice.below(15) == 0 {
                let file = if dice.below(2) == 0 { model.file.clone() } else { File::random(&mut dice) };
                running.restart(&file.text());
                model.restart(file, running.now);
                model.publish(Some(&before));
            } else {
                let (change, made) = one(&mut dice, &running, &mut model);
                let what = format!("{what}: {change:?}");
                let applied = running.apply(change);
                assert_eq!(applied.is_ok(), made, "{what}: {:?}", applied.err());
                if made {
                    model.publish(Some(&before));
                }
            }
            agree(&running, &model, &what);
        }
    }
}
