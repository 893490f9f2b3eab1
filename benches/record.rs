//! What is counted of each request: its answer, its charge, and that it is in flight.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use tidegate_core::cell::{EndpointCell, InFlight, PoolCell};
use tidegate_core::health::Status;
use tidegate_core::record::{Charges, Failure, Tally};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("record");
    let (tally, charges) = (Tally::default(), Charges::default());
    group.bench_function("tally", |bencher| bencher.iter(|| tally.add(black_box(200), black_box(12_345))));
    group.bench_function("charge", |bencher| bencher.iter(|| charges.add(black_box(None))));
    group.bench_function("charge_failure", |bencher| {
        bencher.iter(|| charges.add(black_box(Some(Failure::Timeout))));
    });
    let pool = Arc::new(PoolCell::default());
    let endpoint = Arc::new(EndpointCell::new(([127, 0, 0, 1], 1).into(), Status::Up));
    group.bench_function("in_flight", |bencher| {
        bencher.iter(|| InFlight::new(Arc::clone(&pool), Arc::clone(&endpoint)));
    });
    group.finish();
    criterion.final_summary();
}
