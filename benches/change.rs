//! A change, from what is wanted to the swap: of all routes, and of one split among them.
//!
//! Each ends with the table before it dropped, as it is when no request is left on it.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use tidegate_core::change::{Change, Now, Request};
use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::live::Live;
use tidegate_core::state::{State, Weights};

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

const ROUTES: usize = 10_000;

fn apply(live: &Live, change: Change) {
    let request = Request { change, actor: "bench".into(), reason: None, if_match: None };
    live.apply(&request, Now::default(), |record| {
        black_box(record);
        Ok(())
    })
    .expect("a good change");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("change");
    let files = [common::config(ROUTES, 95), common::config(ROUTES, 90)];
    let state = State::default();
    group.sample_size(20);
    group.bench_function("compile_10000_routes", |bencher| {
        let input = Input { config: &files[0], state: &state, generation: 1 };
        bencher.iter(|| compile(black_box(input), Reuse::Cells(None)));
    });
    let (live, ..) = Live::start(Arc::clone(&files[0]), &state, VecDeque::new(), Now::default());
    let mut turn = 0;
    group.bench_function("reload_10000_routes", |bencher| {
        bencher.iter(|| {
            turn += 1;
            apply(&live, Change::Reload(Arc::clone(&files[turn % 2])));
        });
    });
    group.sample_size(100);
    for routes in [10, ROUTES] {
        let config = common::config(routes, 95);
        let (live, ..) = Live::start(config, &state, VecDeque::new(), Now::default());
        let mut weight = 0;
        group.bench_function(format!("shift_one_of_{routes}_routes"), |bencher| {
            let wanted = || {
                weight = weight % 1_000 + 1;
                Weights::from([("stable".to_owned(), 1_000), ("canary".to_owned(), weight)])
            };
            bencher.iter_batched(
                wanted,
                |weights| {
                    apply(
                        &live,
                        Change::SetWeights { split: "shop".into(), weights, ttl: None, force: false },
                    );
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    criterion.final_summary();
}
