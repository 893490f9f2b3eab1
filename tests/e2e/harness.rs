//! What the tests stand on: a real Tidegate process, upstreams and clients on real sockets.
//!
//! Everything is bound on port 0 and told by the one who bound it, so that tests run side by side and in any
//! order. Nothing sleeps to synchronise: what has to happen is polled for, with a bound. The upstreams and
//! the clients are written on raw sockets, so that they can misbehave and can tell a response that was cut
//! from one that ended.

pub(crate) mod api;
pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod config;
pub(crate) mod deployer;
pub(crate) mod echo;
pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod grpc;
pub(crate) mod h2_client;
pub(crate) mod hooks;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod long_lived;
pub(crate) mod modern;
pub(crate) mod names;
pub(crate) mod nginx;
mod patience;
pub(crate) mod rollouts;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod successor;
pub(crate) mod tidegate;
pub(crate) mod upstream;
pub(crate) mod visitors;
pub(crate) mod wire;

pub(crate) use api::Api;
pub(crate) use client::{Client, Fail, Request, Response};
pub(crate) use clients::Clients;
pub(crate) use deployer::Deployer;
pub(crate) use h2_client::H2;
pub(crate) use modern::Modern;
pub(crate) use names::Names;
pub(crate) use patience::{PATIENCE, eventually, within};
pub(crate) use scripted::Scripted;
pub(crate) use tidegate::Tidegate;
pub(crate) use upstream::Upstream;

/// A small generator of test data: the same numbers for the same seed, which a failing test prints.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the clock, printed so that a failure can be told apart from the next one.
    pub(crate) fn fresh() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(32);
        println!("seed {seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}
