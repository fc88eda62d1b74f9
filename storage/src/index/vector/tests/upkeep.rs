//! Maintenance beside readers and a writer: nothing is lost, nothing comes back, nobody waits for it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::super::segment::SEGMENT_ROWS;
use super::*;

fn data() -> Data {
    Data::new(16, 20)
}

#[test]
fn a_sealed_segment_takes_late_rows_and_is_sealed_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&data(), no_graph(), dir.path());
    data().fill(&index, (0..SEGMENT_ROWS).filter(|slot| slot % 100 != 0));
    data().fill(&index, SEGMENT_ROWS..SEGMENT_ROWS + 16);
    settle(&index);
    assert_eq!(index.stats().writable_segments, 1, "only the growing segment is in memory");
    index.remove(1);

    data().fill(&index, (0..SEGMENT_ROWS).filter(|slot| slot % 100 == 0));
    assert_eq!(index.stats().writable_segments, 2);
    let found = |index: &VectorIndex, slot: u32| {
        let query = data().vector(u64::from(slot));
        slots(&index.search(&query, 1, &all(20_000), SearchMode::Exact).unwrap())
    };
    assert_eq!(found(&index, 300), [300]);
    assert_ne!(found(&index, 1), [1], "a removed row stays removed through the copy");
    settle(&index);
    assert_eq!(index.stats().writable_segments, 1);
    assert_eq!(found(&index, 300), [300]);
    assert_ne!(found(&index, 1), [1]);
    index.flush().unwrap();
    drop(index);

    let again = open(&data(), no_graph(), dir.path());
    assert_eq!(again.missing(&Bitmap::full(SEGMENT_ROWS + 16)).count(), 0);
    assert_eq!(found(&again, 300), [300]);
}

#[test]
fn a_segment_without_live_rows_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&data(), no_graph(), dir.path());
    data().fill(&index, 0..SEGMENT_ROWS + 600);
    settle(&index);
    (0..SEGMENT_ROWS).for_each(|slot| assert!(index.remove(slot)));
    settle(&index);
    assert_eq!(index.stats().written, 600);
    assert!(!dir.path().join("index/rows-000000.vec").exists());
    let live = {
        let mut live = Bitmap::full(SEGMENT_ROWS + 600);
        (0..SEGMENT_ROWS).for_each(|slot| assert!(live.remove(slot)));
        live
    };
    assert_eq!(index.missing(&live).count(), 0);
}

#[test]
fn a_graph_of_removed_rows_is_built_anew() {
    let config = VectorConfig { graph_min_rows: 1_000, ..VectorConfig::default() };
    let index = VectorIndex::new(data().space(), config).unwrap();
    data().fill(&index, 0..3 * SEGMENT_ROWS);
    settle(&index);
    assert_eq!(index.stats().graph_rows, 3 * SEGMENT_ROWS);
    (0..4_000).for_each(|slot| assert!(index.remove(slot)));
    let answer = index.search(&data().vector(3), 20, &all(60_000), SearchMode::Graph).unwrap();
    assert_eq!(answer.hits.len(), 20);
    assert!(answer.hits.iter().all(|hit| hit.slot >= 4_000));
    settle(&index);
    assert_eq!(index.stats().graph_rows, 3 * SEGMENT_ROWS - 4_000);
}

#[test]
fn a_budget_is_kept_and_the_rest_left_for_later() {
    let config = VectorConfig { graph_min_rows: 1_000, ..VectorConfig::default() };
    let index = VectorIndex::new(data().space(), config).unwrap();
    data().fill(&index, 0..SEGMENT_ROWS);
    assert!(index.maintain(1).unwrap());
    assert_eq!(index.stats().graph_rows, 0);
    let mut calls = 1;
    while index.maintain(100).unwrap() {
        calls += 1;
    }
    assert!(calls >= 20, "2,048 insertions in steps of 100: {calls}");
    assert_eq!(index.stats().graph_rows, SEGMENT_ROWS);
    assert!(!index.maintain(1).unwrap(), "nothing is left to do");
}

#[test]
fn readers_and_the_writer_go_on_while_everything_is_rebuilt() {
    const ROWS: u32 = 3 * SEGMENT_ROWS;
    let dir = tempfile::tempdir().unwrap();
    let config = VectorConfig { graph_min_rows: SEGMENT_ROWS, ..VectorConfig::default() };
    let index = open(&data(), config, dir.path());
    let (added, done) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for slot in 0..ROWS {
                data_of(&index, slot);
                added.store(slot + 1, Ordering::Release);
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                index.maintain(200).unwrap();
            }
        });
        let mut dice = Dice(1);
        while !done.load(Ordering::Acquire) {
            let known = added.load(Ordering::Acquire);
            if known == 0 {
                continue;
            }
            let slot = dice.below(u64::from(known)) as u32;
            let newest = [slot, known - 1];
            for slot in newest {
                let query = own_vector(slot);
                let answer = index.search(&query, 1, &all(ROWS), SearchMode::Exact).unwrap();
                assert_eq!(slots(&answer), [slot], "a row that was added is found");
            }
        }
    });
    settle(&index);
    assert_eq!(index.stats().live, ROWS);
    assert!(index.stats().graph_rows >= SEGMENT_ROWS);
    assert_eq!(index.take_findings(), []);
}

/// Vectors far from each other, so that each is its own nearest beyond doubt.
fn own_vector(slot: u32) -> Vec<f32> {
    let mut dice = Dice(u64::from(slot) << 20);
    (0..16).map(|_| dice.bell()).collect()
}

fn data_of(index: &VectorIndex, slot: u32) {
    assert!(index.add(slot, &own_vector(slot)).unwrap());
}
