//! Many threads against one that ticks: each request is counted exactly once.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::pick::Entropy;

const THREADS: u64 = 4;
const REQUESTS: u64 = 30_000;
/// Short, and the threads' clock is far behind: most of what is not ended at once is found stuck.
const SPEC: Spec = Spec { stuck_after_ms: 1, max_us: Some(500) };

/// What threads know of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    begun: u64,
    ended: u64,
    failed: u64,
    timed: u64,
    over_max: u64,
    excluded: u64,
    /// Those that the ledger said had been counted as stuck.
    stuck: u64,
}

impl Known {
    fn add(&mut self, more: Self) {
        self.begun += more.begun;
        self.ended += more.ended;
        self.failed += more.failed;
        self.timed += more.timed;
        self.over_max += more.over_max;
        self.excluded += more.excluded;
        self.stuck += more.stuck;
    }
}

fn failed(first: bool) -> Ended {
    Ended { failure: (!first).then_some(Failure::Reset), us: first.then_some(1_000) }
}

/// Ends a request in one of the ways that there are.
fn finish(ledger: &Ledger, ticket: Ticket, how: u64, known: &mut Known) {
    if how == 0 {
        let first = ledger.exclude(ticket, Excluded::ClientGone);
        known.excluded += u64::from(first);
        known.stuck += u64::from(!first);
        return;
    }
    let ended = failed(how > 2);
    if !ledger.end(ticket, ended) {
        known.stuck += 1;
        return;
    }
    known.ended += 1;
    known.failed += u64::from(ended.failure.is_some());
    known.timed += u64::from(ended.us.is_some());
    known.over_max += u64::from(ended.us.is_some());
}

/// One thread's requests: what it knows of the candidate and the baseline.
fn requests(ledger: &Ledger, clock: &AtomicU64, seed: u64) -> [Known; 2] {
    let mut entropy = Entropy::new(seed);
    let mut known = [Known::default(); 2];
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS {
        let word = entropy.next_u64();
        let side = if word & 1 == 0 { Candidate } else { Baseline };
        let key_hash = (word & 2 == 0).then_some(word);
        let ticket = ledger.begin(side, key_hash, clock.load(Relaxed), entropy.next_u64());
        known[side as usize].begun += 1;
        waiting.push(ticket);
        if word & 4 == 0 {
            let at = usize::try_from(entropy.next_u64() % waiting.len() as u64).expect("small");
            let ticket = waiting.swap_remove(at);
            let side = ticket.side();
            finish(ledger, ticket, entropy.next_u64() % 8, &mut known[side as usize]);
        }
        while waiting.len() > 50 {
            let ticket = waiting.remove(0);
            let side = ticket.side();
            finish(ledger, ticket, entropy.next_u64() % 8, &mut known[side as usize]);
        }
    }
    // Two ticks on, those left are found stuck for certain.
    let now = clock.load(Relaxed);
    while clock.load(Relaxed) < now + 4 {
        std::thread::yield_now();
    }
    for ticket in waiting {
        let side = ticket.side();
        finish(ledger, ticket, 5, &mut known[side as usize]);
    }
    known
}

#[test]
fn each_request_is_counted_exactly_once() {
    let ledger = Ledger::new(SPEC);
    let (clock, over) = (AtomicU64::new(1), AtomicBool::new(false));
    let mut known = [Known::default(); 2];
    let mut sums = [Counts::default(); 2];
    let mut add = |tick: Tick| {
        for (sum, more) in sums.iter_mut().zip([tick.candidate, tick.baseline]) {
            assert!(more.failures <= more.requests && more.over_max <= more.timed, "{more:?}");
            *sum += more;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                let (ledger, clock) = (&ledger, &clock);
                scope.spawn(move || requests(ledger, clock, seed))
            })
            .collect();
        let ticking = scope.spawn(|| {
            while !over.load(Acquire) {
                add(ledger.tick(clock.fetch_add(1, Relaxed)));
            }
            // What was given back after its mark is swept up; nothing may be left to find.
            add(ledger.tick(u64::from(u32::MAX)));
        });
        for thread in threads {
            for (sum, more) in known.iter_mut().zip(thread.join().expect("a thread of requests")) {
                sum.add(more);
            }
        }
        over.store(true, Release);
        ticking.join().expect("the thread that ticks");
    });
    for (known, sum) in known.into_iter().zip(sums) {
        assert_eq!(known.begun, known.ended + known.excluded + known.stuck, "{known:?}");
        assert_eq!(sum.requests, known.ended + known.stuck, "{known:?} {sum:?}");
        assert_eq!(sum.failures, known.failed + known.stuck, "{known:?} {sum:?}");
        assert_eq!((sum.timed, sum.over_max), (known.timed, known.over_max));
        assert!(known.stuck > 0 && known.ended > 0 && known.excluded > 0, "all ways were gone: {known:?}");
    }
    let excluded: u64 = ledger.excluded().iter().map(|(_, count)| count).sum();
    assert_eq!(excluded, known.iter().map(|k| k.excluded).sum::<u64>());
    assert_eq!(ledger.candidate.board.taken() + ledger.baseline.board.taken(), 0);
}

/// Ends and sweeps meet over and over on a small board: each request is told of by one of the two, and
/// with its own key, not that of the slot's next.
#[test]
fn an_end_and_a_sweep_that_meet_agree() {
    let board = Board::of(8);
    let over = AtomicBool::new(false);
    let requests = |thread: u64| {
        let mut marked = Vec::new();
        for n in 0..20 * REQUESTS {
            let key = n * THREADS + thread;
            let slot = board.enter(Some(key), 0, key, 0);
            let is_watched = slot.is_some();
            if !board.leave(slot) {
                assert!(is_watched);
                marked.push(key);
            }
        }
        marked
    };
    let (mut stuck, mut marked) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let sweeping = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Acquire) {
                board.sweep(100, 1, |key, _| seen.push(key.expect("all have keys")));
            }
            seen
        });
        let threads: Vec<_> = (0..2).map(|thread| scope.spawn(move || requests(thread))).collect();
        for thread in threads {
            marked.extend(thread.join().expect("a thread of requests"));
        }
        over.store(true, Release);
        stuck = sweeping.join().expect("the thread that sweeps");
    });
    stuck.sort_unstable();
    marked.sort_unstable();
    assert!(stuck == marked, "{} told of, {} marked", stuck.len(), marked.len());
}

#[test]
fn nothing_is_lost_between_takes_and_no_part_comes_apart() {
    let (pair, over) = (Pair::default(), AtomicBool::new(false));
    let mut sums = [0; 2];
    let (mut added, mut is_torn) = (0, false);
    std::thread::scope(|scope| {
        let add = || {
            let mut added = 0;
            while !over.load(Relaxed) {
                pair.add(true, true);
                added += 1;
            }
            added
        };
        let threads = [scope.spawn(add), scope.spawn(add)];
        let mut take = || {
            let (all, parts) = pair.take();
            is_torn |= all != parts;
            sums = [sums[0] + all, sums[1] + parts];
            all > 0
        };
        // Those that find something run beside one that adds; with one processor few do.
        let found = (0..100 * REQUESTS).filter(|_| take()).take(20_000).count();
        over.store(true, Relaxed);
        added = threads.into_iter().map(|thread| thread.join().expect("a thread that adds")).sum();
        take();
        assert!(found > 0);
    });
    assert_eq!((sums, is_torn), ([added; 2], false));
}

/// All threads let the same users fail, at the same time.
#[test]
fn a_user_fails_for_the_first_time_once() {
    let users = Users::new();
    let failed = Came { failed: true, ..Came::default() };
    let note = |side: Side| {
        let mut sums = [0u64; 3];
        for user in 0..65_536u64 {
            let adds = users.note(Some(user << 48), side, failed, 1);
            for (sum, holds) in sums.iter_mut().zip([adds.user, adds.failed_user, adds.failed_key]) {
                *sum += u64::from(holds);
            }
        }
        sums
    };
    let mut sums = [0; 3];
    std::thread::scope(|scope| {
        let threads = [Candidate, Baseline, Candidate].map(|side| scope.spawn(move || note(side)));
        for thread in threads {
            for (sum, more) in sums.iter_mut().zip(thread.join().expect("a thread that notes")) {
                *sum += more;
            }
        }
    });
    assert_eq!(sums, [65_536, 65_536, 2 * 65_536]);
}
