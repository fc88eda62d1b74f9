//! The power goes at every effect of a run, and again while the log is being recovered.

use runtime::disk::faulty::{Fault, Loss, When};

use super::*;

const STEPS: usize = 25;

/// After a crash: one of the states that the interrupted step may leave, the same one again, and a
/// log that goes on.
fn check_recovery(disk: &FaultyDisk, run: &Run, what: &str) {
    let opened = reopen(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = Model::of(&opened);
    assert!(run.possible.contains(&found), "{what}: {found:#?}\nis none of {:#?}", run.possible);
    drop(opened);
    disk.power_loss(Loss::All);
    let mut again = reopen(disk).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(Model::of(&again), found, "{what}: recovery must be durable");
    let next = entry(found.vote.map_or(0, |vote| vote.term), found.next_index(), 700);
    again.journal.write(std::slice::from_ref(&next)).unwrap();
    disk.power_loss(Loss::Torn);
    let mut expected = found;
    expected.apply(&next);
    let last = reopen(disk).unwrap_or_else(|error| panic!("{what}, after it: {error}"));
    assert_eq!(Model::of(&last), expected, "{what}: the log must go on");
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    let mut cuts = 0;
    for seed in 0..4 {
        for loss in [Loss::None, Loss::All, Loss::Prefix, Loss::Subset, Loss::Torn] {
            for effect in 1.. {
                let disk = FaultyDisk::new(seed * 1000 + effect);
                disk.inject(Fault::PowerCut(loss), When::Nth(effect), "");
                let run = run(&disk, STEPS, seed);
                if run.finished {
                    break;
                }
                disk.power_on();
                check_recovery(&disk, &run, &format!("seed {seed}, {loss:?} at effect {effect}"));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 500, "only {cuts} cuts");
}

#[test]
fn a_power_cut_during_recovery_loses_nothing_either() {
    for seed in 0..60 {
        for effect in 1..12 {
            let disk = FaultyDisk::new(seed);
            disk.inject(Fault::PowerCut(Loss::Torn), When::Nth(20 + seed), "");
            let run = run(&disk, STEPS, seed);
            disk.power_on();
            disk.clear_faults();
            disk.inject(Fault::PowerCut(Loss::Torn), When::Nth(effect), "");
            let interrupted = reopen(&disk).is_err();
            disk.clear_faults();
            disk.power_loss(Loss::All);
            check_recovery(&disk, &run, &format!("seed {seed}, recovery cut at {effect}"));
            if !interrupted {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_poisons_and_a_restart_has_everything_acknowledged() {
    let mut refused = 0;
    for seed in 0..20 {
        for nth in 1..40 {
            let disk = FaultyDisk::new(seed);
            disk.inject(Fault::Enospc, When::Nth(nth), "");
            let run = run(&disk, STEPS, seed);
            refused += u32::from(!run.finished);
            disk.clear_faults();
            disk.crash_process();
            check_recovery(&disk, &run, &format!("seed {seed}, ENOSPC at {nth}"));
        }
    }
    assert!(refused > 400, "{refused}");
}

#[test]
fn a_failed_sync_poisons_for_good_and_nothing_acknowledged_is_lost() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let mut opened = reopen(&disk).unwrap();
        opened.journal.write(&[entry(0, 0, 100), entry(0, 1, 100)]).unwrap();
        disk.inject(Fault::SyncEio, When::Nth(1), "");
        let failed = opened.journal.write(&[entry(0, 2, 1000)]);
        assert!(matches!(failed, Err(LogError::Io(_))), "{failed:?}");
        // The disk says yes again, and the log must not ask: the page cache may lie now.
        let syncs = disk.stats().syncs;
        for _ in 0..2 {
            let refused = opened.journal.write(&[entry(0, 2, 10)]);
            assert!(matches!(refused, Err(LogError::Poisoned { .. })), "{refused:?}");
        }
        assert!(matches!(opened.journal.mark(), Err(LogError::Poisoned { .. })));
        assert_eq!(disk.stats().syncs, syncs);
        disk.power_loss(Loss::All);
        let found = Model::of(&reopen(&disk).unwrap());
        assert!(found.next_index() >= 2, "{found:?}");
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_is_not_taken_for_durable_after_a_restart() {
    let mut failed = 0;
    for seed in 0..20 {
        for nth in 1..40 {
            let disk = FaultyDisk::new(seed);
            disk.inject(Fault::SyncEio, When::Nth(nth), "");
            let run = run(&disk, STEPS, seed);
            failed += u32::from(!run.finished);
            disk.clear_faults();
            // The process is started again, the machine is not; then the power goes.
            disk.crash_process();
            check_recovery(&disk, &run, &format!("seed {seed}, EIO at sync {nth}"));
        }
    }
    assert!(failed > 200, "{failed}");
}
