//! Faults of disks.
//!
//! A disk that fails stops its node, which is started again. A disk that loses or spoils what it has
//! promised is thrown away with its machine: the node must notice what was spoiled and refuse to take
//! part, and what was lost behind its back must never come back to vote.
//!
//! Not here: what a disk does under a fault (`runtime::disk::faulty`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use consensus::log::proven_bytes;
use runtime::{
    clock,
    disk::{
        Disk,
        faulty::{Fault, Loss, When},
    },
};

use super::{Blow, members};
use crate::{schedule::Kind, world::root::Voter};

/// Folder of the root's files.
pub(super) const ROOT: &str = "data/root";
/// Every operation.
const ALWAYS: When = When::PerMillion(1_000_000);

pub(super) async fn carry_out(blow: &mut Blow) {
    match blow.strike.kind {
        Kind::BitFlip | Kind::TruncatedFile => spoil(blow).await,
        Kind::LostFsync => lie(blow).await,
        Kind::SyncEio => once(blow, Fault::SyncEio).await,
        Kind::ReadEio => once(blow, Fault::ReadEio).await,
        Kind::WriteEio => once(blow, Fault::WriteEio).await,
        Kind::Enospc => {
            let Some(voter) = blow.target().await else { return };
            let fault = blow.begin(&[&voter.name]);
            voter.disk.set_capacity_bytes(voter.disk.used_bytes() + blow.draw.below(20_000));
            blow.last().await;
            voter.disk.set_capacity_bytes(u64::MAX);
            blow.over(fault);
        }
        Kind::SlowFsync => {
            let Some(voter) = blow.target().await else { return };
            let fault = blow.begin(&[&voter.name]);
            let slow = Fault::SyncSlow(Duration::from_millis(20 + blow.draw.below(400)));
            voter.disk.inject(slow, ALWAYS, "");
            blow.last().await;
            voter.disk.clear_faults();
            blow.over(fault);
        }
        _ => {}
    }
}

/// One operation fails, of the root's log or of anything.
async fn once(blow: &mut Blow, fault: Fault) {
    let Some(voter) = blow.target().await else { return };
    let struck = |voter: &Voter| voter.disk.stats().faults.get(fault.name()).copied().unwrap_or(0);
    let before = struck(&voter);
    let suffix = if blow.draw.percent(60) { ".seg" } else { "" };
    voter.disk.inject(fault, When::Nth(1 + blow.draw.below(40)), suffix);
    let mut left = 400;
    while struck(&voter) == before && left > 0 {
        clock::sleep(Duration::from_millis(10)).await;
        left -= 1;
    }
    if struck(&voter) > before {
        let number = blow.begin(&[&voter.name]);
        blow.over(number);
    } else {
        voter.disk.clear_faults();
    }
}

/// The root's files, with the number of their first bytes whose change is always noticed.
fn files(voter: &Voter) -> Vec<(PathBuf, usize)> {
    let names = voter.disk.list(ROOT.as_ref()).unwrap_or_default();
    let paths = names.into_iter().map(|name| PathBuf::from(ROOT).join(name));
    paths
        .filter_map(|path| {
            let bytes = voter.disk.dump(&path)?;
            let proven = match path.file_name()?.to_str()? {
                "vote" | "starts" | "snapshot" | "identity" => bytes.len(),
                // No segment in use, or one that says nothing of itself.
                name => proven_bytes(name, &bytes).ok()? as usize,
            };
            (proven > 0).then_some((path, proven))
        })
        .collect()
}

/// Spoils a file at rest, where the node can tell it from a write that was torn by a power loss.
async fn spoil(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    let _alone = world.membership.lock().await;
    let Some(voter) = members::spare_one(blow, &world).await else { return };
    voter.hold();
    voter.crash();
    let files = files(&voter);
    let Some((path, proven)) = files.get(blow.draw.place(files.len())).cloned() else {
        voter.let_go();
        return;
    };
    let fault = blow.begin(&[&voter.name]);
    let at = blow.draw.place(proven);
    let (bit, cut) = (1u8 << blow.draw.below(8), blow.strike.kind == Kind::TruncatedFile);
    tracing::info!(voter = voter.name, path = %path.display(), at, cut, "spoilt");
    voter.disk.tamper(&path, |bytes| match cut {
        true => bytes.truncate(at),
        false => bytes[at] ^= bit,
    });
    voter.let_go();
    voter.restart();
    blow.last().await;
    members::replace(&world, &voter).await;
    blow.over(fault);
}

/// The disk lies about syncs, then the power goes; the machine is thrown away.
async fn lie(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    let _alone = world.membership.lock().await;
    let Some(voter) = members::spare_one(blow, &world).await else { return };
    let fault = blow.begin(&[&voter.name]);
    // Should it die before, it must not come back either: its promises are lost by then.
    voter.hold();
    voter.disk.inject(Fault::SyncLie, ALWAYS, "");
    blow.last().await;
    voter.disk.power_loss(Loss::All);
    members::replace(&world, &voter).await;
    blow.over(fault);
}

/// The root's files, as a backup has them.
pub(super) fn backup(voter: &Arc<Voter>) -> Vec<(PathBuf, Vec<u8>)> {
    let names = voter.disk.list(ROOT.as_ref()).unwrap_or_default();
    let paths = names.into_iter().map(|name| PathBuf::from(ROOT).join(name));
    paths.filter_map(|path| Some((path.clone(), voter.disk.dump(&path)?))).collect()
}

/// Puts the root's files back as they were. The machine must be down.
pub(super) fn put_back(voter: &Arc<Voter>, files: &[(PathBuf, Vec<u8>)]) {
    let disk = &voter.disk;
    disk.clear_faults();
    disk.power_on();
    for name in disk.list(ROOT.as_ref()).unwrap_or_default() {
        disk.remove(&PathBuf::from(ROOT).join(name)).expect("a disk without faults");
    }
    for (path, bytes) in files {
        runtime::disk::write_atomically(disk, path, bytes, 0o600).expect("a disk without faults");
    }
}
