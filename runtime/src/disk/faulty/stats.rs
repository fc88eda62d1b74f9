//! Counters: proof that a run really did, and really suffered, what it was meant to.

use std::collections::BTreeMap;

/// What a disk has done and suffered since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Successful reads.
    pub reads: u64,
    /// Successful writes.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// File syncs that were answered with success or a fault of their own.
    pub syncs: u64,
    /// Successful directory syncs.
    pub dir_syncs: u64,
    /// Names created, renamed or removed.
    pub name_changes: u64,
    /// Power cuts and process crashes.
    pub cuts: u64,
    /// Unsynced effects of which at least a part was lost.
    pub lost_effects: u64,
    /// How often each kind of fault struck, by its name.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Stats {
    pub(super) fn count_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}
