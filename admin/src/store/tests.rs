//! What is read back after a write that was torn, a file that was damaged, a lock that is held.

use std::collections::BTreeMap;

use tidegate_core::state::{Kept, Values};

use super::*;

/// A change that puts this weight, as a record.
fn record(generation: u64) -> Record {
    let weights = BTreeMap::from([("canary".to_owned(), u32::try_from(generation).unwrap_or(0))]);
    let kept = Kept {
        base: BTreeMap::new(),
        value: weights,
        actor: "a".into(),
        reason: None,
        expires_at_ms: None,
        by_rollout: false,
    };
    let state =
        State { generation, weights: BTreeMap::from([("checkout".to_owned(), kept)]), ..State::default() };
    let entry = Entry {
        generation,
        time_ms: generation,
        action: "set_weights".into(),
        actor: "a".into(),
        reason: None,
        before: Values::default(),
        after: Values::default(),
        verdict: None,
    };
    Record { state, entry }
}

fn open(folder: &Path) -> (Store, Recovered) {
    Store::open(folder, 7).expect("a folder that can be used")
}

/// A folder in memory where there is one: the tests are of what is written, not of a disk.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A folder with a snapshot up to generation 1 and a journal of `count` records after it.
fn folder_with(count: u64) -> tempfile::TempDir {
    let folder = temporary();
    let (mut store, _) = open(folder.path());
    store.append_and_snapshot(&record(1)).expect("written");
    for generation in 2..2 + count {
        store.append(&record(generation)).expect("written");
    }
    folder
}

/// Whether the state is that of exactly one generation.
fn is_whole(recovered: &Recovered) -> bool {
    let generation = recovered.state.generation;
    let history: Vec<u64> = recovered.history.iter().map(|entry| entry.generation).collect();
    recovered.state == record(generation).state && history == (1..=generation).collect::<Vec<_>>()
}

fn is_empty(recovered: &Recovered) -> bool {
    recovered.state.weights.is_empty() && recovered.history.is_empty()
}

#[test]
fn what_was_appended_is_recovered() {
    let folder = folder_with(5);
    let (mut store, recovered) = open(folder.path());
    assert_eq!(recovered.state.generation, 6);
    assert!(is_whole(&recovered));
    store.append(&record(7)).expect("written");
    drop(store);
    assert_eq!(open(folder.path()).1.state.generation, 7);
}

#[test]
fn a_journal_cut_at_any_byte_gives_a_state_that_was() {
    let folder = folder_with(4);
    let path = folder.path().join(JOURNAL);
    let whole = std::fs::read(&path).expect("it is there");
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).expect("written");
        let (mut store, recovered) = open(folder.path());
        let lines = ends.iter().filter(|end| **end <= cut).count();
        let expected = u64::try_from(lines.max(1)).expect("few");
        assert_eq!(recovered.state.generation, expected, "cut at {cut}");
        assert!(is_whole(&recovered), "cut at {cut}");
        // The next change is not lost behind what was torn.
        store.append(&record(expected + 1)).expect("written");
        drop(store);
        let (_, again) = open(folder.path());
        assert!(again.state.generation == expected + 1 && is_whole(&again), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    for name in [SNAPSHOT, JOURNAL] {
        let folder = folder_with(2);
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).expect("it is there");
        let others: Vec<_> = [SNAPSHOT, JOURNAL]
            .map(|file| (file, std::fs::read(folder.path().join(file)).expect("it is there")))
            .into();
        for at in 0..whole.len() {
            for bit in [0, 3, 7] {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                for (file, content) in &others {
                    std::fs::write(folder.path().join(file), content).expect("written");
                }
                std::fs::write(&path, &flipped).expect("written");
                let (_, recovered) = open(folder.path());
                assert!(is_whole(&recovered) || is_empty(&recovered), "{name}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_block_that_was_never_written_is_a_torn_append() {
    let folder = folder_with(2);
    let path = folder.path().join(JOURNAL);
    let mut content = std::fs::read(&path).expect("it is there");
    content.extend([0; 100]);
    content.push(b'\n');
    std::fs::write(&path, &content).expect("written");
    let (_, recovered) = open(folder.path());
    assert!(recovered.state.generation == 3 && is_whole(&recovered));
}

#[test]
fn a_newer_version_is_kept_aside() {
    let folder = folder_with(2);
    let path = folder.path().join(SNAPSHOT);
    std::fs::write(&path, "tidegate state 2\nwho knows\n").expect("written");
    let (_, recovered) = open(folder.path());
    assert!(is_empty(&recovered));
    assert_eq!(recovered.state.generation, 3, "generations go on");
    for name in ["snapshot.bad-7", "journal.bad-7"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn the_journal_is_folded() {
    let folder = folder_with(0);
    let (mut store, _) = open(folder.path());
    for generation in 2..2 + 1_200 {
        store.append(&record(generation)).expect("written");
    }
    drop(store);
    let journal = std::fs::read_to_string(folder.path().join(JOURNAL)).expect("it is there");
    assert!(journal.lines().count() < 502, "{} lines", journal.lines().count());
    let (_, recovered) = open(folder.path());
    assert_eq!(recovered.state, record(1_201).state);
    assert_eq!(recovered.history.len(), HISTORY_LIMIT);
}

#[test]
fn a_crash_between_snapshot_and_new_journal_loses_and_repeats_nothing() {
    let folder = folder_with(3);
    let journal = std::fs::read(folder.path().join(JOURNAL)).expect("it is there");
    let (mut store, _) = open(folder.path());
    store.fold().expect("written");
    drop(store);
    std::fs::write(folder.path().join(JOURNAL), journal).expect("written");
    let (_, recovered) = open(folder.path());
    assert!(recovered.state.generation == 4 && is_whole(&recovered));
}

#[test]
fn a_failed_append_leaves_nothing_behind() {
    let folder = folder_with(1);
    let (mut store, _) = open(folder.path());
    let good = store.fail();
    assert!(store.append(&record(3)).is_err());
    assert!(store.append(&record(3)).is_err());
    store.heal(good);
    // Half a record, as a write that ran out of space leaves it.
    store.journal.write_all(b"0123abcd {\"half").expect("written");
    store.append(&record(3)).expect("written");
    drop(store);
    let (_, recovered) = open(folder.path());
    assert!(recovered.state.generation == 3 && is_whole(&recovered));
}

#[test]
fn a_folder_is_for_one_process() {
    let folder = temporary();
    let (store, _) = open(folder.path());
    assert!(Store::open(folder.path(), 7).is_err_and(|why| why.contains("another process")));
    drop(store);
    open(folder.path());
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert!(Store::open(&file, 7).is_err(), "not a folder");
}
