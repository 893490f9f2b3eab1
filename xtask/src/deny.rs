//! cargo-deny: licences, bans and sources always; advisories when their database can be had.
//!
//! The advisory database is a git repository. Where it cannot be fetched (a build machine without the
//! internet) the step says so and goes on; once fetched, a finding fails the run like anything else.

use std::time::Duration;

use crate::exec::{Ended, Result, cargo, cargo_within};

/// How long the fetch of the advisory database may take.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// What `deny.toml` lays down about licences, layers and where crates come from.
pub(crate) fn law() -> Result {
    cargo(&["deny", "--workspace", "check", "licenses", "bans", "sources"])
}

/// Known vulnerabilities; passes over them only when the database cannot be fetched.
pub(crate) fn advisories() -> Result {
    match cargo_within(&["deny", "fetch", "db"], FETCH_LIMIT) {
        Ended::Well => cargo(&["deny", "--offline", "--workspace", "check", "advisories"]),
        ended @ (Ended::Badly | Ended::Late) => {
            let why = if matches!(ended, Ended::Late) { "took too long" } else { "failed" };
            println!(
                "    NOT CHECKED: fetching the advisory database {why} (no way to github.com from here?)."
            );
            println!("    Run `cargo xtask deny` where the internet can be reached.");
            Ok(())
        }
    }
}
