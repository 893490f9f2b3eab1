//! The admin API as its callers see it: over a real socket, one file a subject.

mod access;
mod config;
mod events;
mod explain;
mod harness;
mod inputs;
mod metrics;
mod plans;
mod pool_rollouts;
mod pools;
mod rollouts;
mod splits;
mod state;
