//! What the tests stand on: a real Tidegate process, upstreams and clients on real sockets.
//!
//! Everything is bound on port 0 and told by the one who bound it, so that tests run side by side and in any
//! order. Nothing sleeps to synchronise: what has to happen is polled for, with a bound. The upstreams and
//! the clients are written on raw sockets, so that they can misbehave and can tell a response that was cut
//! from one that ended.

pub(crate) mod api;
pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod config;
pub(crate) mod deployer;
mod dice;
pub(crate) mod echo;
pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod grpc;
pub(crate) mod h2_client;
pub(crate) mod hooks;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod long_lived;
pub(crate) mod modern;
pub(crate) mod names;
pub(crate) mod nginx;
mod patience;
pub(crate) mod rollouts;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod successor;
pub(crate) mod tidegate;
pub(crate) mod upstream;
pub(crate) mod visitors;
pub(crate) mod wire;

pub(crate) use api::Api;
pub(crate) use client::{Client, Fail, Request, Response};
pub(crate) use clients::Clients;
pub(crate) use deployer::Deployer;
pub(crate) use dice::Dice;
pub(crate) use h2_client::H2;
pub(crate) use modern::Modern;
pub(crate) use names::Names;
pub(crate) use patience::{PATIENCE, eventually, within};
pub(crate) use scripted::Scripted;
pub(crate) use tidegate::Tidegate;
pub(crate) use upstream::Upstream;
