//! Bounds, order, and no seat that is lost, also when everything happens at once.

use std::sync::mpsc::{Receiver, channel};

use super::*;

fn pool(most: u32, queue: u32) -> Arc<PoolCell> {
    let pool = Arc::new(PoolCell::default());
    set_bounds(&pool, Bounds { most, queue });
    pool
}

/// Somebody in line, and what is given.
fn join(pool: &Arc<PoolCell>) -> Option<(InLine, Receiver<Seat>)> {
    let (give, given) = channel();
    let place = InLine::join(pool, move |seat| {
        // Whoever has gone wants no seat.
        let _ = give.send(seat);
    })?;
    Some((place, given))
}

#[test]
fn seats_are_bounded_and_given_in_order() {
    let pool = pool(2, 2);
    let mut seats: Vec<Seat> = (0..2).map(|_| Seat::take(&pool).unwrap()).collect();
    assert!(Seat::take(&pool).is_none(), "there is no third");
    let (_first, first) = join(&pool).unwrap();
    let (_second, second) = join(&pool).unwrap();
    assert!(join(&pool).is_none(), "the line is full");
    assert_eq!((pool.gate.taken(), pool.gate.waiting()), (2, 2));
    seats.pop();
    assert!(first.try_recv().is_ok_and(|seat| seat.is_of(&pool)), "the first is let in, and out again");
    assert!(second.try_recv().is_ok(), "and then the second");
    assert_eq!((pool.gate.taken(), pool.gate.waiting()), (1, 0));
    seats.clear();
    assert_eq!(pool.gate.taken(), 0);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let pool = pool(1, 9);
    let seat = Seat::take(&pool).unwrap();
    let (_first, first) = join(&pool).unwrap();
    drop(seat);
    let given = first.try_recv().unwrap();
    assert!(Seat::take(&pool).is_none(), "the seat is that of the one who waited");
    drop(given);
    assert!(Seat::take(&pool).is_some());
}

#[test]
fn without_a_bound_everybody_enters_and_is_counted() {
    let pool = Arc::new(PoolCell::default());
    let seats: Vec<_> = (0..100).map(|_| Seat::take(&pool).unwrap()).collect();
    assert_eq!(pool.gate.taken(), 100);
    set_bounds(&pool, Bounds { most: 5, queue: 1 });
    assert!(Seat::take(&pool).is_none(), "those that are in flight count");
    drop(seats);
    assert!(Seat::take(&pool).is_some());
}

#[test]
fn without_a_queue_nobody_waits() {
    let pool = pool(1, 0);
    let _seat = Seat::take(&pool).unwrap();
    assert!(join(&pool).is_none());
}

#[test]
fn bounds_that_change_let_those_in_for_whom_there_is_room() {
    let pool = pool(1, 9);
    let _seat = Seat::take(&pool).unwrap();
    let waiting: Vec<_> = (0..4).map(|_| join(&pool).unwrap()).collect();
    let seats = || waiting.iter().filter_map(|(_, given)| given.try_recv().ok()).collect::<Vec<_>>();
    set_bounds(&pool, Bounds { most: 3, queue: 0 });
    let some = seats();
    assert_eq!((some.len(), pool.gate.waiting()), (2, 2), "a shorter line keeps those who are in it");
    set_bounds(&pool, Bounds::default());
    assert_eq!((seats().len(), pool.gate.waiting()), (2, 0));
}

#[test]
fn who_leaves_the_line_is_passed_over() {
    let pool = pool(1, 9);
    let seat = Seat::take(&pool).unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| join(&pool).unwrap()).collect();
    drop(waiting.remove(1));
    assert_eq!(pool.gate.waiting(), 2);
    // The second gives nobody a chance to take what it is given: the receiver alone has gone.
    let (place, receiver) = waiting.remove(0);
    drop(receiver);
    drop(seat);
    drop(place);
    assert!(waiting[0].1.try_recv().is_ok(), "a seat that nobody took went on to the next");
    assert_eq!((pool.gate.taken(), pool.gate.waiting()), (0, 0));
}

/// Many at once, some of which go away: never more than the bound, and in the end nobody is left
/// waiting, nor any seat taken.
#[test]
fn none_is_lost_when_all_come_and_go_at_once() {
    const MOST: u32 = 3;
    let pool = pool(MOST, 1_000);
    let highest = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (pool, highest) = (&pool, &highest);
            scope.spawn(move || {
                for turn in 0..500_u32 {
                    let seat = Seat::take(pool).or_else(|| {
                        let (place, given) = join(pool).unwrap();
                        if (thread + turn).is_multiple_of(5) {
                            drop(given);
                            drop(place);
                            return None;
                        }
                        // A lost wake-up would hang here.
                        Some(given.recv().unwrap())
                    });
                    highest.fetch_max(pool.gate.taken(), SeqCst);
                    drop(seat);
                }
            });
        }
    });
    assert!(highest.load(SeqCst) <= MOST, "{highest:?}");
    assert_eq!((pool.gate.taken(), pool.gate.waiting()), (0, 0));
}
