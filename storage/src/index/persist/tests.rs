//! Generations against damage, crashes and failing disks, on the disk that fails on purpose.

use std::path::Path;

use proptest::prelude::*;
use runtime::disk::faulty::{Fault, FaultyDisk, Loss, When};

use super::*;
use crate::index::{
    Attributes, Audiences, Change, Filter, Hit, Query, RecallIndex, Scratch,
    attributes::tests::attributes, prepare,
};

const STORE: StoreIdentity = [7; 16];
const DIR: &str = "index";
const WORDS: [&str; 8] = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta"];

fn folder(disk: &FaultyDisk) -> IndexFolder {
    IndexFolder::new(Arc::new(disk.clone()), PathBuf::from(DIR), STORE)
}

/// A memory whose text and attributes follow from its row.
fn put(rowid: i64) -> Change {
    let word = |n: i64| WORDS[(rowid.wrapping_mul(n) % 8) as usize];
    let (audience, tags) = ((rowid % 3) as u32, vec![(rowid % 5) as u32]);
    Change::Put {
        rowid,
        attributes: Attributes { audience, tags, created_ms: rowid, ..Attributes::default() },
        prepared: prepare(word(1), &format!("{} {} row{rowid}", word(3), word(5)), []),
    }
}

fn grow(index: &RecallIndex, position: u64, rows: std::ops::Range<i64>) {
    index.apply(position, rows.map(put).collect()).unwrap();
}

/// Everything a search can show: hits of many queries under two filters, and the set of visible slots.
fn shown(snapshot: &Snapshot) -> (Vec<Vec<Hit>>, Vec<u32>) {
    let mut scratch = Scratch::default();
    let narrow = Filter::new(Audiences::new(vec![1]), 0).any_tag([1, 2]).any_validity();
    let wide = Filter::new(Audiences::new((0..9).collect()), 0).any_validity();
    let mut hits = Vec::new();
    for words in WORDS.windows(2).map(|pair| pair.join(" ")) {
        let query = Query::parse(&words);
        hits.push(snapshot.search(&query, &narrow, 20, &mut scratch));
        hits.push(snapshot.search(&query, &wide, 20, &mut scratch));
    }
    (hits, snapshot.prefilter(&wide).iter().collect())
}

fn loaded(folder: &IndexFolder, store_position: u64) -> RecallIndex {
    match folder.open(store_position) {
        Opened::Loaded(loaded) => {
            assert_eq!(loaded.position, loaded.index.position());
            loaded.index
        }
        other => panic!("the index should have been loaded: {other:?}"),
    }
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_stored_opens_equal_and_goes_on_alike(
        batches in proptest::collection::vec(proptest::collection::vec((0i64..40, attributes(), any::<bool>()), 1..12), 1..12),
        later in proptest::collection::vec((0i64..40, attributes(), any::<bool>()), 1..12),
    ) {
        let change = |(rowid, attributes, whole): (i64, Attributes, bool)| match put(rowid) {
            Change::Put { prepared, .. } if whole => Change::Put { rowid, attributes, prepared },
            _ if rowid % 4 == 0 => Change::Remove { rowid },
            _ => Change::Restate { rowid, attributes },
        };
        let disk = FaultyDisk::new(1);
        let first = RecallIndex::new(9);
        let mut position = 0;
        for batch in batches {
            position += 1;
            first.apply(position, batch.into_iter().map(change).collect()).unwrap();
            if position % 4 == 1 {
                folder(&disk).save(first.snapshot()).unwrap();
            }
        }
        folder(&disk).save(first.snapshot()).unwrap();
        let kept = folder(&disk);
        let second = loaded(&kept, position);
        let later: Vec<Change> = later.into_iter().map(change).collect();
        for step in 0..2 {
            let (a, b) = (first.snapshot(), second.snapshot());
            prop_assert_eq!(shown(&a), shown(&b));
            prop_assert_eq!((a.position(), a.slots(), a.live(), a.lineage()), (b.position(), b.slots(), b.live(), b.lineage()));
            for slot in 0..a.slots() {
                prop_assert_eq!(a.attributes(slot), b.attributes(slot));
                prop_assert_eq!((a.rowid(slot), a.is_alive(slot)), (b.rowid(slot), b.is_alive(slot)));
            }
            if step == 0 {
                let one = first.apply(position + 1, later.clone());
                prop_assert_eq!(one, second.apply(position + 1, later.clone()));
            }
        }
        kept.save(second.snapshot()).unwrap();
        prop_assert_eq!(shown(&loaded(&folder(&disk), position + 1).snapshot()), shown(&first.snapshot()));
    }
}

#[test]
fn any_changed_byte_of_any_file_is_noticed() {
    let disk = FaultyDisk::new(1);
    let index = RecallIndex::new(1);
    grow(&index, 1, 1..40);
    grow(&index, 2, 40..60);
    folder(&disk).save(index.snapshot()).unwrap();
    for name in files(&disk) {
        let path = Path::new(DIR).join(&name);
        let len = disk.dump(&path).unwrap().len();
        for at in 0..len {
            disk.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let opened = folder(&disk).open(2);
            assert!(matches!(opened, Opened::Corrupt { .. }), "byte {at} of {name}: {opened:?}");
            disk.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
        }
        for cut in [0, 1, len / 2, len - 1] {
            let whole = disk.dump(&path).unwrap();
            disk.tamper(&path, |bytes| bytes.truncate(cut));
            assert!(matches!(folder(&disk).open(2), Opened::Corrupt { .. }), "{name} cut at {cut}");
            disk.tamper(&path, |bytes| *bytes = [&whole[..], b"x"].concat());
            assert!(matches!(folder(&disk).open(2), Opened::Corrupt { .. }), "{name} grown");
            disk.tamper(&path, |bytes| *bytes = whole.clone());
        }
    }
    assert_eq!(shown(&loaded(&folder(&disk), 2).snapshot()), shown(&index.snapshot()));
}

#[test]
fn files_that_were_swapped_or_removed_are_noticed() {
    let disk = FaultyDisk::new(1);
    let index = RecallIndex::new(1);
    grow(&index, 1, 1..40);
    folder(&disk).save(index.snapshot()).unwrap();
    let names = files(&disk);
    let path = |at: usize| Path::new(DIR).join(&names[at]);
    assert_eq!(names.len(), 3, "attributes, segments, manifest");
    let (a, b) = (disk.dump(&path(0)).unwrap(), disk.dump(&path(1)).unwrap());
    disk.tamper(&path(0), |bytes| *bytes = b.clone());
    assert!(matches!(folder(&disk).open(1), Opened::Corrupt { .. }));
    disk.tamper(&path(0), |bytes| *bytes = a.clone());
    disk.remove(&path(1)).unwrap();
    assert!(matches!(folder(&disk).open(1), Opened::Corrupt { .. }));
}

#[test]
fn an_index_of_another_store_or_of_the_future_is_stale() {
    let disk = FaultyDisk::new(1);
    assert!(matches!(folder(&disk).open(0), Opened::Missing));
    let index = RecallIndex::new(1);
    grow(&index, 5, 1..9);
    folder(&disk).save(index.snapshot()).unwrap();
    assert!(matches!(folder(&disk).open(4), Opened::Stale { .. }));
    let other = IndexFolder::new(Arc::new(disk.clone()), PathBuf::from(DIR), [8; 16]);
    assert!(matches!(other.open(5), Opened::Stale { .. }));
    assert_eq!(loaded(&folder(&disk), 6).position(), 5);
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_generation() {
    for (seed, loss) in (1..).zip(Loss::LOSSY.into_iter().chain([Loss::None])) {
        let (mut old, mut new) = (0, 0);
        for at in 1.. {
            let disk = FaultyDisk::new(seed * 1000 + at);
            let index = RecallIndex::new(1);
            grow(&index, 1, 1..30);
            let kept = folder(&disk);
            kept.save(index.snapshot()).unwrap();
            let before = shown(&index.snapshot());
            grow(&index, 2, 20..45);
            let after = shown(&index.snapshot());
            disk.inject(Fault::PowerCut(loss), When::Nth(at), "");
            let saved = kept.save(index.snapshot());
            let struck = disk.is_off();
            disk.clear_faults();
            disk.power_on();
            let again = loaded(&folder(&disk), 2);
            if again.position() == 1 {
                old += 1;
                assert!(saved.is_err(), "a finished save was lost");
                assert_eq!(shown(&again.snapshot()), before);
            } else {
                new += 1;
                assert_eq!(shown(&again.snapshot()), after);
            }
            // Whatever was left over, the next save works and tidies up.
            folder(&disk).save(index.snapshot()).unwrap();
            assert_eq!(shown(&loaded(&folder(&disk), 2).snapshot()), after);
            assert_eq!(files(&disk).len(), 3);
            if !struck {
                break;
            }
        }
        assert!(old > 5 && new > 1, "{loss:?}: {old} old, {new} new");
    }
}

#[test]
fn a_failing_disk_fails_the_save_and_keeps_the_generation() {
    for fault in [Fault::WriteEio, Fault::Enospc, Fault::SyncEio] {
        for at in 1.. {
            let disk = FaultyDisk::new(at);
            let index = RecallIndex::new(1);
            grow(&index, 1, 1..30);
            let kept = folder(&disk);
            kept.save(index.snapshot()).unwrap();
            let before = shown(&index.snapshot());
            grow(&index, 2, 20..45);
            disk.inject(fault, When::Nth(at), "");
            let failed = kept.save(index.snapshot()).is_err();
            disk.clear_faults();
            let again = loaded(&folder(&disk), 2);
            if again.position() == 1 {
                assert!(failed);
                assert_eq!(shown(&again.snapshot()), before);
            }
            kept.save(index.snapshot()).unwrap();
            disk.power_loss(Loss::All);
            assert_eq!(loaded(&folder(&disk), 2).position(), 2);
            if !failed {
                break;
            }
        }
    }
}

#[test]
fn bits_that_rot_while_they_are_written_never_reach_a_search() {
    for at in 1..12 {
        let disk = FaultyDisk::new(at);
        let index = RecallIndex::new(1);
        grow(&index, 1, 1..30);
        disk.inject(Fault::FlipWrite, When::Nth(at), "");
        folder(&disk).save(index.snapshot()).unwrap();
        disk.clear_faults();
        match folder(&disk).open(1) {
            Opened::Corrupt { .. } => {}
            Opened::Loaded(again) => {
                assert_eq!(shown(&again.index.snapshot()), shown(&index.snapshot()))
            }
            other => panic!("write {at}: {other:?}"),
        }
    }
}

#[test]
fn unchanged_parts_are_taken_over_and_a_new_lineage_takes_nothing() {
    let disk = FaultyDisk::new(1);
    let kept = folder(&disk);
    let index = RecallIndex::new(1);
    grow(&index, 1, 1..2000);
    let first = kept.save(index.snapshot()).unwrap();
    let again = kept.save(index.snapshot()).unwrap();
    index.apply(2, vec![Change::Remove { rowid: 5 }]).unwrap();
    let removed = kept.save(index.snapshot()).unwrap();
    // Only the manifest with its 8 KB of living bits was written.
    assert!(again.written_bytes < 10_000 && removed.written_bytes < 10_000);
    assert!(first.written_bytes > 5 * again.written_bytes);
    let fresh = loaded(&folder(&disk), 2);
    assert_eq!((fresh.snapshot().live(), fresh.slot_of(5)), (1998, None));
    let other = RecallIndex::new(2);
    grow(&other, 3, 1..2000);
    assert!(kept.save(other.snapshot()).unwrap().written_bytes >= first.written_bytes);
    assert_eq!(loaded(&folder(&disk), 3).snapshot().lineage(), 2);
}

#[test]
fn skipped_slots_are_dead_and_stored() {
    let disk = FaultyDisk::new(1);
    let index = RecallIndex::new(1);
    grow(&index, 1, 1..10);
    // Across two borders of groups.
    index.skip_to(140_000).unwrap();
    grow(&index, 2, 10..12);
    folder(&disk).save(index.snapshot()).unwrap();
    let again = loaded(&folder(&disk), 2);
    let snapshot = again.snapshot();
    assert_eq!((snapshot.slots(), snapshot.live()), (140_002, 11));
    assert_eq!(again.slot_of(11), Some(140_001));
    assert_eq!(shown(&snapshot), shown(&index.snapshot()));
    again.skip_to(3).unwrap();
    assert_eq!(again.snapshot().slots(), 140_002);
}
