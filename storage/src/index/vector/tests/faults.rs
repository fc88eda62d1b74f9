//! The same index on a disk that loses power, space or bits: it serves on, and after a restart it has what it should or
//! asks for it.

use std::path::PathBuf;

use runtime::disk::faulty::{Fault, FaultyDisk, Loss, When};

use super::super::segment::SEGMENT_ROWS;
use super::*;

const ROWS: u32 = 2 * SEGMENT_ROWS + 500;

fn data() -> Data {
    Data::new(8, 10)
}

fn open_on(disk: &FaultyDisk) -> Result<VectorIndex, VectorError> {
    VectorIndex::open(data().space(), no_graph(), disk.shared(), PathBuf::from("/index"))
}

fn exact(index: &VectorIndex) -> Vec<Answer> {
    let answer = |seed| index.search(&data().vector(seed), 10, &all(ROWS), SearchMode::Exact);
    (1 << 40..(1 << 40) + 5).map(|seed| answer(seed).unwrap()).collect()
}

/// Adds rows with upkeep in between, then flushes; stops at the first error of the disk.
fn fill_with_upkeep(index: &VectorIndex) -> Result<(), VectorError> {
    for start in (0..ROWS).step_by(400) {
        data().fill(index, start..ROWS.min(start + 400));
        while index.maintain(1_000)? {}
    }
    index.flush()
}

/// Restarts on a sound disk; whatever is missing is asked for, and then the answers are right.
fn recovers(disk: &FaultyDisk, expected: &[Answer], what: &str) -> u32 {
    disk.clear_faults();
    disk.power_on();
    let index = open_on(disk).unwrap();
    settle(&index);
    let missing = index.missing(&Bitmap::full(ROWS));
    data().fill(&index, missing.iter());
    assert!(exact(&index) == expected, "{what}");
    missing.count()
}

fn expected() -> Vec<Answer> {
    let index = VectorIndex::new(data().space(), no_graph()).unwrap();
    data().fill(&index, 0..ROWS);
    exact(&index)
}

#[test]
fn power_may_be_cut_inside_any_operation() {
    let expected = expected();
    let (mut cuts, mut kept) = (0, 0);
    for seed in 0..48 {
        let disk = FaultyDisk::new(seed);
        let loss = [Loss::All, Loss::Prefix, Loss::Subset, Loss::Torn][seed as usize % 4];
        disk.inject(Fault::PowerCut(loss), When::Nth(1 + seed), "");
        if let Ok(index) = open_on(&disk) {
            cuts += u32::from(fill_with_upkeep(&index).is_err());
        }
        kept += ROWS - recovers(&disk, &expected, &format!("seed {seed}"));
    }
    assert!(cuts > 20 && kept > 0, "{cuts} cuts while it ran, {kept} rows kept");
}

#[test]
fn bits_flipped_on_the_way_to_the_disk_are_found_at_the_next_start() {
    let expected = expected();
    let mut asked = 0;
    for seed in 0..24 {
        let disk = FaultyDisk::new(seed);
        disk.inject(Fault::FlipWrite, When::PerMillion(150_000), ".tmp");
        let index = open_on(&disk).unwrap();
        fill_with_upkeep(&index).ok();
        drop(index);
        asked += recovers(&disk, &expected, &format!("seed {seed}"));
    }
    assert!(asked > 0, "no flip ever hit a row");
}

#[test]
fn a_full_disk_is_reported_and_the_index_serves_from_memory() {
    let disk = FaultyDisk::new(1);
    let index = open_on(&disk).unwrap();
    disk.inject(Fault::Enospc, When::PerMillion(1_000_000), "");
    data().fill(&index, 0..ROWS);
    let error = loop {
        if let Err(error) = index.maintain(1_000) {
            break error;
        }
    };
    assert!(matches!(&error, VectorError::File { .. }), "{error}");
    assert!(exact(&index) == expected());
    disk.clear_faults();
    settle(&index);
    index.flush().unwrap();
    assert_eq!(recovers(&disk, &expected(), "after space was made"), 0);
}
