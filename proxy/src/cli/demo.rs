//! `tidegate demo`: the flags; what it does is in [`crate::demo`].

use std::process::ExitCode;

use tidegate_core::units::Span;

use super::failure::Failure;

/// Watch traffic being split: two versions of a small shop, visitors, the proxy and the admin API,
/// all in this process and on loopback.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after this time; without it, run until Ctrl-C.
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// The admin API's port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 9900)]
    admin_port: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    crate::demo::run(crate::demo::Plan {
        duration: arguments.duration.map(|span| span.0),
        admin_port: arguments.admin_port,
    })
}
