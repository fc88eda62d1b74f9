//! Rot, missing files, files of others: refused with the place, and nothing changed.

use runtime::disk::faulty::Loss;

use super::*;
use crate::log::{
    proven_bytes,
    record::{self, HEAD_BYTES},
    segment,
};

/// A log of three segments whose records and their places are known.
fn filled() -> (FaultyDisk, Model) {
    let disk = FaultyDisk::new(5);
    let mut opened = reopen(&disk).unwrap();
    let mut model = Model::default();
    let vote = Vote { term: 1, member: 2, committed: true };
    open::write_vote(&*disk.shared(), &dir(), vote).unwrap();
    model.vote = Some(vote);
    for index in 0..12 {
        let change = entry(1, index, 700);
        opened.journal.write(std::slice::from_ref(&change)).unwrap();
        model.apply(&change);
    }
    opened.journal.mark().unwrap();
    assert_eq!(files(&disk, ".seg").len(), 3);
    (disk, model)
}

/// Offsets of the records in a segment, by their magic.
fn records(disk: &FaultyDisk, path: &Path) -> Vec<usize> {
    let bytes = disk.dump(path).unwrap();
    let salt = record::u64_at(&bytes, 40);
    let at = (segment::HEAD_BYTES as usize..bytes.len()).step_by(8);
    at.filter(|at| record::may_begin(&bytes[*at..], salt)).collect()
}

#[test]
fn a_flipped_bit_anywhere_before_the_tail_is_refused_and_left_alone() {
    let (disk, model) = filled();
    let mut flipped = 0;
    for path in files(&disk, ".seg") {
        let places = records(&disk, &path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // All but the last record, which proves the others and is proven by nobody in its file.
        let end = *places.last().unwrap();
        let proven = proven_bytes(&name, &disk.dump(&path).unwrap()).unwrap();
        assert_eq!(proven, end as u64, "what is proven is what is refused below");
        for byte in (0..end).step_by(37) {
            let flip = |bytes: &mut Vec<u8>| bytes[byte] ^= 0x10;
            assert!(disk.tamper(&path, flip));
            let before = disk.dump(&path);
            let refused = reopen(&disk).err().unwrap_or_else(|| panic!("{name} byte {byte}"));
            let LogError::Damaged { file, offset, .. } = &refused else { panic!("{refused}") };
            let record = places.iter().rev().find(|at| **at <= byte).copied().unwrap_or(0);
            assert_eq!((file, *offset), (&name, record as u64), "byte {byte}: {refused}");
            assert_eq!(disk.dump(&path), before, "nothing may be changed");
            disk.tamper(&path, flip);
            flipped += 1;
        }
    }
    assert!(flipped > 150);
    assert_eq!(Model::of(&reopen(&disk).unwrap()), model);
}

#[test]
fn a_file_that_was_cut_short_is_refused_wherever_it_was_cut() {
    let (disk, model) = filled();
    for path in files(&disk, ".seg") {
        let whole = disk.dump(&path).unwrap();
        for kept in (0..whole.len()).step_by(97) {
            disk.tamper(&path, |bytes| bytes.truncate(kept));
            let refused = reopen(&disk).err();
            assert!(matches!(refused, Some(LogError::Damaged { .. })), "{kept}: {refused:?}");
            disk.tamper(&path, |bytes| bytes.clone_from(&whole));
        }
    }
    assert_eq!(Model::of(&reopen(&disk).unwrap()), model);
}

#[test]
fn a_log_goes_on_when_segments_are_to_have_another_size() {
    let (disk, mut model) = filled();
    for (index, segment_bytes) in (12..).zip([8192, 4096, 16384]) {
        let options = LogOptions { segment_bytes, ..OPTIONS };
        let mut opened = open::open(&disk.shared(), &dir(), IDENTITY, options).unwrap();
        assert_eq!(Model::of(&opened), model);
        for index in (index - 12) * 9 + 12..(index - 11) * 9 + 12 {
            let change = entry(1, index, 700);
            opened.journal.write(std::slice::from_ref(&change)).unwrap();
            model.apply(&change);
        }
        opened.journal.mark().unwrap();
    }
}

#[test]
fn rot_in_the_last_batch_is_refused_once_a_mark_proves_that_it_was_durable() {
    let (disk, _) = filled();
    let path = dir().join(segment::name(3));
    let places = records(&disk, &path);
    let [.., entry_at, mark_at] = places[..] else { panic!("{places:?}") };
    disk.tamper(&path, |bytes| bytes[entry_at + HEAD_BYTES] ^= 1);
    let refused = reopen(&disk).err().unwrap();
    assert!(matches!(&refused, LogError::Damaged { offset, .. } if *offset == entry_at as u64));
    // Without the mark it cannot be told from a write that the power cut tore.
    disk.tamper(&path, |bytes| bytes[mark_at] ^= 1);
    assert_eq!(reopen(&disk).unwrap().slots.bounds().next_index(), Some(11));
}

#[test]
fn a_torn_mark_is_cut_and_the_entries_stay() {
    let (disk, model) = filled();
    let path = dir().join(segment::name(3));
    let mark_at = *records(&disk, &path).last().unwrap();
    disk.tamper(&path, |bytes| bytes[mark_at + 20] ^= 1);
    assert_eq!(Model::of(&reopen(&disk).unwrap()), model);
}

#[test]
fn missing_files_are_refused() {
    for (missing, named) in [
        (segment::name(1), segment::name(1)),
        (segment::name(2), segment::name(2)),
        ("identity".into(), "identity".into()),
        ("vote".into(), "vote".to_string()),
    ] {
        use runtime::disk::Disk;
        let (disk, _) = filled();
        disk.remove(&dir().join(&missing)).unwrap();
        let refused = reopen(&disk).err().unwrap_or_else(|| panic!("without {missing}"));
        assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
        // The first segment may be gone lawfully: what is missing is told by the next one.
        let named = if named == segment::name(1) { segment::name(2) } else { named };
        assert!(refused.to_string().contains(&named), "{refused}");
    }
    use runtime::disk::Disk;
    let (disk, _) = filled();
    for path in files(&disk, ".seg") {
        disk.remove(&path).unwrap();
    }
    assert!(matches!(reopen(&disk), Err(LogError::Damaged { .. })));
}

#[test]
fn a_vote_older_than_the_log_is_refused() {
    let (disk, _) = filled();
    let old = Vote { term: 0, member: 2, committed: false };
    open::write_vote(&*disk.shared(), &dir(), old).unwrap();
    let refused = reopen(&disk).err().unwrap();
    assert!(refused.to_string().contains("vote"), "{refused}");
}

#[test]
fn the_log_of_another_member_or_cluster_is_refused() {
    let (disk, _) = filled();
    for other in [Identity { member: 3, ..IDENTITY }, Identity { cluster: [8; 16], ..IDENTITY }] {
        let refused = open::open(&disk.shared(), &dir(), other, OPTIONS).err().unwrap();
        assert!(matches!(refused, LogError::Foreign { .. }), "{refused}");
    }
}

#[test]
fn a_recycled_segment_never_shows_its_old_records() {
    let disk = FaultyDisk::new(7);
    let mut opened = reopen(&disk).unwrap();
    let mut index = 0;
    for round in 0..40 {
        for _ in 0..5 {
            opened.journal.write(&[entry(0, index, 700)]).unwrap();
            index += 1;
        }
        opened.journal.write(&[Change::Purge { upto: id(0, index - 2) }]).unwrap();
        disk.power_loss(Loss::All);
        opened = reopen(&disk).unwrap();
        let found = Model::of(&opened);
        let indices: Vec<u64> = found.entries.iter().map(|(id, _)| id.index).collect();
        assert_eq!(indices, [index - 1], "round {round}");
        assert!(opened.journal.segments().len() <= 3, "{:?}", opened.journal.segments());
    }
    assert!(opened.journal.current_segment() > 40);
    assert!(files(&disk, "").len() <= 3 + OPTIONS.spares_max + 2, "{:?}", files(&disk, ""));
}

#[test]
fn a_purge_gives_segments_up_at_once() {
    let disk = FaultyDisk::new(7);
    let mut opened = reopen(&disk).unwrap();
    for index in 0..60 {
        opened.journal.write(&[entry(0, index, 700)]).unwrap();
        if index % 5 == 4 {
            opened.journal.write(&[Change::Purge { upto: id(0, index) }]).unwrap();
            assert!(opened.journal.segments().len() <= 2, "{:?}", opened.journal.segments());
        }
    }
}

#[test]
fn a_readable_record_in_the_wrong_place_is_refused() {
    let disk = FaultyDisk::new(1);
    let mut opened = reopen(&disk).unwrap();
    for index in 0..4 {
        let committed = Change::Committed { id: Some(id(0, index)) };
        opened.journal.write(&[entry(0, index, 8), committed]).unwrap();
    }
    let path = dir().join(segment::name(1));
    let places = records(&disk, &path);
    // The second hint where the third was: whole, of this segment, and not what was written there.
    let (from, to) = (places[3], places[5]);
    disk.tamper(&path, |bytes| bytes.copy_within(from..from + HEAD_BYTES, to));
    let refused = reopen(&disk).err().unwrap();
    assert!(matches!(&refused, LogError::Damaged { offset, .. } if *offset == to as u64));
}

#[test]
fn a_payload_that_does_not_fit_is_refused_and_poisons_nothing() {
    let disk = FaultyDisk::new(1);
    let mut opened = reopen(&disk).unwrap();
    let refused = opened.journal.write(&[entry(0, 0, 1025)]);
    assert!(matches!(refused, Err(LogError::Refused { .. })), "{refused:?}");
    opened.journal.write(&[entry(0, 0, 1024)]).unwrap();
}

#[test]
fn a_payload_that_looks_like_a_record_fools_nobody() {
    let disk = FaultyDisk::new(1);
    let mut opened = reopen(&disk).unwrap();
    // Whoever writes payloads does not know the salt; the rest of the record may be perfect.
    let mut forged = Vec::new();
    let frame = record::Frame { salt: 1, synced_to: u64::MAX, previous: 0 };
    record::encode(frame, &entry(0, 9, 8), &mut forged);
    let change = Change::Entry { id: id(0, 0), payload: Bytes::from(forged) };
    opened.journal.write(&[change]).unwrap();
    let path = dir().join(segment::name(1));
    disk.tamper(&path, |bytes| bytes[segment::HEAD_BYTES as usize + 30] ^= 1);
    assert_eq!(reopen(&disk).unwrap().slots.bounds().next_index(), None);
}
