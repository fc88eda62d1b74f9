//! Each way to lose, refuse or spoil, shown to do exactly what it says.

use std::io::ErrorKind;

use super::super::{Disk, DiskFile, OpenMode, read_all, write_atomically};
use super::*;

const SECTOR: usize = 512;

fn path(name: &str) -> PathBuf {
    Path::new("data").join(name)
}

/// A disk with the folder `data`.
fn disk(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    disk.create_dir_all(Path::new("data")).unwrap();
    disk
}

/// A file whose name and first content are durable.
fn durable_file(disk: &FaultyDisk, name: &str, content: &[u8]) -> FaultyFile {
    let file = disk.open_file(&path(name), OpenMode::CreateNew).unwrap();
    file.write_at(0, content).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    file
}

fn content(disk: &FaultyDisk, name: &str) -> Vec<u8> {
    read_all(disk, &path(name)).unwrap()
}

#[test]
fn a_process_crash_keeps_the_page_cache_and_kills_the_handles() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"old");
    file.write_at(0, b"new").unwrap();
    disk.crash_process();
    assert!(file.write_at(0, b"xxx").is_err());
    assert!(file.sync().is_err());
    assert_eq!(content(&disk, "a"), b"new");
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a"), b"old", "the crash must not have synced anything");
}

#[test]
fn losing_all_keeps_exactly_what_was_synced() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"synced");
    file.write_at(0, b"unsync").unwrap();
    file.set_len(100).unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a"), b"synced");
    assert_eq!(disk.stats().lost_effects, 2);
}

#[test]
fn names_are_durable_only_after_their_directory_was_synced() {
    let disk = disk(1);
    let file = disk.open_file(&path("new"), OpenMode::CreateNew).unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync().unwrap();
    durable_file(&disk, "kept", b"k");
    disk.rename(&path("kept"), &path("moved")).unwrap();
    let fresh = disk.open_file(&path("fresh"), OpenMode::CreateNew).unwrap();
    fresh.sync().unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(disk.list(Path::new("data")).unwrap(), ["kept", "new"]);
    disk.remove(&path("new")).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(disk.list(Path::new("data")).unwrap(), ["kept"]);
}

#[test]
fn a_prefix_loss_never_keeps_a_later_write_without_the_earlier_ones() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        let a = durable_file(&disk, "a", &[0; 8]);
        let b = durable_file(&disk, "b", &[0; 8]);
        for i in 0..8u8 {
            let file = if i % 2 == 0 { &a } else { &b };
            file.write_at(u64::from(i), &[1]).unwrap();
        }
        disk.power_loss(Loss::Prefix);
        let (a, b) = (content(&disk, "a"), content(&disk, "b"));
        let kept: Vec<bool> = (0..8).map(|i| if i % 2 == 0 { a[i] } else { b[i] } == 1).collect();
        let count = kept.iter().filter(|kept| **kept).count();
        assert!(kept[..count].iter().all(|kept| *kept), "seed {seed}: {kept:?}");
        seen.insert(count);
    }
    assert!(seen.contains(&0) && seen.contains(&8) && seen.len() > 6, "{seen:?}");
}

#[test]
fn a_prefix_loss_tears_the_last_write_at_a_sector() {
    let torn = (0..200).any(|seed| {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[0; 4 * SECTOR]);
        file.write_at(0, &[1; 4 * SECTOR]).unwrap();
        disk.power_loss(Loss::Prefix);
        let image = content(&disk, "a");
        let kept = image.iter().take_while(|byte| **byte == 1).count();
        assert_eq!(kept % SECTOR, 0);
        assert!(image[kept..].iter().all(|byte| *byte == 0));
        kept > 0 && kept < image.len()
    });
    assert!(torn);
}

#[test]
fn a_subset_loss_reorders_sectors_and_keeps_each_whole() {
    let mut reordered = false;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[0; 8 * SECTOR]);
        file.write_at(0, &[1; 8 * SECTOR]).unwrap();
        disk.power_loss(Loss::Subset);
        let image = content(&disk, "a");
        let sectors: Vec<u8> = image.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(image.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        reordered |= sectors.windows(2).any(|pair| pair == [0, 1]);
    }
    assert!(reordered);
}

#[test]
fn a_torn_loss_spoils_sectors_but_nothing_outside_the_range_written() {
    let mut spoiled = false;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[0; 8 * SECTOR]);
        file.write_at(100, &[1; 4 * SECTOR]).unwrap();
        disk.power_loss(Loss::Torn);
        let image = content(&disk, "a");
        assert!(image[..100].iter().all(|byte| *byte == 0));
        assert!(image[100 + 4 * SECTOR..].iter().all(|byte| *byte == 0));
        spoiled |= image.iter().any(|byte| *byte > 1);
    }
    assert!(spoiled);
}

#[test]
fn a_failed_sync_loses_data_that_the_next_sync_claims_to_have() {
    let lost = (0..20).any(|seed| {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", b"old");
        file.write_at(0, b"new").unwrap();
        disk.inject(Fault::SyncEio, When::Nth(1), "a");
        assert!(file.sync().is_err());
        assert_eq!(content(&disk, "a"), b"new", "the page cache keeps it");
        file.sync().expect("the next sync has nothing to do");
        disk.power_loss(Loss::All);
        content(&disk, "a") == b"old"
    });
    assert!(lost);
}

#[test]
fn a_lying_sync_persists_nothing_until_an_honest_one_does() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"1");
    disk.inject(Fault::SyncLie, When::Nth(1), "a");
    file.write_at(0, b"2").unwrap();
    file.sync().unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a"), b"1");
    let file = disk.open_file(&path("a"), OpenMode::Existing).unwrap();
    disk.inject(Fault::SyncLie, When::Nth(1), "a");
    file.write_at(0, b"3").unwrap();
    file.sync().unwrap();
    file.sync().unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a"), b"3");
}

#[test]
fn a_slow_sync_works_and_owes_time_once() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"1");
    disk.inject(Fault::SyncSlow(Duration::from_millis(3)), When::PerMillion(1_000_000), "");
    file.write_at(0, b"2").unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    assert_eq!(disk.take_latency(), Duration::from_millis(6));
    assert_eq!(disk.take_latency(), Duration::ZERO);
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a"), b"2");
}

#[test]
fn errors_strike_the_file_and_the_operation_they_name_and_change_nothing() {
    let disk = disk(1);
    let (a, b) = (durable_file(&disk, "a", b"1"), durable_file(&disk, "b", b"1"));
    disk.inject(Fault::WriteEio, When::Nth(2), "a");
    disk.inject(Fault::Enospc, When::Nth(1), "b");
    a.write_at(0, b"2").unwrap();
    let error = a.write_at(0, b"3").unwrap_err();
    assert!(error.to_string().starts_with("cannot write data/a"), "{error}");
    assert_eq!(b.write_at(0, b"3").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.inject(Fault::ReadEio, When::Nth(1), "a");
    assert!(a.read_at(0, &mut [0]).is_err());
    assert_eq!((content(&disk, "a"), content(&disk, "b")), (b"2".to_vec(), b"1".to_vec()));
    assert_eq!(disk.stats().faults.len(), 3);
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", &[1; 100]);
    disk.set_capacity_bytes(150);
    assert_eq!(disk.free_bytes(Path::new("data")).unwrap(), 50);
    assert_eq!(file.write_at(100, &[2; 51]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(151).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(0, &[3; 100]).unwrap();
    file.write_at(100, &[2; 50]).unwrap();
    assert_eq!(disk.used_bytes(), 150);
}

#[test]
fn bits_flip_in_one_read_or_for_ever() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", &[0; 64]);
    disk.inject(Fault::FlipRead, When::Nth(1), "a");
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    assert_eq!(ones(&content(&disk, "a")), 1);
    assert_eq!(ones(&content(&disk, "a")), 0);
    disk.inject(Fault::FlipWrite, When::Nth(1), "a");
    file.write_at(0, &[0; 64]).unwrap();
    file.sync().unwrap();
    disk.power_loss(Loss::All);
    assert_eq!(ones(&content(&disk, "a")), 1);
    assert!(disk.tamper(&path("a"), |bytes| bytes.truncate(3)));
    disk.power_loss(Loss::All);
    assert_eq!(content(&disk, "a").len(), 3);
    assert!(!disk.tamper(&path("none"), |_| ()));
}

#[test]
fn a_power_cut_inside_an_effect_turns_the_disk_off() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"1");
    disk.inject(Fault::PowerCut(Loss::All), When::Nth(3), "");
    file.write_at(0, b"2").unwrap();
    file.write_at(0, b"3").unwrap();
    assert!(file.write_at(0, b"4").is_err());
    assert!(disk.is_off());
    assert!(disk.list(Path::new("data")).is_err());
    assert!(disk.open(&path("a"), OpenMode::Existing).is_err());
    disk.power_on();
    assert!(file.read_at(0, &mut [0]).is_err(), "a handle of the dead boot");
    assert_eq!(content(&disk, "a"), b"1");
}

#[test]
fn an_atomic_write_survives_a_cut_at_each_of_its_effects() {
    for loss in Loss::LOSSY {
        for nth in 1.. {
            let disk = disk(nth);
            write_atomically(&disk, &path("key"), b"old", 0o600).unwrap();
            disk.inject(Fault::PowerCut(loss), When::Nth(nth), "");
            let written = write_atomically(&disk, &path("key"), b"newer", 0o600);
            if !disk.is_off() {
                assert!(written.is_ok() && nth > 4, "{nth} effects");
                break;
            }
            disk.clear_faults();
            disk.power_on();
            let found = content(&disk, "key");
            assert!(found == b"old" || found == b"newer", "{loss:?} {nth}: {found:?}");
            write_atomically(&disk, &path("key"), b"after", 0o600).unwrap();
            disk.power_loss(Loss::All);
            assert_eq!(content(&disk, "key"), b"after");
        }
    }
}

#[test]
fn open_modes_directories_and_modes_behave_as_on_the_real_disk() {
    let disk = disk(1);
    let kind = |result: std::io::Result<FaultyFile>| result.err().map(|error| error.kind());
    assert_eq!(kind(disk.open_file(&path("a"), OpenMode::Existing)), Some(ErrorKind::NotFound));
    let nowhere = Path::new("no/where");
    assert_eq!(kind(disk.open_file(nowhere, OpenMode::CreateNew)), Some(ErrorKind::NotFound));
    durable_file(&disk, "a", b"1");
    assert_eq!(
        kind(disk.open_file(&path("a"), OpenMode::CreateNew)),
        Some(ErrorKind::AlreadyExists)
    );
    let read_only = disk.open_file(Path::new("./data/./a"), OpenMode::ReadOnly).unwrap();
    assert!(read_only.write_at(0, b"2").is_err());
    disk.set_mode(&path("a"), 0o644).unwrap();
    assert_eq!(disk.metadata(&path("a")).unwrap().mode, 0o644);
    disk.create_dir_all(&path("x/y")).unwrap();
    assert!(disk.exists(&path("x")).unwrap() && !disk.exists(&path("z")).unwrap());
    assert_eq!(disk.list(Path::new("data")).unwrap(), ["a", "x"]);
    assert_eq!(&*disk.map(&path("a")).unwrap(), b"1");
    assert!(disk.create_dir_all(&path("a/b")).is_err());
}

#[test]
fn a_removed_file_lives_while_it_is_open_and_an_anonymous_one_never_after() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"1");
    disk.remove(&path("a")).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    let anonymous = disk.open_anonymous().unwrap();
    anonymous.write_at(0, &[7; 10]).unwrap();
    assert_eq!(disk.used_bytes(), 11);
    assert_eq!(file.read_at(0, &mut [0]).unwrap(), 1);
    drop((file, anonymous));
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_lock_ends_with_its_guard_or_with_the_process() {
    let disk = disk(1);
    let held = disk.lock_exclusive(&path("lock")).unwrap();
    assert_eq!(disk.lock_exclusive(&path("lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    let stale = disk.lock_exclusive(&path("lock")).unwrap();
    disk.crash_process();
    let held = disk.lock_exclusive(&path("lock")).unwrap();
    drop(stale);
    assert!(disk.lock_exclusive(&path("lock")).is_err(), "a dead guard must not free a new lock");
    drop(held);
}

#[test]
fn a_directory_has_its_new_name_for_good_once_its_parent_is_synced() {
    let disk = disk(1);
    disk.create_dir_all(&path("old")).unwrap();
    durable_file(&disk, "old/a", b"1");
    disk.sync_dir(&path("old")).unwrap();
    disk.rename(&path("old"), &path("new")).unwrap();
    assert!(disk.rename(&path("new"), Path::new("data")).is_err(), "there is one already");
    assert_eq!(disk.list(&path("new")).unwrap(), ["a"]);
    disk.power_loss(Loss::All);
    disk.power_on();
    assert_eq!(disk.list(&path("old")).unwrap(), ["a"]);
    assert!(!disk.exists(&path("new")).unwrap());
    disk.rename(&path("old"), &path("new")).unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    disk.power_loss(Loss::All);
    disk.power_on();
    assert_eq!(disk.list(&path("new")).unwrap(), ["a"]);
    assert!(!disk.exists(&path("old")).unwrap());
}

#[test]
fn one_seed_has_one_history() {
    let run = |seed| {
        let disk = disk(seed);
        disk.inject(Fault::WriteEio, When::PerMillion(100_000), "");
        disk.inject(Fault::SyncEio, When::PerMillion(100_000), "");
        for i in 0..50 {
            if let Ok(file) = disk.open_file(&path(&format!("f{}", i % 7)), OpenMode::OpenOrCreate)
            {
                let _ = file.write_at(i, &[i as u8; 700]).and_then(|()| file.sync());
            }
            if i % 11 == 0 {
                disk.power_loss(Loss::Torn);
            }
        }
        (disk.fingerprint(), disk.stats())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}
