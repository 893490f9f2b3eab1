//! Key to pool: the published hash over few and many pools.

use std::hint::black_box;

use criterion::Criterion;
use tidegate_core::split::{choose, key_hash, pool_hash, salt_seed};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("split");
    for count in [2u32, 5, 20] {
        let pools: Vec<(u64, u32)> =
            (0..count).map(|n| (pool_hash(&format!("pool-{n}")), 100 / (n + 1))).collect();
        let seed = salt_seed("checkout");
        group.bench_function(format!("{count}_pools"), |bencher| {
            bencher.iter(|| choose(key_hash(black_box(b"user-42"), seed), black_box(&pools).iter().copied()));
        });
    }
    group.finish();
    criterion.final_summary();
}
