//! Recalls not yet reported: counted in memory, written in batches.
//!
//! Losing a batch in a crash loses statistics, never a memory, so this is the one change that is
//! not durable when its cause is answered.
//!
//! Invariant: bounded; beyond the bound new memories are not counted until the next flush.
//!
//! Not here: the writing (`upkeep`).

use std::collections::BTreeMap;

use parking_lot::Mutex;
use types::{MemoryId, op::Accessed};

/// Most memories counted between two flushes.
const PENDING_MAX: usize = 10_000;

/// Recalls since the last flush.
#[derive(Default)]
pub struct Accesses(Mutex<BTreeMap<MemoryId, Accessed>>);

impl Accesses {
    /// Counts recalls.
    pub fn record(&self, accesses: impl Iterator<Item = Accessed>) {
        let mut pending = self.0.lock();
        for access in accesses {
            let full = pending.len() >= PENDING_MAX;
            match pending.get_mut(&access.id) {
                Some(known) => {
                    known.count = known.count.saturating_add(access.count);
                    known.at_ms = known.at_ms.max(access.at_ms);
                }
                None if !full => {
                    pending.insert(access.id, access);
                }
                None => {}
            }
        }
    }

    /// Takes what was counted, in order of id.
    pub fn take(&self) -> Vec<Accessed> {
        std::mem::take(&mut *self.0.lock()).into_values().collect()
    }
}
