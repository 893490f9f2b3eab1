//! The rules of writing, checked: they hold for every file, tests and benches too.
//!
//! Reads the tree as it lies on disk (not git's list, so that a file not yet added counts) and reports all
//! breaches at once. The limits only ratchet down. What a compiler or clippy can say is theirs to say.

mod functions;
mod layers;
mod skeleton;
mod walk;

use std::fs;

use crate::exec::Result;
use walk::Found;

const MOST_LINES_OF_A_FILE: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 70;

/// Left over from writing; put together so that this file does not find itself.
const LEFTOVERS: [&str; 3] = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ig", "nore")];

/// Where a test may be left out of the usual suite, if it says why: large sweeps over seeds.
const SWEEPS: &str = "tests/simulation/";

/// Folders of somebody's machine, which have no place in the repository.
const PLACES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Check every file; the error tells how many breaches were printed.
pub(crate) fn run() -> Result {
    let files = walk::files().map_err(|error| format!("reading the tree: {error}"))?;
    let mut breaches = Vec::new();
    let mut rust_files = 0;
    for file in &files {
        let Ok(text) = fs::read_to_string(&file.path) else { continue };
        if file.is_rust() {
            rust_files += 1;
            breaches.extend(rust(file, &text));
        }
        breaches.extend(places(file, &text));
    }
    breaches.extend(layers::core());
    for breach in &breaches {
        println!("    {breach}");
    }
    println!("    {rust_files} Rust files of {} files looked at", files.len());
    if breaches.is_empty() {
        Ok(())
    } else {
        Err(format!("{} breaches of the rules of writing", breaches.len()))
    }
}

/// What is wrong with one Rust file.
fn rust(file: &Found, text: &str) -> Vec<String> {
    let name = &file.name;
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(format!("{name}:1: does not open with //!"));
    }
    if name.ends_with("/mod.rs") {
        breaches.push(format!("{name}: is called mod.rs; it goes beside its folder"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES_OF_A_FILE {
        breaches.push(format!("{name}: {lines} lines, more than {MOST_LINES_OF_A_FILE}"));
    }
    let skeleton = skeleton::of(text);
    for function in functions::of(&skeleton) {
        if function.lines > MOST_LINES_OF_A_FUNCTION {
            let (at, long, most) = (function.first_line, function.lines, MOST_LINES_OF_A_FUNCTION);
            breaches.push(format!("{name}:{at}: fn {} has {long} lines, more than {most}", function.name));
        }
    }
    for (number, line) in skeleton.lines().enumerate() {
        let is_sweep = name.starts_with(SWEEPS) && line.contains(concat!("#[ig", "nore = "));
        for word in LEFTOVERS.iter().filter(|word| line.contains(**word) && !is_sweep) {
            breaches.push(format!("{name}:{}: {word} is left over", number + 1));
        }
    }
    breaches
}

/// Absolute paths of somebody's machine.
fn places(file: &Found, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in PLACES.iter().filter(|place| line.contains(**place)) {
            breaches.push(format!("{}:{}: {place} is a folder of one machine", file.name, number + 1));
        }
    }
    breaches
}
