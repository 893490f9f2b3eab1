//! Replacing what runs behind a pool, look by look; and what others do meanwhile.

mod changes;

use super::*;
use crate::config::PoolStrategy;
use crate::pool::Usable;
use crate::rollout::Said;
use crate::state::Drains;
use crate::units::Span;

pub(super) fn said(why: Option<&str>) -> Said {
    Said { by: "ann".into(), why: why.map(str::to_owned), at_ms: 7 }
}

pub(super) fn plan(strategy: PoolStrategy) -> config::PoolRollout {
    config::PoolRollout {
        strategy,
        max_unavailable: 1,
        healthy_timeout: Span::secs(100),
        queue: 10,
        queue_timeout: Span::secs(30),
        hooks: Vec::new(),
    }
}

fn address(port: u16) -> Address {
    format!("127.0.0.1:{port}").parse().expect("an address")
}

/// A rollout, what is known of it, and what there is to see.
struct Scene {
    rollout: PoolRollout,
    drains: Drains,
    progress: Progress,
    seen: Seen,
}

impl Scene {
    fn new(plan: config::PoolRollout, endpoints: u16) -> Self {
        let seen = |port| SeenEndpoint {
            address: address(port),
            in_flight: 0,
            usable: Usable::Yes,
            is_healthy: true,
        };
        Self {
            rollout: start(plan, said(None), 20, (1..=endpoints).map(address)),
            drains: Drains::default(),
            progress: Progress::default(),
            seen: Seen {
                now_ms: 1_000,
                is_drained: false,
                drain_ms: 30_000,
                endpoints: (1..=endpoints).map(seen).collect(),
            },
        }
    }

    fn rolling(endpoints: u16) -> Self {
        Self::new(plan(PoolStrategy::Rolling), endpoints)
    }

    fn recreate(endpoints: u16) -> Self {
        Self::new(plan(PoolStrategy::Recreate), endpoints)
    }

    /// One look, whose act is carried out; what it wanted.
    fn look(&mut self) -> Option<Wish> {
        let look = step(&self.rollout, std::mem::take(&mut self.progress), &self.seen);
        self.progress = look.progress;
        if let Some(Wish::Act(act)) = &look.wish {
            self.order(&Order::Found(act.clone())).expect("a finding is carried out");
        }
        look.wish
    }

    /// Carries out an order; what drains or waits is not usable.
    fn order(&mut self, order: &Order) -> Result<(), String> {
        let seen = self.seen.clone();
        let serves =
            |at: &Address| seen.endpoints.iter().any(|one| one.address == *at && one.usable != Usable::No);
        let Ordered { rollout, drains } =
            apply(&self.rollout, self.drains.clone(), order, said(Some("because")), serves)?;
        (self.rollout, self.drains) = (rollout, drains);
        for one in &mut self.seen.endpoints {
            let is_drained =
                self.rollout.holds() || self.drains.endpoints.contains_key(&one.address.to_string());
            one.usable = if is_drained { Usable::No } else { Usable::Yes };
        }
        Ok(())
    }

    fn at(&mut self, port: u16) -> &mut SeenEndpoint {
        &mut self.seen.endpoints[usize::from(port) - 1]
    }

    fn pass(&mut self, ms: u64) {
        self.seen.now_ms += ms;
    }

    fn answer(&mut self, ports: &[u16], result: Result<(), &str>) {
        let addresses: Vec<_> = ports.iter().copied().map(address).collect();
        self.progress.answered(&addresses, result.map_err(str::to_owned), self.seen.now_ms);
    }

    fn stages(&self) -> Vec<&'static str> {
        self.rollout.endpoints.iter().map(|item| item.stage.as_str()).collect()
    }

    fn held(&self) -> Option<(&str, &str)> {
        self.progress.held.as_ref().map(|held| (&*held.by, &*held.why))
    }

    fn drained(&self) -> Vec<&str> {
        self.drains.endpoints.keys().map(String::as_str).collect()
    }

    /// Up to the first call of the hook.
    fn until_called(&mut self) -> Vec<Address> {
        loop {
            match self.look() {
                Some(Wish::Call(addresses)) => return addresses,
                Some(Wish::Act(_)) => {}
                None => panic!("the hook is not called: {:?} {:?}", self.stages(), self.held()),
            }
        }
    }

    fn ended(&self) -> (&'static str, String) {
        let why = self.rollout.ended.as_ref().and_then(|(_, said)| said.why.clone());
        (self.rollout.status().as_str(), why.unwrap_or_default())
    }
}

#[test]
fn endpoints_go_one_after_another() {
    let mut scene = Scene::rolling(2);
    scene.at(1).in_flight = 1;
    assert_eq!(scene.look(), Some(Wish::Act(Act::Take(vec![address(1)]))));
    assert_eq!(scene.drained(), ["127.0.0.1:1"]);
    assert_eq!(scene.look(), None, "what is in flight is waited for");
    scene.at(1).in_flight = 0;
    scene.at(1).is_healthy = false;
    assert_eq!(scene.until_called(), [address(1)]);
    assert_eq!((scene.look(), scene.held()), (None, None), "it is called once");
    scene.answer(&[1], Ok(()));
    assert_eq!(scene.look(), Some(Wish::Act(Act::Await(vec![address(1)]))));
    assert_eq!(scene.look(), None);
    assert_eq!(scene.held(), Some(("health", "not healthy yet: 127.0.0.1:1")));
    scene.at(1).is_healthy = true;
    assert_eq!(scene.look(), Some(Wish::Act(Act::Back(address(1)))));
    assert_eq!((scene.drained().len(), scene.stages()), (0, vec!["replaced", "waiting"]));
    assert_eq!(scene.until_called(), [address(2)]);
    scene.answer(&[2], Ok(()));
    while scene.look().is_some() {}
    assert_eq!(scene.ended(), ("succeeded", String::new()));
    assert_eq!((scene.drained().len(), scene.stages()), (0, vec!["replaced", "replaced"]));
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let mut scene = Scene::rolling(2);
    scene.at(1).in_flight = 1;
    scene.look();
    scene.look();
    scene.pass(30_500);
    assert_eq!(scene.look(), None, "what is left is being cut off");
    scene.pass(500);
    assert_eq!(scene.look(), Some(Wish::Act(Act::Replace(vec![address(1)]))));
}

#[test]
fn so_many_at_once_and_never_the_last_that_is_usable() {
    let two = config::PoolRollout { max_unavailable: 2, ..plan(PoolStrategy::Rolling) };
    let mut scene = Scene::new(two, 3);
    assert_eq!(scene.until_called(), [address(1)]);
    assert_eq!(scene.until_called(), [address(2)]);
    assert_eq!((scene.look(), scene.drained().len()), (None, 2));
    scene.answer(&[2], Ok(()));
    scene.at(1).is_healthy = false;
    assert_eq!(scene.look(), Some(Wish::Act(Act::Await(vec![address(2)]))), "each goes on by itself");
    assert_eq!(scene.look(), Some(Wish::Act(Act::Back(address(2)))));
    // With the second back, the third may go, although the first is still away.
    assert_eq!(scene.look(), Some(Wish::Act(Act::Take(vec![address(3)]))));

    let mut scene = Scene::rolling(2);
    scene.at(2).usable = Usable::No;
    assert_eq!(scene.look(), None);
    assert_eq!(scene.held(), Some(("health", "127.0.0.1:1 is the last endpoint that can be used")));
    scene.at(2).usable = Usable::LastResort;
    assert_eq!(scene.look(), None, "one that was never checked may not serve at all");
    scene.at(2).usable = Usable::Yes;
    assert!(scene.look().is_some());

    let mut scene = Scene::rolling(2);
    (scene.at(1).usable, scene.at(2).usable) = (Usable::No, Usable::No);
    assert!(scene.look().is_some(), "nothing is lost by replacing what is down");
}

#[test]
fn a_hook_is_called_again_and_again_until_it_is_too_late() {
    let mut scene = Scene::rolling(2);
    scene.until_called();
    for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
        scene.answer(&[1], Err("answered 503"));
        scene.pass(wait_ms - 1);
        assert_eq!((scene.look(), scene.held()), (None, Some(("hook", "answered 503"))));
        scene.pass(1);
        assert_eq!(scene.look(), Some(Wish::Call(vec![address(1)])), "after {wait_ms} ms");
    }
    scene.answer(&[1], Err("answered 503"));
    scene.at(1).is_healthy = false;
    scene.pass(37_000);
    assert!(matches!(scene.look(), Some(Wish::Act(Act::Fail { .. }))));
    let why = "the hook did not agree within 1m40s: answered 503; \
               127.0.0.1:1 stays drained: undrain when it serves";
    assert_eq!(scene.ended(), ("aborted", why.into()));
    assert_eq!((scene.drained(), scene.stages()), (vec!["127.0.0.1:1"], vec!["failed", "waiting"]));
    assert_eq!(scene.drains.endpoints["127.0.0.1:1"].rollout, None, "it is an operator's to undrain");
    assert_eq!(scene.look(), None);
}

#[test]
fn what_never_becomes_healthy_stays_drained_and_what_can_serve_comes_back() {
    let two = config::PoolRollout { max_unavailable: 2, ..plan(PoolStrategy::Rolling) };
    let mut scene = Scene::new(two, 3);
    scene.until_called();
    scene.answer(&[1], Ok(()));
    scene.at(1).is_healthy = false;
    scene.at(2).in_flight = 1;
    while scene.look().is_some() {}
    assert_eq!(scene.stages(), ["waiting_healthy", "draining", "waiting"]);
    scene.seen.drain_ms = 500_000;
    scene.pass(100_000);
    scene.look();
    let (state, why) = scene.ended();
    assert_eq!(state, "aborted");
    assert!(why.starts_with("not healthy within 1m40s: 127.0.0.1:1; 127.0.0.1:1 stays drained"), "{why}");
    assert_eq!(
        (scene.drained(), scene.stages()),
        (vec!["127.0.0.1:1"], vec!["failed", "waiting", "waiting"])
    );
}

#[test]
fn a_pause_takes_no_further_endpoint() {
    let mut scene = Scene::rolling(2);
    scene.until_called();
    scene.order(&Order::Pause).expect("it can be paused");
    scene.order(&Order::Pause).expect("also twice");
    scene.answer(&[1], Ok(()));
    while scene.look().is_some() {}
    assert_eq!((scene.rollout.status().as_str(), scene.stages()), ("paused", vec!["replaced", "waiting"]));
    scene.order(&Order::Resume { waive: false }).expect("it can be resumed");
    assert!(scene.order(&Order::Resume { waive: false }).is_err(), "it is not paused any more");
    assert_eq!(scene.until_called(), [address(2)]);
}

#[test]
fn a_resume_goes_on_without_the_hook_that_holds_it() {
    let mut scene = Scene::rolling(2);
    scene.until_called();
    assert!(scene.order(&Order::Resume { waive: false }).is_err(), "no hook was seen to hold it");
    scene.answer(&[1], Err("answered 503"));
    scene.order(&Order::Resume { waive: true }).expect("it can be resumed");
    assert_eq!(scene.look(), Some(Wish::Act(Act::Back(address(1)))));
}

#[test]
fn an_abort_brings_everything_back_at_once() {
    for keep in [vec![], vec![address(1)]] {
        let mut scene = Scene::rolling(2);
        scene.until_called();
        scene.order(&Order::Abort { keep: keep.clone() }).expect("never refused");
        let why = if keep.is_empty() {
            "because"
        } else {
            "because; 127.0.0.1:1 stays drained: undrain when it serves"
        };
        assert_eq!((scene.ended(), scene.drained().len()), (("aborted", why.into()), keep.len()));
        let (before, revision) = (scene.rollout.ended.clone(), scene.rollout.revision);
        scene.order(&Order::Abort { keep }).expect("nor the second time");
        assert_eq!((scene.rollout.ended.clone(), scene.rollout.revision), (before, revision));
        assert!(scene.order(&Order::Pause).is_err() && scene.order(&Order::Resume { waive: true }).is_err());
        scene.answer(&[1], Ok(()));
        assert_eq!(scene.look(), None, "a late answer of the hook changes nothing");
    }
}

#[test]
fn what_an_operator_drains_stays_the_operators() {
    let mut scene = Scene::rolling(2);
    let order =
        crate::state::DrainOrder { timeout_ms: None, actor: "ann".into(), reason: None, rollout: None };
    scene.drains.endpoints.insert("127.0.0.1:1".into(), order);
    scene.at(1).usable = Usable::No;
    assert_eq!(scene.until_called(), [address(1)]);
    scene.answer(&[1], Ok(()));
    scene.look();
    assert_eq!(scene.look(), Some(Wish::Act(Act::Back(address(1)))));
    assert_eq!((scene.drained(), scene.stages()), (vec!["127.0.0.1:1"], vec!["replaced", "waiting"]));
    assert_eq!(scene.look(), None, "with the first drained, the second is the last");
    scene.seen.is_drained = true;
    scene.look();
    assert_eq!(scene.held(), Some(("drain", "an operator drains the pool")));
}

#[test]
fn a_recreate_takes_all_at_once_and_calls_once() {
    let mut scene = Scene::recreate(2);
    assert!(!scene.rollout.holds());
    scene.at(2).in_flight = 1;
    assert_eq!(scene.look(), Some(Wish::Act(Act::Take(vec![address(1), address(2)]))));
    assert!(scene.rollout.holds() && scene.drained().is_empty(), "requests wait, and no drain is ordered");
    assert_eq!(scene.look(), None);
    assert!(scene.order(&Order::Pause).is_err(), "requests wait");
    scene.at(2).in_flight = 0;
    assert_eq!(scene.until_called(), [address(1), address(2)]);
    scene.answer(&[1, 2], Err("answered 500"));
    scene.pass(1_000);
    assert_eq!(scene.until_called(), [address(1), address(2)]);
    (scene.at(1).is_healthy, scene.at(2).is_healthy) = (false, false);
    scene.answer(&[1, 2], Ok(()));
    assert_eq!(scene.look(), Some(Wish::Act(Act::Await(vec![address(1), address(2)]))));
    scene.at(1).is_healthy = true;
    assert_eq!(scene.look(), None, "both served before");
    scene.at(2).is_healthy = true;
    assert_eq!(scene.look(), Some(Wish::Act(Act::Finish { why: None })));
    assert!(!scene.rollout.holds());
    assert_eq!((scene.ended(), scene.stages()), (("succeeded", String::new()), vec!["replaced", "replaced"]));
}

#[test]
fn a_recreate_lets_requests_flow_when_its_time_is_over() {
    for (healthy, state, stages) in
        [(vec![], "aborted", ["failed", "failed"]), (vec![2], "succeeded", ["replaced", "replaced"])]
    {
        let mut scene = Scene::recreate(2);
        scene.until_called();
        scene.answer(&[1, 2], Ok(()));
        scene.at(1).is_healthy = false;
        scene.at(2).is_healthy = healthy == [2];
        while scene.look().is_some() {}
        scene.pass(99_999);
        assert_eq!((scene.look(), scene.rollout.holds()), (None, true));
        scene.pass(1);
        assert!(scene.look().is_some());
        let (ended, why) = scene.ended();
        assert_eq!((ended, scene.stages(), scene.rollout.holds()), (state, stages.to_vec(), false));
        assert!(why.starts_with("not healthy within 1m40s: 127.0.0.1:1"), "{why}");
    }
}

#[test]
fn a_recreate_waits_only_for_what_served_before() {
    let mut scene = Scene::recreate(2);
    scene.at(1).usable = Usable::No;
    scene.at(1).is_healthy = false;
    scene.until_called();
    scene.answer(&[1, 2], Ok(()));
    scene.look();
    assert_eq!(scene.look(), Some(Wish::Act(Act::Finish { why: None })));
}

#[test]
fn nothing_moves_after_a_restart_until_it_is_resumed() {
    let mut scene = Scene::rolling(2);
    scene.until_called();
    scene.rollout.stands_still = true;
    scene.rollout.paused = Some(said(None));
    scene.pass(1_000_000);
    assert_eq!((scene.look(), scene.progress.hands.len()), (None, 0));
    scene.order(&Order::Resume { waive: false }).expect("it can be resumed");
    assert_eq!(scene.until_called(), [address(1)], "the hook is asked again, with all its time");
    assert_eq!(scene.rollout.status().as_str(), "running");
}
