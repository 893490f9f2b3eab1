//! `cargo +nightly fuzz run admin`.
#![no_main]

#[path = "../bodies/admin.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
