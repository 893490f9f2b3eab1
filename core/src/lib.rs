//! Tidegate's core: everything that decides, and nothing that acts.
//!
//! No tokio, no pingora, no clock, no file, no socket, no ambient randomness: time, entropy and
//! environment are arguments. Two paths cross in one immutable value, [`snapshot::Snapshot`]:
//! requests *read* it, changes *replace* it.
//!
//! The path of a request: [`request`] → [`route`] → [`split`] → [`pick`], all in [`decide`]; then
//! [`retry`] and [`record`], and the [`ledger`] while a rollout runs. The path of a change:
//! [`config`] → [`validate`] → [`change`] → [`compile`] → [`live`]. The path of evidence: [`ledger`]
//! → [`guard`] → [`rollout`], whose findings are changes.

pub mod action;
pub mod address;
pub mod backoff;
pub mod cell;
pub mod change;
pub mod compile;
pub mod condition;
pub mod config;
pub mod decide;
pub mod edge;
pub mod edit;
pub mod eject;
pub mod event;
pub mod gate;
pub mod guard;
pub mod handover;
pub mod health;
pub mod http1;
pub mod ledger;
pub mod live;
pub mod mirror;
pub mod pick;
pub mod pool;
pub mod pool_rollout;
pub mod recent;
pub mod record;
pub mod request;
pub mod retry;
pub mod rewrite;
pub mod rollout;
pub mod route;
pub mod simulate;
pub mod snapshot;
pub mod split;
pub mod state;
#[cfg(test)]
mod testing;
pub mod units;
pub mod validate;
pub mod waiting;
pub mod warming;
