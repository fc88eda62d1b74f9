//! A disk in memory that fails on purpose, the same way for the same seed.
//!
//! The model. Every file has a *current* image (what reads see: the page cache), a *durable* image
//! (what survives a power cut) and the ordered list of unsynced effects between the two. Names
//! have the same three. [`sync`](super::DiskFile::sync) applies one file's list,
//! [`sync_dir`](super::Disk::sync_dir) one directory's; a power cut applies a random part of what
//! is left, as its [`Loss`] says, and then forgets the page cache.
//!
//! Invariants:
//! * Fault rules fire *inside* an operation, so that a cut can land between two writes of one
//!   synchronous call of SQLite. A cut between steps of the simulation would find everything
//!   synced and prove nothing.
//! * Every handle belongs to one boot epoch. After a cut it only fails, so the destructors of a
//!   killed node cannot repair, or ruin, what the cut left.
//! * No real time, no real randomness: one seed, one history.
//!
//! Deliberately not here: SQLite (its VFS on this disk lives in `storage`), permissions that are
//! enforced, directories that can be lost (creating one is durable at once), mapped writes.

mod content;
mod engine;
mod generator;
mod image;
mod power;
mod rules;
mod seam;
mod stats;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use engine::Engine;
pub use generator::Generator;
pub use image::Inode;
pub use rules::{Fault, Loss, When};
pub use seam::FaultyFile;
pub use stats::Stats;

/// One simulated node's disk. Clones share it; it survives the node's restarts.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<Engine>>);

impl FaultyDisk {
    /// An empty, honest, boundless disk whose faults will be decided by `seed`.
    pub fn new(seed: u64) -> Self {
        FaultyDisk(Arc::new(Mutex::new(Engine::new(seed))))
    }

    /// The same disk as a node wants it.
    pub fn shared(&self) -> super::DiskRef {
        Arc::new(self.clone())
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.0.lock()
    }

    /// Adds a fault rule for files whose path ends with `suffix` (empty: all; a directory sync has
    /// the directory's path). Every rule sees every operation it fits; of several that hit at
    /// once the oldest wins, except that [`Fault::SyncSlow`] adds up with anything.
    pub fn inject(&self, fault: Fault, when: When, suffix: &str) {
        self.engine().rules.add(fault, when, suffix);
    }

    /// Removes all fault rules; what they did stays done.
    pub fn clear_faults(&self) {
        self.engine().rules.clear();
    }

    /// Cuts the power now and restores it at once. Old handles are dead, new ones work.
    pub fn power_loss(&self, loss: Loss) {
        let mut engine = self.engine();
        engine.cut(loss);
        engine.is_off = false;
    }

    /// The process dies, the machine does not: the page cache survives, still unsynced; handles
    /// and locks of the old process are dead.
    pub fn crash_process(&self) {
        self.power_loss(Loss::None);
    }

    /// Whether a [`Fault::PowerCut`] struck: everything fails until [`FaultyDisk::power_on`].
    pub fn is_off(&self) -> bool {
        self.engine().is_off
    }

    /// Ends the outage of a [`Fault::PowerCut`].
    pub fn power_on(&self) {
        self.engine().is_off = false;
    }

    /// Sum of file lengths above which a growing write fails with "no space left";
    /// [`u64::MAX`] for boundless.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.engine().capacity_bytes = capacity_bytes;
    }

    /// Sum of the lengths of all files.
    pub fn used_bytes(&self) -> u64 {
        self.engine().used_bytes()
    }

    /// Adds to the simulated time owed by this disk.
    pub fn owe(&self, time: Duration) {
        self.engine().owed += time;
    }

    /// Sets what [`super::Disk::sqlite_vfs`] answers, after a VFS on this disk was registered.
    pub fn set_sqlite_vfs(&self, name: &str) {
        self.engine().sqlite_vfs = Some(name.to_owned());
    }

    /// The number of the current boot; it grows with every cut and crash.
    pub fn epoch(&self) -> u64 {
        self.engine().epoch
    }

    /// Length of the file at `path`, `None` if there is none.
    pub fn file_len(&self, path: &Path) -> std::io::Result<Option<u64>> {
        self.engine().file_len(path)
    }

    /// Damages a file at rest: `alter` changes its current and its durable image alike. Returns
    /// whether there was such a file.
    pub fn tamper(&self, path: &Path, alter: impl Fn(&mut Vec<u8>)) -> bool {
        self.engine().tamper(path, alter)
    }

    /// The current content of a file, past all fault rules; for assertions.
    pub fn dump(&self, path: &Path) -> Option<Vec<u8>> {
        self.engine().content(path).map(<[u8]>::to_vec)
    }

    /// Whether a file's current content, past all fault rules, is so; `None` if there is no such file.
    pub fn holds(&self, path: &Path, so: impl FnOnce(&[u8]) -> bool) -> Option<bool> {
        self.engine().content(path).map(so)
    }

    /// What has been done and what has gone wrong so far.
    pub fn stats(&self) -> Stats {
        self.engine().stats.clone()
    }

    /// Hash of every operation in order and of every byte on the disk.
    pub fn fingerprint(&self) -> u64 {
        self.engine().fingerprint()
    }
}

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyDisk").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// The form under which a path is kept: without `.` components, so that `a`, `./a` and `.//a` are
/// one name and the current directory is the empty path.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

#[cfg(test)]
mod tests;
