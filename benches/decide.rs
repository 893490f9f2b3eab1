//! One decision (route, split, pick) among few and many routes, in a table of two pools.

use std::hint::black_box;

use criterion::Criterion;
use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::decide::decide;
use tidegate_core::pick::Entropy;
use tidegate_core::state::State;

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod common;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decide");
    let headers = common::headers();
    for routes in [10, 1_000, 10_000] {
        let config = common::config(routes, 95);
        let state = State::default();
        let table = compile(Input { config: &config, state: &state, generation: 1 }, Reuse::Cells(None));
        let host = format!("h{}.example.com", routes / 2 / 2 * 2);
        let path = format!("/p{}/x/cart/items", routes / 2 / 2 * 2 + 1);
        let by_host = common::request(&headers, &host, "/cart/items");
        let by_prefix = common::request(&headers, "shop.example.com", &path);
        let nowhere = common::request(&headers, "shop.example.org", "/cart/items");
        for (name, request, found) in
            [("by_host", by_host, true), ("by_prefix", by_prefix, true), ("no_route", nowhere, false)]
        {
            let mut entropy = Entropy::new(1);
            assert_eq!(decide(&table, &request, 0, &mut entropy).is_some(), found, "{name}");
            group.bench_function(format!("{name}/{routes}"), |bencher| {
                bencher.iter(|| decide(black_box(&table), black_box(&request), 0, &mut entropy));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
