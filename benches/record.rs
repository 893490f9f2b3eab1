//! What is counted of each request: its answer, its charge, that it is in flight, and what a rollout
//! is judged by.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use tidegate_core::cell::{EndpointCell, InFlight, PoolCell};
use tidegate_core::health::Status;
use tidegate_core::ledger::{Ended, Ledger, Side, Spec};
use tidegate_core::pick::Entropy;
use tidegate_core::record::{Charges, Failure, Tally};

const ANSWERED: Ended = Ended { failure: None, us: Some(12_345) };
const FAILED: Ended = Ended { failure: Some(Failure::Timeout), us: Some(12_345) };

/// One request of a rollout, from the choice of its pool to its end; users and sides are drawn.
fn count(ledger: &Ledger, entropy: &mut Entropy, keyed: bool, ended: Ended) -> bool {
    let word = entropy.next_u64();
    let side = if word & 1 == 0 { Side::Candidate } else { Side::Baseline };
    let ticket = ledger.begin(side, keyed.then_some(word), black_box(1_000), entropy.next_u64());
    ledger.end(ticket, black_box(ended))
}

fn of_ledger(group: &mut BenchmarkGroup<'_, WallTime>) {
    let ledger = Ledger::new(Spec { stuck_after_ms: 10_000, max_us: Some(50_000) });
    ledger.set_ratio_limit_us(Some(20_000));
    for (name, keyed, ended) in
        [("keyed", true, ANSWERED), ("keyless", false, ANSWERED), ("keyed_failing", true, FAILED)]
    {
        let mut entropy = Entropy::new(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| count(&ledger, &mut entropy, keyed, ended));
        });
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut entropy = Entropy::new(2);
            while !over.load(Relaxed) {
                count(&ledger, &mut entropy, true, ANSWERED);
            }
        });
        let mut entropy = Entropy::new(1);
        group.bench_function("keyed_against_another_thread", |bencher| {
            bencher.iter(|| count(&ledger, &mut entropy, true, ANSWERED));
        });
        over.store(true, Relaxed);
    });
    group.bench_function("tick", |bencher| bencher.iter(|| ledger.tick(black_box(1_000))));
}

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
    let endpoint =
        Arc::new(EndpointCell::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(), Status::Up));
    group.bench_function("in_flight", |bencher| {
        bencher.iter(|| InFlight::new(Arc::clone(&pool), Arc::clone(&endpoint)));
    });
    group.finish();
    let mut group = criterion.benchmark_group("ledger");
    of_ledger(&mut group);
    group.finish();
    criterion.final_summary();
}
