//! Core stays pure: what its `Cargo.toml` may not name.
//!
//! The other layers (axum only under admin, pingora only under proxy) are in `deny.toml`. This one is here,
//! because half the tree depends on tokio and cargo-deny would want all of it listed.

use std::fs;

const MANIFEST: &str = "core/Cargo.toml";

/// Beginnings of names of crates that bring clocks, files, sockets or ambient randomness.
const IMPURE: [&str; 14] = [
    "async-",
    "axum",
    "fs4",
    "getrandom",
    "hyper",
    "mio",
    "notify",
    "pingora",
    "rand",
    "reqwest",
    "socket2",
    "tidegate",
    "tokio",
    "tracing",
];

/// Dependencies that core may not have.
pub(crate) fn core() -> Vec<String> {
    let text = fs::read_to_string(MANIFEST).unwrap_or_default();
    let found = dependencies(&text);
    let impure = found.into_iter().filter(|name| IMPURE.iter().any(|bad| name.starts_with(bad)));
    impure.map(|name| format!("{MANIFEST}: {name} does not belong under core, which is pure")).collect()
}

/// The names under `[dependencies]`; what tests and benches use is their affair.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.starts_with('#') {
            let end = line.find([' ', '.', '=']).unwrap_or(0);
            names.push(&line[..end]);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    //! Only the section of ordinary dependencies counts.
    use super::dependencies;

    #[test]
    fn reads_names_of_one_section() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nhttp.workspace = true\n# a\nserde = \"1\"\n\n[dev-dependencies]\ntokio = \"1\"";
        assert_eq!(dependencies(manifest), ["http", "serde"]);
    }
}
