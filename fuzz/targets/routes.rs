//! `cargo +nightly fuzz run routes`.
#![no_main]

#[path = "../bodies/routes.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
