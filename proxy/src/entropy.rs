//! Seeds for decisions: one stream of random numbers for each thread, begun from the system's.

use std::cell::Cell;

use tidegate_core::pick::Entropy;

thread_local! {
    static STREAM: Cell<Entropy> = Cell::new(Entropy::new(from_system()));
}

/// A seed for one request.
pub(crate) fn seed() -> u64 {
    STREAM.with(|stream| {
        let mut entropy = stream.get();
        let seed = entropy.next_u64();
        stream.set(entropy);
        seed
    })
}

fn from_system() -> u64 {
    // Without the system's randomness the address of a local still differs from run to run.
    getrandom::u64().unwrap_or_else(|_| {
        let local = 0u8;
        (&raw const local).addr() as u64
    })
}
