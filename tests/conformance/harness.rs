//! The real process and the sockets of the end-to-end tests, of which the cases need only a part.
#![expect(dead_code, reason = "the end-to-end tests use the rest")]

#[path = "../e2e/harness/api.rs"]
pub(crate) mod api;
#[path = "../e2e/harness/client.rs"]
pub(crate) mod client;
#[path = "../e2e/harness/logs.rs"]
mod logs;
#[path = "../e2e/harness/names.rs"]
mod names;
#[path = "../e2e/harness/patience.rs"]
mod patience;
#[path = "../e2e/harness/tidegate.rs"]
mod tidegate;
#[path = "../e2e/harness/wire.rs"]
mod wire;

pub(crate) use api::Api;
pub(crate) use patience::{PATIENCE, eventually, within};
pub(crate) use tidegate::Tidegate;
