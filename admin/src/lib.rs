//! Tidegate's control plane: the admin API, the watched file, and what survives a restart.
//!
//! Everything that changes something goes through [`Control`]: work out, write down, swap, tell.
//! Nothing here touches a request on its way; the data plane only reads the tables published here.
//! The crate knows no pingora, so all of it is tested without a proxy.

mod access;
pub mod ask;
mod board;
mod body;
mod call;
pub mod client;
pub mod clock;
mod config;
mod control;
mod controller;
mod error;
pub mod events;
mod explain;
mod history;
mod hook;
mod keeper;
mod metrics;
mod openapi;
mod pool_controller;
mod pool_rollouts;
mod pools;
pub mod process;
mod rollouts;
mod router;
mod routes;
mod serve;
mod smoke;
mod source;
mod splits;
mod status;
mod store;
mod tick;
pub mod tls;
mod watch;
pub mod wire;

pub use control::{By, Control, Options, Prepared, Reloaded, Reloads, StartError, problems_of_files};
pub use controller::control_rollouts;
pub use pool_controller::control_pool_rollouts;
pub use serve::{Bound, bind, private_socket, remove_stale_socket, serve};
pub use source::{Env, describe};
pub use tick::tick;
pub use watch::watch;

#[cfg(test)]
mod tests;
