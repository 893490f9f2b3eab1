//! Tidegate: a Layer-7 reverse proxy that splits traffic between versions of a service, and moves
//! it safely from one to the other.
//!
//! This is where everything is wired. The path of a request: [`listen`] → [`gateway`] pins the
//! table in [`context`] → `tidegate_core::decide` → [`peer`] → pingora forwards → `record`. The path
//! of a change is `tidegate_admin`'s; [`probe`] and [`drain`] follow the tables it publishes.

mod buffers;
mod cli;
mod context;
mod demo;
mod discover;
mod drain;
mod entropy;
mod express;
mod failure;
mod gateway;
mod headers;
mod listen;
mod mirror;
mod notify;
mod panic;
mod peer;
mod probe;
mod serve;
mod shutdown;
mod telemetry;
mod upgrade;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
