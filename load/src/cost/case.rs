//! The cases: Tidegate with one thing more than the plain one has, and what each is compared with.

use super::beside::Beside;
use super::config::{HOSTS, Setting};

/// A case. They are measured, and shown, in this order: what is compared with each other is near each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Plain,
    Routes,
    Reloads,
    Split,
    Changes,
    Guard,
    Metrics,
    Log,
    All,
    NoLane,
    NoLaneAll,
    Bare,
}

/// What a case is.
pub(super) struct Facts {
    /// Its name in the JSON.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// For the page.
    pub(super) meaning: &'static str,
    pub(super) setting: Setting,
    /// Whether a rollout runs whose guard watches each request.
    pub(super) is_guarded: bool,
    /// What goes on beside the load.
    pub(super) beside: Beside,
    /// What it is compared with beside the plain one.
    pub(super) base: Option<Case>,
}

const MANY: Setting = Setting { hosts: HOSTS, ..Setting::PLAIN };
const SPLIT: Setting = Setting { is_split: true, ..Setting::PLAIN };
const NO_LANE: Setting = Setting { has_lane: false, ..Setting::PLAIN };

/// As most are.
const PLAIN: Facts = Facts {
    id: "plain",
    title: "plain",
    meaning: "one route to one pool",
    setting: Setting::PLAIN,
    is_guarded: false,
    beside: Beside::Nothing,
    base: None,
};

impl Case {
    pub(super) const ALL: [Self; 12] = [
        Self::Plain,
        Self::Routes,
        Self::Reloads,
        Self::Split,
        Self::Changes,
        Self::Guard,
        Self::Metrics,
        Self::Log,
        Self::All,
        Self::NoLane,
        Self::NoLaneAll,
        Self::Bare,
    ];

    pub(super) fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.facts().id == id)
    }

    pub(super) fn facts(self) -> Facts {
        match self {
            Self::Plain => PLAIN,
            Self::Routes => Facts {
                id: "routes",
                title: "10,000 routes",
                meaning: "1,000 hosts with 10 path prefixes each; requests go to all hosts in turn",
                setting: MANY,
                ..PLAIN
            },
            Self::Split => Facts {
                id: "split",
                title: "split",
                meaning: "90 to 10 over two pools, sticky by the header `x-user-id`",
                setting: SPLIT,
                ..PLAIN
            },
            Self::Metrics => Facts {
                id: "metrics",
                title: "metrics",
                meaning: "`/metrics` is read once a second; counting itself cannot be turned off, so all cases have it",
                beside: Beside::Scrapes,
                ..PLAIN
            },
            Self::Log => Facts {
                id: "log",
                title: "access log",
                meaning: "a line of JSON for each request, into a file",
                setting: Setting { is_logged: true, ..Setting::PLAIN },
                ..PLAIN
            },
            Self::Bare => Facts {
                id: "bare",
                title: "bare pingora",
                meaning: "not Tidegate, but pingora-proxy and nothing else",
                ..PLAIN
            },
            _ => self.compared(),
        }
    }

    /// Those that have a base of their own, or more than one thing.
    fn compared(self) -> Facts {
        match self {
            Self::Reloads => Facts {
                id: "reloads",
                title: "10,000 routes, reloaded",
                meaning: "the same while its file is replaced once a second by one with 1,000 other routes",
                setting: MANY,
                beside: Beside::Reloads,
                base: Some(Self::Routes),
                ..PLAIN
            },
            Self::Changes => Facts {
                id: "changes",
                title: "split, 100 changes/s",
                meaning: "the split while its weights are changed 100 times a second over the admin API",
                setting: SPLIT,
                beside: Beside::Changes,
                base: Some(Self::Split),
                ..PLAIN
            },
            Self::Guard => Facts {
                id: "guard",
                title: "split, guard",
                meaning: "the split during a rollout that stays at 10 %; all tests of its guard are on",
                setting: SPLIT,
                is_guarded: true,
                base: Some(Self::Split),
                ..PLAIN
            },
            Self::All => Facts {
                id: "all",
                title: "all of these",
                meaning: "10,000 routes to the split, guard, metrics and access log at once",
                setting: Setting { hosts: HOSTS, is_logged: true, ..SPLIT },
                is_guarded: true,
                beside: Beside::Scrapes,
                ..PLAIN
            },
            Self::NoLane => Facts {
                id: "no-lane",
                title: "no lane, plain",
                meaning: "the plain one without the express lane (`server.express = false`)",
                setting: NO_LANE,
                base: Some(Self::Bare),
                ..PLAIN
            },
            _ => Facts {
                id: "no-lane-all",
                title: "no lane, split, guard, metrics",
                meaning: "split, guard and metrics as above, without the express lane",
                setting: Setting { is_split: true, ..NO_LANE },
                is_guarded: true,
                beside: Beside::Scrapes,
                base: Some(Self::Bare),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_again_and_a_guard_has_a_split_to_watch() {
        for case in Case::ALL {
            let facts = case.facts();
            assert_eq!(Case::of(facts.id), Some(case), "{}", facts.id);
            assert!(!facts.is_guarded || facts.setting.is_split, "{}", facts.id);
            assert!(facts.beside != Beside::Changes || facts.setting.is_split, "{}", facts.id);
            assert!(facts.base.is_none_or(|base| base.facts().base.is_none()), "{}", facts.id);
        }
        assert_eq!(Case::of("nothing"), None);
    }
}
